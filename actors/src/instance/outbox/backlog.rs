//! What is held here and what waits in the store: how a message comes in, and how the others are
//! fetched when there is room.

use roost_domain::MessageId;

use super::{Item, Outbox};

/// Messages read from the store in one go, at most.
pub(crate) const FETCH_MAX: usize = roost_domain::page::PAGE_ROWS_MAX as usize;

/// Where messages wait in the store that are not held here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub after: Option<MessageId>,
}

impl Outbox {
    /// Takes a message that was just accepted, or leaves it in the store when there is no room.
    pub fn offer(&mut self, item: Item) {
        let beyond = |after: Option<MessageId>| after.is_none_or(|after| item.id > after);
        match self.backlog {
            Some(backlog) if beyond(backlog.after) => {
                if self.fetching {
                    self.missed = Some(self.missed.map_or(item.id, |missed| missed.min(item.id)));
                }
                return;
            }
            None if self.len() >= self.limits.memory && beyond(self.last) => {
                self.backlog = Some(Backlog { after: self.last });
                return;
            }
            _ => {}
        }
        self.push(item);
    }

    /// Something may have been accepted without our knowing: the store is read from its beginning.
    pub fn suspect(&mut self) {
        self.backlog = Some(Backlog { after: None });
    }

    /// Where to read on in the store, when there is room. The answer goes to [`Self::fetched`].
    pub fn fetch(&mut self) -> Option<(Backlog, usize)> {
        let room = self.limits.memory.saturating_sub(self.len());
        if self.fetching || room < self.limits.memory.div_ceil(2) {
            return None;
        }
        let backlog = self.backlog?;
        self.fetching = true;
        self.missed = None;
        // What is read may be held already, or finished just now.
        let limit = room + self.len() + self.finished.len();
        Some((backlog, limit.min(FETCH_MAX)))
    }

    /// What the store had; `limit` is how many were asked for. `None` when it could not be read.
    pub fn fetched(&mut self, from: Backlog, limit: usize, items: Option<Vec<Item>>) {
        self.fetching = false;
        if let Some(items) = items {
            let complete = items.len() < limit;
            let reached = items.last().map(|item| item.id).or(from.after);
            for item in items {
                self.push(item);
            }
            // A suspicion that came up meanwhile stands.
            if self.backlog == Some(from) {
                self.backlog = match self.missed {
                    Some(missed) if Some(missed) <= reached => Some(from),
                    None if complete => None,
                    _ => Some(Backlog { after: reached }),
                };
            }
        }
        self.missed = None;
        self.finished.retain(|_, stored| !*stored);
        self.shrink();
    }

    /// The store knows how this message ended.
    pub fn stored(&mut self, id: MessageId) {
        if self.fetching {
            self.finished.entry(id).and_modify(|stored| *stored = true);
        } else {
            self.finished.remove(&id);
        }
    }
}
