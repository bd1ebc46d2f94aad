//! What a phone remembers: a bounded notebook of decrypted messages, and bounded maps by message id.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::medium::MediumView;
use super::{Detail, Frame, Tally};
use crate::server::marks::{Marks, mark_of};
use crate::server::persist::{PersistError, SavedAccount, Shelf, Table};

/// One decrypted message, as `GET …/messages` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Counts from 1 per phone.
    pub number: u64,
    pub kind: Kind,
    pub direction: Direction,
    /// The phone number of the sender.
    pub from: String,
    /// The sending device; 0 is a phone.
    pub from_device: u16,
    /// The phone number of the other side, or the address of the group.
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<MediumView>,
    /// What it says, for kinds that are more than a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Detail>,
    /// Who is mentioned, whether it was forwarded, is for one look, disappears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame: Option<Frame>,
    /// The answers so far, for polls and events; they are not part of what is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tally: Option<Vec<Tally>>,
    /// The content itself, for companions that ask for it; the API does not show it.
    #[serde(default, with = "serde_bytes", skip_serializing_if = "Vec::is_empty")]
    pub(super) raw: Vec<u8>,
}

/// What a message takes beside its content.
const ENTRY_BYTES: usize = 512;

impl Recorded {
    /// About what it takes: the content once as it came, and once as it is shown.
    fn weight(&self) -> usize {
        let shown = self.content.as_ref().map_or(0, |_| self.raw.len());
        let text = self.text.as_ref().map_or(0, String::len);
        ENTRY_BYTES + self.whatsapp_id.len() + self.raw.len() + shown + text
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Text,
    Edit,
    Revoke,
    Reaction,
    Media,
    Poll,
    Vote,
    Event,
    EventResponse,
    Contacts,
    Location,
    LiveLocation,
    Pin,
    Keep,
    Timer,
    Comment,
    ButtonReply,
    ListReply,
    Other,
}

impl Kind {
    /// A text with a link is a text.
    pub(super) fn of(detail: &Detail) -> Self {
        match detail {
            Detail::Poll { .. } => Self::Poll,
            Detail::Vote { .. } => Self::Vote,
            Detail::Event { .. } => Self::Event,
            Detail::EventResponse { .. } => Self::EventResponse,
            Detail::Contacts { .. } => Self::Contacts,
            Detail::Location { .. } => Self::Location,
            Detail::LiveLocation { .. } => Self::LiveLocation,
            Detail::Link { .. } => Self::Text,
            Detail::Pin { .. } => Self::Pin,
            Detail::Keep { .. } => Self::Keep,
            Detail::Timer { .. } => Self::Timer,
            Detail::Comment { .. } => Self::Comment,
            Detail::ButtonReply { .. } => Self::ButtonReply,
            Detail::ListReply { .. } => Self::ListReply,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    bytes: usize,
    bytes_max: usize,
    written: u64,
    seen: Marks,
    shelf: Shelf,
}

/// Ids are remembered for this many times the messages kept.
const SEEN_FACTOR: usize = 4;

impl Notebook {
    pub(super) fn new(messages_max: usize, bytes_max: usize, shelf: Shelf) -> Self {
        let seen_max = messages_max.saturating_mul(SEEN_FACTOR);
        Self {
            messages: VecDeque::new(),
            messages_max,
            bytes: 0,
            bytes_max,
            written: 0,
            seen: Marks::new(seen_max, Table::Seen, shelf.clone()),
            shelf,
        }
    }

    pub(super) fn shelve(&mut self, shelf: Shelf) {
        self.seen.shelf = shelf.clone();
        self.shelf = shelf;
    }

    pub(super) fn restore(&mut self, saved: &mut SavedAccount) -> Result<(), PersistError> {
        let messages = saved.values::<Recorded>(Table::Message, 0)?;
        self.messages = messages.into_iter().map(|(_, message)| message).collect();
        self.bytes = self.messages.iter().map(Recorded::weight).sum();
        self.written = self.messages.back().map_or(0, |message| message.number);
        self.seen.restore(saved, 0)
    }

    /// Whether a message was seen before; `sender` is the same for all devices of an account.
    pub(super) fn has_seen(&self, sender: u32, id: &str) -> bool {
        self.seen.contains(mark_of(sender.into(), id))
    }

    /// Marks a message as seen. Returns false if it was already.
    pub(super) fn see(&mut self, sender: u32, id: &str) -> bool {
        self.seen.insert(mark_of(sender.into(), id))
    }

    /// Notes a message. Returns how many older ones were forgotten for it.
    pub(super) fn write(&mut self, mut message: Recorded) -> u64 {
        self.written += 1;
        message.number = self.written;
        self.shelf
            .keep(|rows| rows.put(Table::Message, message.number, "", &message));
        let weight = message.weight();
        let mut forgotten = 0;
        while (self.messages.len() >= self.messages_max || self.bytes + weight > self.bytes_max)
            && let Some(oldest) = self.messages.pop_front()
        {
            self.bytes -= oldest.weight();
            forgotten += 1;
            self.shelf
                .keep(|rows| rows.delete(Table::Message, oldest.number, ""));
        }
        self.bytes += weight;
        self.messages.push_back(message);
        forgotten
    }

    /// The phone number of who wrote a received message, and the chat it came in.
    pub(super) fn author(&self, id: &str) -> Option<(String, String)> {
        let mut received = self
            .messages
            .iter()
            .rev()
            .filter(|message| message.direction == Direction::Received);
        received
            .find(|message| message.whatsapp_id == id)
            .map(|message| (message.from.clone(), message.chat.clone()))
    }

    /// The message with this id, from or to whom it may be.
    pub(super) fn find(&self, id: &str) -> Option<Recorded> {
        let mut newest_first = self.messages.iter().rev();
        newest_first.find(|message| message.whatsapp_id == id).cloned()
    }

    pub(super) fn read(&self, after: u64, limit: usize) -> Vec<Recorded> {
        self.after(after).take(limit).cloned().collect()
    }

    /// The messages after the one numbered `after`.
    pub(super) fn after(&self, after: u64) -> impl Iterator<Item = &Recorded> {
        let start = self.messages.partition_point(|message| message.number <= after);
        self.messages.range(start..)
    }

    /// The number of the latest message.
    pub(super) fn last(&self) -> u64 {
        self.written
    }
}

/// A bounded map by message id: the oldest entries are forgotten.
pub(super) struct Memory<T> {
    entries: HashMap<Box<str>, Weighed<T>>,
    order: VecDeque<Box<str>>,
    entries_max: usize,
    bytes: usize,
    bytes_max: usize,
    /// What an entry takes.
    weigh: fn(&T) -> usize,
    /// The position of the oldest entry; the others follow it.
    first: u64,
}

struct Weighed<T> {
    value: T,
    bytes: usize,
}

/// Where an entry was put, and which ones were forgotten for it.
pub(super) struct Placed {
    pub at: u64,
    pub forgotten: Range<u64>,
}

impl<T> Memory<T> {
    pub(super) fn new(entries_max: usize, bytes_max: usize, weigh: fn(&T) -> usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            entries_max,
            bytes: 0,
            bytes_max,
            weigh,
            first: 1,
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// All entries, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        let keys = self.order.iter();
        keys.filter_map(|key| Some((&**key, self.get(key)?)))
    }

    /// Adds an entry, or replaces it where it is; then there is no place to tell. The latest entry is
    /// kept whatever it takes.
    pub(super) fn set(&mut self, key: &str, value: T) -> Option<Placed> {
        if self.insert(key.into(), value) {
            return None;
        }
        let at = self.first + self.order.len() as u64;
        self.order.push_back(key.into());
        let first = self.first;
        while (self.order.len() > self.entries_max || self.bytes > self.bytes_max)
            && self.order.len() > 1
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.entries.remove(&oldest).map_or(0, |entry| entry.bytes);
            self.first += 1;
        }
        let forgotten = first..self.first;
        Some(Placed { at, forgotten })
    }

    /// Puts back an entry that was at `at`; the oldest comes first.
    pub(super) fn restore(&mut self, at: u64, key: Box<str>, value: T) {
        if self.order.is_empty() {
            self.first = at;
        }
        self.order.push_back(key.clone());
        self.insert(key, value);
    }

    /// Returns whether there was an entry under this key.
    fn insert(&mut self, key: Box<str>, value: T) -> bool {
        let bytes = (self.weigh)(&value);
        self.bytes += bytes;
        let former = self.entries.insert(key, Weighed { value, bytes });
        self.bytes -= former.as_ref().map_or(0, |former| former.bytes);
        former.is_some()
    }
}
