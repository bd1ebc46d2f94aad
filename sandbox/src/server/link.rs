//! The handle of one live connection, shared by its task and everyone who writes to it.

use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::config::SandboxConfig;
use super::outbox::Outbox;
use super::stanza::error::StanzaError;
use crate::wire::node::Node;

#[derive(Debug)]
pub(super) struct Link {
    pub id: u64,
    pub remote: Option<SocketAddr>,
    /// When the client came, in microseconds since 1970.
    pub opened_us: u64,
    pub outbox: Outbox,
    /// Why it is ended from this side.
    reason: OnceLock<&'static str>,
    /// The fault that silences it; 0 is none.
    silenced_by: AtomicU64,
}

impl Link {
    pub(super) fn new(id: u64, remote: Option<SocketAddr>, opened_us: u64, config: &SandboxConfig) -> Self {
        Self {
            id,
            remote,
            opened_us,
            outbox: Outbox::new(config.outbox_frames_max, config.outbox_bytes_max),
            reason: OnceLock::new(),
            silenced_by: AtomicU64::new(0),
        }
    }

    /// Notes why it is about to be ended; the first reason stays.
    pub(super) fn because(&self, reason: &'static str) {
        let _ = self.reason.set(reason);
    }

    pub(super) fn reason(&self) -> Option<&'static str> {
        self.reason.get().copied()
    }

    /// Ends the connection at once, without a word.
    pub(super) fn abort(&self, reason: &'static str) {
        self.because(reason);
        self.outbox.abort();
    }

    /// Nothing is read or written until the fault is gone.
    pub(super) fn silence(&self, fault: u64) {
        self.silenced_by.store(fault, Ordering::Relaxed);
        self.outbox.wake();
    }

    pub(super) fn break_silence(&self) {
        self.silenced_by.store(0, Ordering::Relaxed);
    }

    pub(super) fn silenced_by(&self) -> Option<u64> {
        Some(self.silenced_by.load(Ordering::Relaxed)).filter(|fault| *fault != 0)
    }

    pub(super) fn send(&self, node: &Node) {
        self.outbox.push(node);
    }

    /// Sends a last stanza and ends the connection.
    pub(super) fn end_with(&self, node: &Node) {
        self.outbox.push(node);
        self.outbox.finish();
    }
}

/// `<stream:error>` with a code, and the conflict that explains it.
pub(super) fn stream_error(error: Option<StanzaError>, conflict: Option<&'static str>) -> Node {
    Node::new("stream:error")
        .attr_opt("code", error.map(StanzaError::code))
        .child_opt(conflict.map(|kind| Node::new("conflict").attr("type", kind)))
}
