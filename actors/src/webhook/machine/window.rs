//! Which events were read and what is decided of them: where the cursor may stand.

use std::collections::VecDeque;

#[derive(Debug, Clone, Copy)]
struct Slot {
    seq: i64,
    decided: bool,
}

/// Events from the first undecided one on, in order.
#[derive(Debug)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
    decided: usize,
    read_to: i64,
}

impl Window {
    pub fn new(cursor: i64) -> Self {
        Self {
            slots: VecDeque::new(),
            decided: 0,
            read_to: cursor,
        }
    }

    /// Adds an event that was read; `false` when it is behind what was read already.
    pub fn add(&mut self, seq: i64) -> bool {
        if seq <= self.read_to {
            return false;
        }
        self.slots.push_back(Slot { seq, decided: false });
        self.read_to = seq;
        true
    }

    /// Nothing up to here is for the webhook besides what was added.
    pub fn scanned(&mut self, seq: i64) {
        self.read_to = self.read_to.max(seq);
    }

    pub fn read_to(&self) -> i64 {
        self.read_to
    }

    /// The event was delivered, parked or given up. Others are passed over.
    pub fn decide(&mut self, seq: i64) {
        let Ok(at) = self.slots.binary_search_by_key(&seq, |slot| slot.seq) else {
            return;
        };
        if !std::mem::replace(&mut self.slots[at].decided, true) {
            self.decided += 1;
        }
        while self.slots.front().is_some_and(|slot| slot.decided) {
            self.slots.pop_front();
            self.decided -= 1;
        }
    }

    /// Everything up to here is decided.
    pub fn cursor(&self) -> i64 {
        self.slots.front().map_or(self.read_to, |slot| slot.seq - 1)
    }

    /// The first undecided event.
    pub fn first(&self) -> Option<i64> {
        self.slots.front().map(|slot| slot.seq)
    }

    /// Events beyond the cursor that are decided: a crash would repeat them.
    pub fn beyond(&self) -> usize {
        self.decided
    }

    /// Events beyond the cursor.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_stops_before_the_first_undecided_event() {
        let mut window = Window::new(10);
        for seq in [12, 15, 16] {
            assert!(window.add(seq));
        }
        assert!(!window.add(15));
        window.scanned(20);
        assert_eq!(window.cursor(), 11);
        window.decide(15);
        assert_eq!((window.cursor(), window.beyond(), window.len()), (11, 1, 3));
        window.decide(12);
        assert_eq!((window.cursor(), window.beyond()), (15, 0));
        window.decide(16);
        window.decide(16);
        assert_eq!((window.cursor(), window.len(), window.first()), (20, 0, None));
    }
}
