//! Stanzas a companion has not settled yet, in order.
//!
//! A message stays here until the companion sends a receipt or an acknowledgement for it; a
//! connection reads along with a cursor, so that a new login starts again at the oldest unsettled
//! stanza. The entries survive a restart, and so do the marks of settled messages.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::marks::{Marks, mark_of};
use super::persist::{PersistError, SavedAccount, Shelf, Table, pack, unpack};
use crate::wire::node::Node;

/// Message copies remembered as settled, to tell a repeated message from a new one.
const SETTLED_MAX: usize = 1_024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// An entry as it is kept.
#[derive(Serialize, Deserialize)]
struct EntryRow {
    class: Class,
    id: Box<str>,
    origin: u64,
    stanza: ByteBuf,
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
    settled: Marks,
    next: u64,
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
    shelf: Shelf,
}

impl Queue {
    pub(super) fn new(entries_max: usize, bytes_max: usize, shelf: Shelf) -> Self {
        Self {
            entries: BTreeMap::new(),
            by_id: HashMap::new(),
            settled: Marks::new(SETTLED_MAX, Table::Settled, shelf.clone()),
            next: 1,
            bytes: 0,
            entries_max,
            bytes_max,
            shelf,
        }
    }

    /// Takes back what was kept for `device`.
    pub(super) fn restore(&mut self, saved: &mut SavedAccount, device: u16) -> Result<(), PersistError> {
        self.settled.restore(saved, device)?;
        for row in saved.take(Table::Queue, device) {
            let EntryRow {
                class,
                id,
                origin,
                stanza,
            } = row.value()?;
            let node = unpack(stanza).map_err(|error| row.corrupt(error))?;
            self.insert(
                row.item,
                Entry {
                    class,
                    id,
                    origin,
                    node,
                },
            );
        }
        Ok(())
    }

    /// Deletes what is kept; from now on nothing is. The device is gone.
    pub(super) fn abandon(&mut self) {
        let shelf = std::mem::take(&mut self.shelf);
        self.settled.shelf = Shelf::none();
        shelf.keep(|rows| {
            self.entries
                .keys()
                .for_each(|number| rows.delete(Table::Queue, *number, ""));
            self.settled
                .positions()
                .for_each(|position| rows.delete(Table::Settled, position, ""));
        });
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
        let mark = mark_of(entry.origin, &entry.id);
        let queued = self.by_id.get(&key).is_some_and(|numbers| {
            numbers.iter().any(|number| {
                self.entries
                    .get(number)
                    .is_some_and(|known| known.origin == entry.origin)
            })
        });
        if queued || (entry.class == Class::Message && self.settled.contains(mark)) {
            return Offer::Known;
        }
        if self.is_full_for(entry.class) {
            return Offer::Full;
        }
        let number = self.next;
        self.shelf.keep(|rows| {
            let row = EntryRow {
                class: entry.class,
                id: entry.id.clone(),
                origin: entry.origin,
                stanza: pack(&entry.node),
            };
            rows.put(Table::Queue, number, "", &row);
        });
        self.insert(number, entry);
        Offer::Queued
    }

    fn insert(&mut self, number: u64, entry: Entry) {
        self.next = number + 1;
        self.by_id
            .entry((entry.class, entry.id.clone()))
            .or_default()
            .push(number);
        self.bytes += entry.node.weight();
        self.entries.insert(number, entry);
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
            let mark = mark_of(entry.origin, id);
            self.bytes -= entry.node.weight();
            self.entries.remove(&number);
            self.shelf.keep(|rows| rows.delete(Table::Queue, number, ""));
            removed += 1;
            if class == Class::Message && !resend {
                self.settled.insert(mark);
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
        self.settled.remove(mark_of(origin, id));
    }

    /// Up to `count` entries numbered `from` or later.
    pub(super) fn read(&self, from: u64, count: usize) -> impl Iterator<Item = (u64, &Entry)> {
        self.entries
            .range(from..)
            .take(count)
            .map(|(number, entry)| (*number, entry))
    }
}
