//! What one companion does from its login on: it keeps its connection alive, settles what comes, and
//! talks when it is told to.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use roost_sandbox::wire::jid::Jid;
use roost_sandbox::wire::node::Node;
use tokio::sync::watch;

use crate::companion::{Companion, Wire, WireError};
use crate::error::{LoadError, Result};
use crate::latency::Latencies;

/// What real clients do when nothing happens.
const PING_EVERY: Duration = Duration::from_secs(25);
/// Stanzas handled before what they caused is written.
const STANZAS_PER_TURN: usize = 64;
/// Latencies are recorded in several places, so that members do not wait for each other.
const SHARDS: usize = 16;
/// An id is the member's index and the message's number, both in eight hexadecimal digits. Phones
/// give longer ones.
const ID_CHARACTERS: usize = 16;
/// Receipts a message gets: from the peer's phone and from its companion.
const RECEIPTS: u8 = 2;

/// What all members do at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Rest,
    /// The first `talkers` members keep `window` messages of `text_bytes` under way each.
    Talk {
        talkers: u32,
        window: u16,
        text_bytes: u16,
    },
    End,
}

/// What all members have done.
#[derive(Debug)]
pub struct Progress {
    /// Messages of phones that were read.
    pub introduced: AtomicU64,
    pub sent: AtomicU64,
    pub acknowledged: AtomicU64,
    /// Copies that reached a companion.
    pub delivered: AtomicU64,
    /// Receipts that reached an author.
    pub receipts: AtomicU64,
    /// Messages that are acknowledged and have all their receipts.
    pub complete: AtomicU64,
    /// Messages that were refused, and stanzas about messages that were not under way.
    pub wrong: AtomicU64,
    to_ack: [Mutex<Latencies>; SHARDS],
    to_complete: [Mutex<Latencies>; SHARDS],
}

impl Default for Progress {
    fn default() -> Self {
        let shards = || std::array::from_fn(|_| Mutex::default());
        Self {
            introduced: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            receipts: AtomicU64::new(0),
            complete: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            to_ack: shards(),
            to_complete: shards(),
        }
    }
}

impl Progress {
    /// Until the acknowledgement, and until the last receipt; since the last call.
    pub fn take_latencies(&self) -> [Latencies; 2] {
        [&self.to_ack, &self.to_complete].map(|shards| {
            let mut all = Latencies::default();
            for shard in shards {
                let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                all.add(&std::mem::take(&mut *shard));
            }
            all
        })
    }
}

fn record(shards: &[Mutex<Latencies>; SHARDS], index: u32, latency: Duration) {
    let shard = &shards[index as usize % SHARDS];
    shard
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .record(latency);
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// One companion and its conversation.
pub struct Member {
    index: u32,
    companion: Companion,
    wire: Wire,
    peer: Jid,
    progress: Arc<Progress>,
    phase: Phase,
    /// The number of the next message, and those under way: their numbers follow each other.
    next: u64,
    open: VecDeque<Open>,
    text: String,
}

/// A message under way.
struct Open {
    sent: Instant,
    acknowledged: bool,
    receipts: u8,
}

impl Open {
    fn is_complete(&self) -> bool {
        self.acknowledged && self.receipts >= RECEIPTS
    }
}

impl Member {
    pub fn new(index: u32, companion: Companion, wire: Wire, peer: Jid, progress: Arc<Progress>) -> Self {
        Self {
            index,
            companion,
            wire,
            peer,
            progress,
            phase: Phase::Rest,
            next: 0,
            open: VecDeque::new(),
            text: String::new(),
        }
    }

    /// Lives until it is told to end.
    pub async fn live(mut self, mut phases: watch::Receiver<Phase>) -> Result<()> {
        let failed = |number, source| LoadError::Companion { number, source };
        let begin = tokio::time::Instant::now() + PING_EVERY;
        let mut ping = tokio::time::interval_at(begin, PING_EVERY);
        loop {
            let step = tokio::select! {
                node = self.wire.next() => self.take_all(node).await,
                changed = phases.changed() => {
                    let phase = *phases.borrow_and_update();
                    if changed.is_err() || phase == Phase::End {
                        return Ok(());
                    }
                    self.enter(phase).await
                }
                _ = ping.tick() => self.keep_alive().await,
            };
            step.map_err(|source| failed(self.companion.jid.user.clone(), source))?;
        }
    }

    async fn enter(&mut self, phase: Phase) -> Result<(), WireError> {
        self.phase = phase;
        if let Phase::Talk { text_bytes, .. } = phase {
            self.text = "x".repeat(text_bytes.into());
        }
        self.talk()?;
        self.wire.flush().await
    }

    async fn keep_alive(&mut self) -> Result<(), WireError> {
        let ping = self.companion.ping();
        self.wire.queue(&ping)?;
        self.wire.flush().await
    }

    /// Handles a stanza and those that arrived with it, then writes what they caused.
    async fn take_all(&mut self, first: Result<Node, WireError>) -> Result<(), WireError> {
        let mut next = Some(first?);
        for _ in 0..STANZAS_PER_TURN {
            let Some(node) = next.take() else { break };
            self.take(&node)?;
            next = self.wire.next_ready()?;
        }
        if let Some(node) = next {
            self.take(&node)?;
        }
        self.talk()?;
        self.wire.flush().await
    }

    fn take(&mut self, node: &Node) -> Result<(), WireError> {
        match node.tag.as_ref() {
            "message" => {
                // Only phones write outside of a conversation.
                let from = node.get("from").unwrap_or_default();
                if from.contains(':') {
                    count(&self.progress.delivered);
                } else if from == self.peer.user_jid().to_string() {
                    self.companion.read(node)?;
                    count(&self.progress.introduced);
                }
                self.wire.queue(&Companion::receipt(node, None))?;
            }
            "receipt" => {
                // What its phone wrote is confirmed to the companion too.
                if node.get("id").is_some_and(|id| id.len() == ID_CHARACTERS) {
                    self.note(node, |open| open.receipts += 1);
                    count(&self.progress.receipts);
                }
                self.wire.queue(&Companion::acknowledgement(node))?;
            }
            "ack" if node.is("class", "message") => {
                if node.get("error").is_some() {
                    count(&self.progress.wrong);
                }
                self.note(node, |open| open.acknowledged = true);
                count(&self.progress.acknowledged);
            }
            "notification" => self.wire.queue(&Companion::acknowledgement(node))?,
            "failure" | "stream:error" => return Err(WireError::Unexpected(format!("{node:?}"))),
            _ => {}
        }
        Ok(())
    }

    /// Notes what happened to a message under way.
    fn note(&mut self, node: &Node, change: impl FnOnce(&mut Open)) {
        let number = node
            .get("id")
            .and_then(|id| u64::from_str_radix(id.get(ID_CHARACTERS / 2..)?, 16).ok());
        let first = self.next - self.open.len() as u64;
        let open = number
            .and_then(|number| usize::try_from(number.checked_sub(first)?).ok())
            .and_then(|at| self.open.get_mut(at));
        let Some(open) = open.filter(|open| !open.is_complete()) else {
            return count(&self.progress.wrong);
        };
        let was_acknowledged = open.acknowledged;
        change(open);
        if open.acknowledged && !was_acknowledged {
            record(&self.progress.to_ack, self.index, open.sent.elapsed());
        }
        if open.is_complete() {
            record(&self.progress.to_complete, self.index, open.sent.elapsed());
            count(&self.progress.complete);
        }
        while self.open.front().is_some_and(Open::is_complete) {
            self.open.pop_front();
        }
    }

    /// Sends until the window is full.
    fn talk(&mut self) -> Result<(), WireError> {
        let Phase::Talk { talkers, window, .. } = self.phase else {
            return Ok(());
        };
        while self.index < talkers && self.open.len() < usize::from(window) {
            let id = format!("{:08X}{:08X}", self.index, self.next);
            let message = self.companion.text(id, &self.peer, &self.text)?;
            self.wire.queue(&message)?;
            self.next += 1;
            self.open.push_back(Open {
                sent: Instant::now(),
                acknowledged: false,
                receipts: 0,
            });
            count(&self.progress.sent);
        }
        Ok(())
    }
}
