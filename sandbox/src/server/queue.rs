//! Stanzas a companion has not settled yet, in order.
//!
//! A message stays here until the companion sends a receipt or an acknowledgement for it; a
//! connection reads along with a cursor, so that a new login starts again at the oldest unsettled
//! stanza. What a restart of the service would have to keep is exactly these entries.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use crate::wire::node::Node;

/// Message copies remembered as settled, to tell a repeated message from a new one.
const SETTLED_MAX: usize = 1_024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Class {
    Message,
    Receipt,
    Notification,
}

impl Class {
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "message" => Some(Self::Message),
            "receipt" => Some(Self::Receipt),
            "notification" => Some(Self::Notification),
            _ => None,
        }
    }
}

/// One stanza and what settles it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub class: Class,
    pub id: Box<str>,
    /// Who sent it, in a form that does not depend on addressing: the same for repeats.
    pub origin: u64,
    pub node: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    Queued,
    /// The same stanza is queued or was settled before.
    Known,
    Full,
}

#[derive(Debug)]
pub(super) struct Queue {
    entries: BTreeMap<u64, Entry>,
    by_id: HashMap<(Class, Box<str>), Vec<u64>>,
    settled: HashSet<u64>,
    settled_order: VecDeque<u64>,
    next: u64,
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
    hasher: RandomState,
}

impl Queue {
    pub(super) fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            by_id: HashMap::new(),
            settled: HashSet::new(),
            settled_order: VecDeque::new(),
            next: 1,
            bytes: 0,
            entries_max,
            bytes_max,
            hasher: RandomState::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_full_for(Class::Message)
    }

    /// Half of the room is for messages alone: nobody can keep them out by sending receipts.
    fn is_full_for(&self, class: Class) -> bool {
        let share = if class == Class::Message { 1 } else { 2 };
        self.entries.len() >= self.entries_max / share || self.bytes >= self.bytes_max / share
    }

    /// The number the next entry gets.
    pub(super) fn end(&self) -> u64 {
        self.next
    }

    pub(super) fn offer(&mut self, entry: Entry) -> Offer {
        let key = (entry.class, entry.id.clone());
        let mark = self.mark(&entry.id, entry.origin);
        let queued = self.by_id.get(&key).is_some_and(|numbers| {
            numbers.iter().any(|number| {
                self.entries
                    .get(number)
                    .is_some_and(|known| known.origin == entry.origin)
            })
        });
        if queued || (entry.class == Class::Message && self.settled.contains(&mark)) {
            return Offer::Known;
        }
        if self.is_full_for(entry.class) {
            return Offer::Full;
        }
        let number = self.next;
        self.next += 1;
        self.by_id.entry(key).or_default().push(number);
        self.bytes += entry.node.weight();
        self.entries.insert(number, entry);
        Offer::Queued
    }

    /// Removes stanzas with this id for which `matches` holds, and remembers messages among them
    /// unless they are to be sent again.
    pub(super) fn settle(
        &mut self,
        class: Class,
        id: &str,
        resend: bool,
        matches: impl Fn(&Entry) -> bool,
    ) -> usize {
        let key = (class, Box::from(id));
        let Some(numbers) = self.by_id.remove(&key) else {
            return 0;
        };
        let (mut kept, mut removed) = (Vec::new(), 0);
        for number in numbers {
            let Some(entry) = self.entries.get(&number) else {
                continue;
            };
            if !matches(entry) {
                kept.push(number);
                continue;
            }
            let mark = self.mark(id, entry.origin);
            self.bytes -= entry.node.weight();
            self.entries.remove(&number);
            removed += 1;
            if class == Class::Message && !resend {
                self.remember(mark);
            }
        }
        if !kept.is_empty() {
            self.by_id.insert(key, kept);
        } else if self.by_id.is_empty() && self.by_id.capacity() > 64 {
            self.by_id = HashMap::new();
        }
        removed
    }

    /// Lets a message that was settled be delivered once more: its device asked for it.
    pub(super) fn forget_settled(&mut self, id: &str, origin: u64) {
        let mark = self.mark(id, origin);
        self.settled.remove(&mark);
    }

    fn remember(&mut self, mark: u64) {
        if self.settled.insert(mark) {
            self.settled_order.push_back(mark);
            if self.settled_order.len() > SETTLED_MAX
                && let Some(oldest) = self.settled_order.pop_front()
            {
                self.settled.remove(&oldest);
            }
        }
    }

    fn mark(&self, id: &str, origin: u64) -> u64 {
        self.hasher.hash_one((id, origin))
    }

    /// Up to `count` entries numbered `from` or later.
    pub(super) fn read(&self, from: u64, count: usize) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries
            .range(from..)
            .take(count)
            .map(|(number, entry)| (*number, entry))
    }
}
