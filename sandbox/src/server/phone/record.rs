//! What a phone remembers: a bounded notebook of decrypted messages, and bounded maps by message id.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use serde::Serialize;

/// One decrypted message, as `GET …/messages` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Counts from 1 per phone.
    pub number: u64,
    pub kind: Kind,
    pub direction: Direction,
    /// The phone number of the sender.
    pub from: String,
    /// The sending device; 0 is a phone.
    pub from_device: u16,
    /// The phone number of the other side.
    pub chat: String,
    pub whatsapp_id: String,
    /// Text, caption, new text of an edit, or emoji of a reaction.
    pub text: Option<String>,
    /// The message that is edited, revoked or reacted to.
    pub target_id: Option<String>,
    /// The message that is answered.
    pub quoted_id: Option<String>,
    /// Unix seconds, by the server's clock.
    pub timestamp: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Text,
    Edit,
    Revoke,
    Reaction,
    Media,
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From another account.
    Received,
    /// A companion of this account sent it; this is its copy.
    Sent,
}

/// The latest messages, and which ones were seen, longer than they are kept.
pub(super) struct Notebook {
    messages: VecDeque<Recorded>,
    messages_max: usize,
    written: u64,
    seen: HashSet<u64>,
    seen_order: VecDeque<u64>,
    hasher: RandomState,
}

/// Ids are remembered for this many times the messages kept.
const SEEN_FACTOR: usize = 4;

impl Notebook {
    pub(super) fn new(messages_max: usize) -> Self {
        Self {
            messages: VecDeque::new(),
            messages_max,
            written: 0,
            seen: HashSet::new(),
            seen_order: VecDeque::new(),
            hasher: RandomState::new(),
        }
    }

    /// Whether a message was seen before; `sender` is the same for all devices of an account.
    pub(super) fn has_seen(&self, sender: u32, id: &str) -> bool {
        self.seen.contains(&self.hasher.hash_one((sender, id)))
    }

    /// Marks a message as seen. Returns false if it was already.
    pub(super) fn see(&mut self, sender: u32, id: &str) -> bool {
        let mark = self.hasher.hash_one((sender, id));
        if !self.seen.insert(mark) {
            return false;
        }
        self.seen_order.push_back(mark);
        if self.seen_order.len() > self.messages_max.saturating_mul(SEEN_FACTOR)
            && let Some(oldest) = self.seen_order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    pub(super) fn write(&mut self, mut message: Recorded) {
        self.written += 1;
        message.number = self.written;
        if self.messages.len() >= self.messages_max {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }

    /// The phone number of who wrote a received message.
    pub(super) fn author(&self, id: &str) -> Option<String> {
        let mut received = self
            .messages
            .iter()
            .rev()
            .filter(|message| message.direction == Direction::Received);
        received
            .find(|message| message.whatsapp_id == id)
            .map(|message| message.from.clone())
    }

    pub(super) fn read(&self, after: u64, limit: usize) -> Vec<Recorded> {
        let start = self.messages.partition_point(|message| message.number <= after);
        self.messages.range(start..).take(limit).cloned().collect()
    }
}

/// A bounded map by message id: the oldest entries are forgotten.
pub(super) struct Memory<T> {
    entries: HashMap<Box<str>, T>,
    order: VecDeque<Box<str>>,
    entries_max: usize,
}

impl<T> Memory<T> {
    pub(super) fn new(entries_max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            entries_max,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.entries.get(key)
    }

    pub(super) fn set(&mut self, key: &str, value: T) {
        if self.entries.insert(key.into(), value).is_some() {
            return;
        }
        self.order.push_back(key.into());
        if self.order.len() > self.entries_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}
