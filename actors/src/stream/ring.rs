//! Recent events of one tenant, in memory.

use std::collections::VecDeque;
use std::sync::Arc;

use roost_domain::event::Event;

/// What one event takes besides its JSON, roughly.
const EVENT_BYTES: usize = 256;

/// Events with consecutive `seq`, the newest at the end.
#[derive(Debug, Default)]
pub(super) struct Ring {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
}

/// What a look into the ring gave.
#[derive(Debug)]
pub(super) enum Look {
    /// Events that pass, and everything up to where has been looked at.
    Found(Vec<Arc<Event>>, i64),
    /// The ring does not hold what follows the cursor.
    NotHere,
}

impl Ring {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// `seq` of the newest event.
    pub fn last(&self) -> Option<i64> {
        self.events.back().map(|event| event.seq)
    }

    /// Adds events that were committed one after the other. What is there already is passed over; after
    /// a gap the ring starts anew, as its readers find what is missing in the log.
    pub fn append(&mut self, events: &[Arc<Event>], events_max: usize, bytes_max: usize) {
        for event in events {
            if let Some(last) = self.events.back() {
                if event.seq <= last.seq {
                    continue;
                }
                if event.seq != last.seq + 1 {
                    self.clear();
                }
            }
            self.bytes += bytes_of(event);
            self.events.push_back(Arc::clone(event));
            while self.events.len() > events_max || (self.bytes > bytes_max && self.events.len() > 1) {
                self.drop_oldest();
            }
        }
    }

    /// Events after a cursor that pass the filter, at most `max` of them and looking at at most `looks`.
    pub fn look(&self, after: i64, passes: impl Fn(&Event) -> bool, max: usize, looks: usize) -> Look {
        let Some(first) = self.events.front() else {
            return Look::NotHere;
        };
        let Ok(skip) = usize::try_from(after + 1 - first.seq) else {
            return Look::NotHere;
        };
        if skip >= self.events.len() {
            return Look::NotHere;
        }
        let (mut found, mut cursor) = (Vec::new(), after);
        for event in self.events.range(skip..).take(looks) {
            cursor = event.seq;
            if passes(event) {
                found.push(Arc::clone(event));
                if found.len() >= max {
                    break;
                }
            }
        }
        Look::Found(found, cursor)
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn drop_oldest(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.bytes -= bytes_of(&event);
        }
    }
}

fn bytes_of(event: &Event) -> usize {
    event.data.get().len() + EVENT_BYTES
}
