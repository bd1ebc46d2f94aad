//! What is in order with what: one lane per chat in mode `ordered`, one per event otherwise.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use roost_domain::Timestamp;

/// Names a lane.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum LaneKey {
    /// Everything with this order key.
    Chat(Arc<str>),
    /// One event.
    Alone(i64),
}

/// One POST at a time, parked deliveries before events that were only read.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Its POST is under way.
    pub busy: bool,
    /// Read, not tried and not parked.
    pub hot: VecDeque<i64>,
    /// Waits in the store; the first of them is tried again.
    pub parked: BTreeSet<i64>,
    /// It stands in the list of those that may begin with a hot event.
    queued: bool,
    /// Where its first parked delivery stands in the list of those that fall due.
    listed: Option<(Timestamp, i64)>,
}

/// Which lane goes on next.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    lanes: HashMap<LaneKey, Lane>,
    ready: VecDeque<LaneKey>,
    /// Have hot events behind parked ones.
    blocked: HashSet<LaneKey>,
    /// First parked deliveries of lanes that are not busy, by when they are due.
    due: BTreeSet<(Timestamp, i64)>,
}

impl Lanes {
    pub fn get(&self, key: &LaneKey) -> Option<&Lane> {
        self.lanes.get(key)
    }

    pub fn due(&self) -> &BTreeSet<(Timestamp, i64)> {
        &self.due
    }

    pub fn blocked(&self) -> Vec<LaneKey> {
        self.blocked.iter().cloned().collect()
    }

    /// The lane that has waited longest to begin with a hot event.
    pub fn ready(&mut self) -> Option<LaneKey> {
        while let Some(key) = self.ready.front() {
            match self.lanes.get_mut(key) {
                Some(lane) if !lane.busy && lane.parked.is_empty() && !lane.hot.is_empty() => {
                    return Some(key.clone());
                }
                Some(lane) => lane.queued = false,
                None => {}
            }
            self.ready.pop_front();
        }
        None
    }

    /// Changes a lane, made if it is not there, and puts it where it then belongs. `due_at` says when a
    /// parked delivery of it is due.
    pub fn change<T>(
        &mut self,
        key: &LaneKey,
        due_at: impl FnOnce(i64) -> Timestamp,
        change: impl FnOnce(&mut Lane) -> T,
    ) -> T {
        let lane = self.lanes.entry(key.clone()).or_default();
        let value = change(lane);
        let head = lane.parked.first().copied().filter(|_| !lane.busy);
        let listed = head.map(|seq| (due_at(seq), seq));
        if lane.listed != listed {
            if let Some(place) = &lane.listed {
                self.due.remove(place);
            }
            self.due.extend(listed);
            lane.listed = listed;
        }
        let hot = !lane.hot.is_empty();
        if hot && !lane.parked.is_empty() {
            self.blocked.insert(key.clone());
        } else {
            self.blocked.remove(key);
        }
        if hot && !lane.busy && lane.parked.is_empty() && !std::mem::replace(&mut lane.queued, true) {
            self.ready.push_back(key.clone());
        }
        if !hot && !lane.busy && lane.parked.is_empty() {
            self.lanes.remove(key);
        }
        value
    }
}
