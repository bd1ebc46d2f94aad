//! What a webhook does next, as a pure state machine: facts and the time go in, POSTs, reads and writes
//! come out.
//!
//! - D1: a committed event that is for the webhook is delivered, parked, dead, or above the cursor.
//! - D2: in mode `ordered` no POST for a later event of an order key begins before the earlier one
//!   succeeded or died.
//! - D3: at most `max_concurrency` POSTs are under way.
//!
//! [`Window`] keeps D1, [`Queue`] with its lanes D2, [`Machine::advance`] D3. An event goes from hot (only
//! read) over its POST to delivered, dead or parked; a parked one has a row and is tried again.

mod advance;
mod lane;
mod ledger;
mod queue;
#[cfg(test)]
mod tests;
mod window;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use roost_domain::Timestamp;
use roost_domain::event::Event;
use roost_domain::time::Entropy;
use roost_domain::webhook::store::{DeliveryChange, Parked, Replay, Settlement};
use roost_domain::webhook::{Attempt, DeadReason, DeliveryStatus};

use self::ledger::Ledger;
use self::queue::{Flight, Hot, Queue, Waiting};
use self::window::Window;
use super::breaker::Breaker;
use super::call::BreakerState;
use super::pace;
use super::schedule::wait_after;
use super::{WebhookSettings, order_key};
use crate::pace::Pace;

/// The time, as the wall says it and as it passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Now {
    /// For what is stored and shown.
    pub wall: Timestamp,
    /// Since the actor's start, for waits.
    pub mono: Duration,
}

/// What the tenant asks of its webhook, as far as it decides what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    pub ordered: bool,
    pub concurrency: usize,
    pub rate_per_second: Option<u32>,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Delivered,
    Failed,
    /// Failed, and the endpoint asks for a pause.
    Pause(Duration),
    /// 410: the endpoint wants nothing any more.
    Gone,
}

/// A POST to begin now.
#[derive(Debug, Clone)]
pub(super) struct Post {
    pub event: Arc<Event>,
    /// Number of the attempt within its delivery, from 1.
    pub number: u32,
}

/// A step of a replay: what to drive again, and how many deliveries at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReplayStep {
    pub replay: Replay,
    pub limit: u32,
}

/// What is to be done now.
#[derive(Debug, Default)]
pub(super) struct Actions {
    pub posts: Vec<Post>,
    /// Events of parked deliveries to be read.
    pub fetch: Vec<i64>,
    pub settle: Option<Settlement>,
    /// How many more events may be read than was allowed before.
    pub read: usize,
    pub replay: Option<ReplayStep>,
    /// When to look again, if nothing happens before.
    pub wake: Option<Duration>,
    /// It was told to stop, and nothing is under way any more.
    pub drained: bool,
    /// Deliveries that died since the last time.
    pub died: u64,
}

/// Where a webhook stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    pub cursor: i64,
    pub in_flight: usize,
    pub parked: usize,
    pub breaker: BreakerState,
    pub next_probe: Option<Duration>,
    pub paused_until: Option<Timestamp>,
    pub failing_since: Option<Timestamp>,
    pub replays: usize,
    /// When the first event that is read and not decided was written.
    pub oldest: Option<Timestamp>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Machine {
    settings: Arc<WebhookSettings>,
    rules: Rules,
    window: Window,
    queue: Queue,
    /// Rows of events beyond what was read: events before them may have none, so they wait to be read.
    early: BTreeMap<i64, Parked>,
    ledger: Ledger,
    breaker: Breaker,
    pace: Pace,
    paused_until: Option<Timestamp>,
    failing_since: Option<Timestamp>,
    replays: VecDeque<Replay>,
    replaying: bool,
    /// Events that the reader may still bring.
    allowed: usize,
    /// Retries and hot events take turns.
    retry_next: bool,
    /// The parked delivery that an open breaker is to be probed with, while its event is not here.
    probe: Option<i64>,
    draining: bool,
    died: u64,
}

/// What a machine begins with.
#[derive(Debug)]
pub(super) struct Beginning {
    pub rules: Rules,
    pub cursor: i64,
    pub parked: Vec<Parked>,
    pub failing_since: Option<Timestamp>,
    pub replays: Vec<Replay>,
}

impl Machine {
    pub fn new(settings: Arc<WebhookSettings>, beginning: Beginning, now: Now) -> Self {
        let Beginning {
            rules,
            cursor,
            parked,
            failing_since,
            replays,
        } = beginning;
        let mut machine = Self {
            settings,
            window: Window::new(cursor),
            queue: Queue::new(rules.ordered),
            early: BTreeMap::new(),
            ledger: Ledger::new(cursor, now.mono),
            breaker: Breaker::default(),
            pace: pace::new(rules.rate_per_second),
            paused_until: None,
            failing_since,
            replays: replays.into(),
            replaying: false,
            allowed: 0,
            retry_next: false,
            probe: None,
            draining: false,
            died: 0,
            rules,
        };
        machine.redriven(parked);
        machine
    }

    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// The tenant has changed what it asks for. The mode stays until a new start.
    pub fn change_rules(&mut self, rules: Rules) {
        debug_assert_eq!(rules.ordered, self.rules.ordered);
        if rules.rate_per_second != self.rules.rate_per_second {
            self.pace.set(pace::pause(rules.rate_per_second));
        }
        self.rules = rules;
    }

    /// Everything up to here was read.
    pub fn read_to(&self) -> i64 {
        self.window.read_to()
    }

    /// Another reader takes over: it is allowed anew what it may bring.
    pub fn change_reader(&mut self) {
        self.allowed = 0;
    }

    /// Events for the webhook were read, and everything up to a `seq` was looked at.
    pub fn read(&mut self, events: Vec<Arc<Event>>, scanned_to: i64) {
        self.allowed = self.allowed.saturating_sub(events.len());
        for event in events {
            if !self.window.add(event.seq) {
                continue;
            }
            let row = self.early.remove(&event.seq);
            let order_key = order_key(&event);
            self.queue.arrive(Hot {
                event,
                order_key,
                attempts: row.as_ref().map_or(0, |row| row.attempts),
                round: row.as_ref().map_or(0, |row| row.round),
            });
        }
        self.window.scanned(scanned_to);
        // The filter, or the end of their retention, has kept the others from being read.
        let unread = self.early.split_off(&(self.window.read_to() + 1));
        let passed = std::mem::replace(&mut self.early, unread);
        self.queue.redrive(passed.into_values().collect());
    }

    /// A POST has ended.
    pub fn finished(
        &mut self,
        seq: i64,
        attempt: Attempt,
        verdict: Verdict,
        now: Now,
        entropy: &dyn Entropy,
    ) {
        let Some(flight) = self.queue.land(seq) else {
            return;
        };
        let settings = Arc::clone(&self.settings);
        match verdict {
            Verdict::Delivered => {
                self.set_failing(None, now);
                if self.breaker.succeeded(&settings) {
                    self.probe = None;
                    self.queue.hurry(now.wall, settings.hurry_attempts_max);
                }
                self.end(&flight, DeliveryStatus::Delivered, None, attempt, now);
            }
            Verdict::Failed => {
                self.breaker.failed(seq, now.mono, &settings, entropy);
                if !self.breaker.is_closed() {
                    self.queue.forget_bodies();
                }
                self.miss(&flight, attempt, now, entropy);
            }
            Verdict::Pause(wait) => {
                let until = now.wall.plus(wait.min(settings.retry_after_max));
                self.paused_until = Some(self.paused_until.map_or(until, |earlier| earlier.max(until)));
                self.breaker.probed(seq, now.mono, &settings, entropy);
                self.miss(&flight, attempt, now, entropy);
            }
            Verdict::Gone => {
                self.breaker.probed(seq, now.mono, &settings, entropy);
                self.set_failing(Some(now.wall), now);
                self.end(
                    &flight,
                    DeliveryStatus::Dead,
                    Some(DeadReason::Gone),
                    attempt,
                    now,
                );
                self.disable("the endpoint answered 410 Gone".to_owned(), now);
            }
        }
    }

    fn miss(&mut self, flight: &Flight, attempt: Attempt, now: Now, entropy: &dyn Entropy) {
        self.set_failing(Some(now.wall), now);
        let round = flight.round + u32::from(flight.was_due);
        // Before its time a probe changes nothing of the schedule.
        let wait = wait_after(round, &self.settings, entropy);
        let Some(wait) = wait else {
            let reason = Some(DeadReason::AttemptsExhausted);
            return self.end(flight, DeliveryStatus::Dead, reason, attempt, now);
        };
        let next = now.wall.plus(wait).max(self.paused_until.unwrap_or(now.wall));
        let change = DeliveryChange {
            round,
            next_attempt_at: Some(next),
            attempts: vec![attempt],
            ..change(&flight.event, &flight.order_key)
        };
        let seq = flight.event.seq;
        let waiting = Waiting {
            order_key: Arc::clone(&flight.order_key),
            attempts: flight.attempts + 1,
            round,
            next: Some(next),
        };
        self.queue.fail(seq, waiting);
        self.window.decide(seq);
        self.ledger.note(change, now.mono);
    }

    fn end(
        &mut self,
        flight: &Flight,
        status: DeliveryStatus,
        dead_reason: Option<DeadReason>,
        attempt: Attempt,
        now: Now,
    ) {
        let seq = flight.event.seq;
        let died = status == DeliveryStatus::Dead;
        let change = DeliveryChange {
            status,
            dead_reason,
            round: flight.round + u32::from(died && flight.was_due),
            attempts: vec![attempt],
            ..change(&flight.event, &flight.order_key)
        };
        self.died += u64::from(died);
        self.queue.finish(seq, &flight.order_key);
        self.window.decide(seq);
        self.ledger.note(change, now.mono);
    }

    /// Notes whether the endpoint does nothing but fail, and disables the webhook when it has done so
    /// for too long.
    fn set_failing(&mut self, failed_at: Option<Timestamp>, now: Now) {
        let since = match (failed_at, self.failing_since) {
            (None, None) => return,
            (Some(at), Some(since)) => {
                if at.since(since) >= self.settings.disable_after {
                    let reason = format!("every attempt has failed since {since}");
                    self.disable(reason, now);
                }
                return;
            }
            (at, _) => at,
        };
        self.failing_since = since;
        self.ledger.failing_since(since, now.mono);
    }

    fn disable(&mut self, reason: String, now: Now) {
        self.ledger.disable(reason, now.mono);
        self.drain();
    }

    /// Events of parked deliveries were read.
    pub fn fetched(&mut self, events: Vec<Arc<Event>>, now: Now) {
        for (seq, key) in self.queue.fetched(events) {
            self.queue.expire(seq, &key);
            self.ledger.expire(seq, now.mono);
            self.died += 1;
            if self.probe == Some(seq) {
                self.probe = None;
            }
        }
    }

    /// The settlement is in the store.
    pub fn settled(&mut self, now: Now) {
        self.ledger.settled(now.mono);
    }

    /// Deliveries were made pending again, at somebody's wish.
    pub fn redriven(&mut self, parked: Vec<Parked>) {
        let read_to = self.window.read_to();
        let (early, parked): (Vec<_>, Vec<_>) = parked.into_iter().partition(|row| row.seq > read_to);
        self.early.extend(early.into_iter().map(|row| (row.seq, row)));
        self.queue.redrive(parked);
    }

    /// A replay was added.
    pub fn replay(&mut self, replay: Replay) {
        self.replays.push_back(replay);
    }

    /// A step of the first replay was made: where it goes on, and what it made pending.
    pub fn replayed(&mut self, next: Option<i64>, parked: Vec<Parked>, now: Now) {
        self.replaying = false;
        let Some(replay) = self.replays.front_mut() else {
            return;
        };
        self.ledger.replayed(replay.number, next, now.mono);
        match next {
            Some(next) => replay.next_seq = next,
            None => drop(self.replays.pop_front()),
        }
        self.redriven(parked);
    }

    /// Begins nothing any more.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Waits for no POST any more: what they come to is found out by those of the next start.
    pub fn abandon(&mut self) {
        self.drain();
        self.queue.abandon();
    }

    pub fn view(&self) -> View {
        View {
            cursor: self.window.cursor(),
            in_flight: self.queue.in_flight(),
            parked: self.queue.parked() + self.early.len(),
            breaker: self.breaker.state(),
            next_probe: self.breaker.probe_at(),
            paused_until: self.paused_until,
            failing_since: self.failing_since,
            replays: self.replays.len(),
            oldest: self.window.first().and_then(|seq| self.queue.written_at(seq)),
        }
    }
}

/// A delivery that waits, without a time of its own and without an attempt.
fn change(event: &Arc<Event>, order_key: &Arc<str>) -> DeliveryChange {
    DeliveryChange {
        event: Arc::clone(event),
        order_key: order_key.to_string(),
        status: DeliveryStatus::Pending,
        dead_reason: None,
        round: 0,
        next_attempt_at: None,
        attempts: Vec::new(),
    }
}
