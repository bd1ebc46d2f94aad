//! What waits to be written to one connection.
//!
//! Anyone may push; only the connection's task takes. Stanzas are encoded when they are pushed and
//! encrypted when they are written. A client that does not read fills its outbox and is closed;
//! messages are not lost by that, they stay in the device's queue.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::sync::lock;
use crate::wire::node::{Node, encode_to_vec};

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// After what is in the outbox has been written.
    Finished,
    /// The client does not read.
    Overflow,
    /// At once: what waits is not written.
    Aborted,
}

#[derive(Debug)]
pub(super) struct Outbox {
    state: Mutex<State>,
    notify: Notify,
    frames_max: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    frames: Vec<Bytes>,
    bytes: usize,
    /// By when they are due, and in the order they came; empty but for faults.
    later: BTreeMap<(Instant, u64), Bytes>,
    /// How many were delayed so far.
    delayed: u64,
    end: Option<End>,
}

impl Outbox {
    pub(super) fn new(frames_max: usize, bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            notify: Notify::new(),
            frames_max,
            bytes_max,
        }
    }

    pub(super) fn push(&self, node: &Node) {
        let Ok(frame) = encode_to_vec(node) else {
            tracing::error!(tag = %node.tag, "a stanza is too long to be written");
            return;
        };
        let mut state = lock(&self.state);
        if state.end.is_some() {
            return;
        }
        if state.frames.len() >= self.frames_max || state.bytes + frame.len() > self.bytes_max {
            state.end = Some(End::Overflow);
        } else {
            state.bytes += frame.len();
            state.frames.push(frame.freeze());
        }
        drop(state);
        self.wake();
    }

    /// As [`Self::push`], for what is worth nothing later: dropped if the client is slow to read.
    pub(super) fn push_if_idle(&self, node: &Node) {
        let is_idle = {
            let state = lock(&self.state);
            state.frames.len() < self.frames_max / 2 && state.bytes < self.bytes_max / 2
        };
        if is_idle {
            self.push(node);
        }
    }

    /// As [`Self::push`], but it is written no earlier than `due`.
    pub(super) fn push_at(&self, due: Instant, node: &Node) {
        let Ok(frame) = encode_to_vec(node) else {
            tracing::error!(tag = %node.tag, "a stanza is too long to be written");
            return;
        };
        let mut state = lock(&self.state);
        if state.end.is_none() && state.later.len() < self.frames_max {
            let number = state.delayed;
            state.delayed += 1;
            state.later.insert((due, number), frame.freeze());
        }
        drop(state);
        self.wake();
    }

    /// When the next delayed stanza is to be written.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let state = lock(&self.state);
        state.later.first_key_value().map(|((due, _), _)| *due)
    }

    /// Ends the connection now.
    pub(super) fn abort(&self) {
        lock(&self.state).end = Some(End::Aborted);
        self.wake();
    }

    pub(super) fn is_ending(&self) -> bool {
        lock(&self.state).end.is_some()
    }

    /// Ends the connection once everything pushed before is written.
    pub(super) fn finish(&self) {
        lock(&self.state).end.get_or_insert(End::Finished);
        self.wake();
    }

    /// Tells the connection's task that there is something to do.
    pub(super) fn wake(&self) {
        self.notify.notify_one();
    }

    pub(super) async fn woken(&self) {
        self.notify.notified().await;
    }

    /// Everything that waits, and whether the connection ends after it.
    pub(super) fn take(&self) -> (Vec<Bytes>, Option<End>) {
        let mut state = lock(&self.state);
        if !state.later.is_empty() {
            let now = Instant::now();
            while let Some(first) = state.later.first_entry().filter(|first| first.key().0 <= now) {
                let frame = first.remove();
                state.frames.push(frame);
            }
        }
        state.bytes = 0;
        (std::mem::take(&mut state.frames), state.end)
    }
}
