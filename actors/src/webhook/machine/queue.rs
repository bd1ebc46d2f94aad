//! Everything that a webhook has read and not delivered: hot events, parked deliveries, and what is on
//! its way, each in its lane.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use roost_domain::Timestamp;
use roost_domain::event::Event;
use roost_domain::webhook::store::Parked;

use super::lane::{LaneKey, Lanes};

/// Further parked events of a lane that are read with its first.
const SUCCESSORS: usize = 16;

/// A parked delivery.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub order_key: Arc<str>,
    pub attempts: u32,
    pub round: u32,
    pub next: Option<Timestamp>,
}

/// An event that was read.
#[derive(Debug, Clone)]
pub(super) struct Hot {
    pub event: Arc<Event>,
    pub order_key: Arc<str>,
    /// Those of earlier lives of the actor.
    pub attempts: u32,
    pub round: u32,
}

/// A delivery whose POST is under way.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub event: Arc<Event>,
    pub order_key: Arc<str>,
    pub attempts: u32,
    pub round: u32,
    /// Its time had come: a failure counts towards the schedule.
    pub was_due: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    ordered: bool,
    lanes: Lanes,
    hot: HashMap<i64, Hot>,
    parked: BTreeMap<i64, Waiting>,
    /// Events of parked deliveries.
    bodies: HashMap<i64, Arc<Event>>,
    fetching: HashSet<i64>,
    flights: HashMap<i64, Flight>,
}

impl Queue {
    pub fn new(ordered: bool) -> Self {
        Self {
            ordered,
            lanes: Lanes::default(),
            hot: HashMap::new(),
            parked: BTreeMap::new(),
            bodies: HashMap::new(),
            fetching: HashSet::new(),
            flights: HashMap::new(),
        }
    }

    fn lane(&self, seq: i64, order_key: &Arc<str>) -> LaneKey {
        if self.ordered {
            LaneKey::Chat(Arc::clone(order_key))
        } else {
            LaneKey::Alone(seq)
        }
    }

    pub fn hot(&self) -> usize {
        self.hot.len()
    }

    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    pub fn flight(&self, seq: i64) -> Option<&Flight> {
        self.flights.get(&seq)
    }

    /// When an event that is hot or on its way was written.
    pub fn written_at(&self, seq: i64) -> Option<Timestamp> {
        let hot = self.hot.get(&seq).map(|hot| hot.event.timestamp);
        hot.or_else(|| self.flights.get(&seq).map(|flight| flight.event.timestamp))
    }

    /// An event was read.
    pub fn arrive(&mut self, hot: Hot) {
        let seq = hot.event.seq;
        let key = self.lane(seq, &hot.order_key);
        self.hot.insert(seq, hot);
        self.change(&key, |lane| lane.hot.push_back(seq));
    }

    /// A delivery waits for its next attempt, or for an earlier one of its lane.
    pub fn park(&mut self, seq: i64, waiting: Waiting) {
        let key = self.lane(seq, &waiting.order_key);
        self.parked.insert(seq, waiting);
        self.change(&key, |lane| lane.parked.insert(seq));
    }

    /// Begins with the hot event whose lane has waited longest.
    pub fn begin_hot(&mut self) -> Option<i64> {
        let key = self.lanes.ready()?;
        let lane = self.lanes.get(&key)?;
        debug_assert!(!lane.busy && lane.parked.is_empty(), "D2: the lane is free");
        let seq = *lane.hot.front()?;
        let hot = self.hot.remove(&seq)?;
        self.change(&key, |lane| {
            lane.hot.pop_front();
            lane.busy = true;
        });
        let flight = Flight {
            event: hot.event,
            order_key: hot.order_key,
            attempts: hot.attempts,
            round: hot.round,
            was_due: true,
        };
        self.flights.insert(seq, flight);
        Some(seq)
    }

    /// Begins with a parked delivery that is due and whose event is here.
    pub fn begin_due(&mut self, wall: Timestamp, looks: usize) -> Option<i64> {
        let due = self.lanes.due().iter().take(looks);
        let seq = due
            .take_while(|(at, _)| *at <= wall)
            .map(|&(_, seq)| seq)
            .find(|seq| self.bodies.contains_key(seq))?;
        self.begin_parked(seq, wall)
    }

    /// Begins with the parked delivery that falls due first, if its event is here; `Err` names it if it
    /// is not.
    pub fn begin_first(&mut self, wall: Timestamp) -> Result<Option<i64>, i64> {
        let Some(&(_, seq)) = self.lanes.due().first() else {
            return Ok(None);
        };
        if !self.bodies.contains_key(&seq) {
            return Err(seq);
        }
        Ok(self.begin_parked(seq, wall))
    }

    fn begin_parked(&mut self, seq: i64, wall: Timestamp) -> Option<i64> {
        let waiting = self.parked.get(&seq)?.clone();
        let event = self.bodies.remove(&seq)?;
        let key = self.lane(seq, &waiting.order_key);
        let first = self
            .lanes
            .get(&key)
            .is_some_and(|lane| !lane.busy && lane.parked.first() == Some(&seq));
        debug_assert!(first, "D2: the lane is free and this is its first");
        self.change(&key, |lane| lane.busy = true);
        let flight = Flight {
            event,
            order_key: waiting.order_key,
            attempts: waiting.attempts,
            round: waiting.round,
            was_due: waiting.next.is_none_or(|at| at <= wall),
        };
        self.flights.insert(seq, flight);
        Some(seq)
    }

    /// A POST has ended. What is to become of the delivery is said next.
    pub fn land(&mut self, seq: i64) -> Option<Flight> {
        self.flights.remove(&seq)
    }

    /// The delivery is delivered or dead.
    pub fn finish(&mut self, seq: i64, order_key: &Arc<str>) {
        self.parked.remove(&seq);
        self.bodies.remove(&seq);
        let key = self.lane(seq, order_key);
        self.change(&key, |lane| {
            lane.busy = false;
            lane.parked.remove(&seq);
        });
    }

    /// A parked delivery has no event any more.
    pub fn expire(&mut self, seq: i64, order_key: &Arc<str>) {
        self.parked.remove(&seq);
        let key = self.lane(seq, order_key);
        self.change(&key, |lane| lane.parked.remove(&seq));
    }

    /// The delivery has failed and waits.
    pub fn fail(&mut self, seq: i64, waiting: Waiting) {
        let key = self.lane(seq, &waiting.order_key);
        self.parked.insert(seq, waiting);
        let dropped: Vec<i64> = self.change(&key, |lane| {
            lane.busy = false;
            lane.parked.insert(seq);
            lane.parked.iter().copied().take(SUCCESSORS + 1).collect()
        });
        // What was read for its successors would take the place of what can go on.
        for seq in dropped {
            self.bodies.remove(&seq);
        }
    }

    /// A delivery on its way gets a row, so that it does not hold the cursor back.
    pub fn detach(&mut self, seq: i64, wall: Timestamp) -> Option<Flight> {
        let flight = self.flights.get(&seq)?.clone();
        let waiting = Waiting {
            order_key: Arc::clone(&flight.order_key),
            attempts: flight.attempts,
            round: flight.round,
            next: Some(wall),
        };
        self.park(seq, waiting);
        Some(flight)
    }

    /// Parks up to `room` hot events that are behind parked ones of their lanes.
    pub fn absorb(&mut self, mut room: usize) -> Vec<Hot> {
        let mut absorbed = Vec::new();
        for key in self.lanes.blocked() {
            while room > 0 {
                let first = self.lanes.get(&key).and_then(|lane| lane.hot.front().copied());
                let Some((seq, hot)) = first.and_then(|seq| Some((seq, self.hot.remove(&seq)?))) else {
                    break;
                };
                let waiting = Waiting {
                    order_key: Arc::clone(&hot.order_key),
                    attempts: hot.attempts,
                    round: hot.round,
                    next: None,
                };
                self.parked.insert(seq, waiting);
                self.change(&key, |lane| {
                    lane.hot.pop_front();
                    lane.parked.insert(seq);
                });
                absorbed.push(hot);
                room -= 1;
            }
        }
        absorbed
    }

    /// Deliveries that somebody drives again. What is here in another form already goes its way.
    pub fn redrive(&mut self, parked: Vec<Parked>) {
        for row in parked {
            if self.hot.contains_key(&row.seq) || self.flights.contains_key(&row.seq) {
                continue;
            }
            let waiting = Waiting {
                order_key: row.order_key.into(),
                attempts: row.attempts,
                round: row.round,
                next: row.next_attempt_at,
            };
            self.park(row.seq, waiting);
        }
    }

    /// The endpoint is back: what has not failed often is due at once.
    pub fn hurry(&mut self, wall: Timestamp, rounds_max: u32) {
        let early = self
            .parked
            .iter_mut()
            .filter(|(_, waiting)| waiting.round <= rounds_max && waiting.next.is_some_and(|at| at > wall));
        let mut hurried = Vec::new();
        for (&seq, waiting) in early {
            waiting.next = Some(wall);
            hurried.push((seq, Arc::clone(&waiting.order_key)));
        }
        for (seq, order_key) in hurried {
            let key = self.lane(seq, &order_key);
            self.change(&key, |_| ());
        }
    }

    /// Which events are to be read for parked deliveries; [`Self::fetched`] ends it.
    pub fn fetch(&mut self, wall: Timestamp, probe: Option<i64>, bodies_max: usize) -> Vec<i64> {
        if !self.fetching.is_empty() {
            return Vec::new();
        }
        let due = self.lanes.due().iter().take_while(|(at, _)| *at <= wall);
        let due: Vec<i64> = due.take(bodies_max).map(|&(_, seq)| seq).collect();
        if self.bodies.len() >= bodies_max && !due.iter().any(|seq| self.bodies.contains_key(seq)) {
            // What is here belongs to lanes that got another first: it only takes room.
            self.forget_bodies();
        }
        let room = bodies_max.saturating_sub(self.bodies.len());
        let mut wanted = BTreeSet::new();
        // A probe may exceed the bound: without it nothing would go on.
        wanted.extend(probe.filter(|seq| !self.bodies.contains_key(seq)));
        for head in due {
            if wanted.len() >= room {
                break;
            }
            if self.bodies.contains_key(&head) {
                continue;
            }
            wanted.insert(head);
            let successors = self
                .parked
                .get(&head)
                .and_then(|waiting| self.lanes.get(&self.lane(head, &waiting.order_key)))
                .into_iter()
                .flat_map(|lane| lane.parked.range(head + 1..).take(SUCCESSORS))
                .filter(|seq| !self.bodies.contains_key(seq));
            let left = room.saturating_sub(wanted.len());
            wanted.extend(successors.take(left));
        }
        self.fetching.extend(&wanted);
        wanted.into_iter().collect()
    }

    /// Events of parked deliveries were read. Returns those of the wanted that are gone, with the order
    /// keys of their lanes.
    pub fn fetched(&mut self, events: Vec<Arc<Event>>) -> Vec<(i64, Arc<str>)> {
        let mut wanted = std::mem::take(&mut self.fetching);
        for event in events {
            let seq = event.seq;
            if wanted.remove(&seq) && self.parked.contains_key(&seq) && !self.flights.contains_key(&seq) {
                self.bodies.insert(seq, event);
            }
        }
        let gone = wanted.into_iter().filter(|seq| !self.flights.contains_key(seq));
        gone.filter_map(|seq| Some((seq, Arc::clone(&self.parked.get(&seq)?.order_key))))
            .collect()
    }

    /// Gives the memory of parked events back.
    pub fn forget_bodies(&mut self) {
        self.bodies = HashMap::new();
    }

    /// POSTs that nobody waits for any more.
    pub fn abandon(&mut self) {
        self.flights.clear();
    }

    /// When the next parked delivery is due.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.lanes.due().first().map(|&(at, _)| at)
    }

    /// Nothing is here at all.
    pub fn is_empty(&self) -> bool {
        self.hot.is_empty() && self.parked.is_empty() && self.flights.is_empty()
    }

    fn change<T>(&mut self, key: &LaneKey, change: impl FnOnce(&mut super::lane::Lane) -> T) -> T {
        let parked = &self.parked;
        // A delivery without a time of its own has waited for an earlier one: it is due at once.
        let due_at = |seq: i64| {
            parked
                .get(&seq)
                .and_then(|waiting| waiting.next)
                .unwrap_or(Timestamp::from_unix_ms(0))
        };
        self.lanes.change(key, due_at, change)
    }
}
