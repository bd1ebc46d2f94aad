//! What a webhook does next.

use std::time::Duration;

use roost_domain::webhook::store::DeliveryChange;

use super::super::breaker::Gate;
use super::{Actions, Machine, Now, Post, ReplayStep, change};

/// Deliveries that one step of a replay makes pending at most.
const REPLAY_STEP: usize = 256;

impl Machine {
    /// Does what can be done now. To be called after every fact, and at [`Actions::wake`].
    pub fn advance(&mut self, now: Now) -> Actions {
        if self.paused_until.is_some_and(|until| until <= now.wall) {
            self.paused_until = None;
        }
        self.absorb(now);
        let posts = self.begin(now);
        self.detach(now);
        let mut actions = Actions {
            posts,
            read: self.allow(),
            replay: self.replay_step(),
            ..Actions::default()
        };
        if !self.draining && self.paused_until.is_none() && (self.breaker.is_closed() || self.probe.is_some())
        {
            let due = if self.breaker.is_closed() {
                now.wall
            } else {
                never()
            };
            actions.fetch = self.queue.fetch(due, self.probe, self.settings.bodies_max);
        }
        let cursor = self.window.cursor();
        let flush = self.draining && self.queue.in_flight() == 0 && !self.ledger.is_clear(cursor);
        let due = self.settle_due(cursor);
        if due.is_some_and(|due| flush || due <= now.mono) {
            debug_assert!(
                self.window.first().is_none_or(|first| cursor < first),
                "D1: the cursor is before every undecided event"
            );
            actions.settle = Some(self.ledger.take(cursor));
        }
        actions.drained = self.draining
            && !self.replaying
            && self.queue.in_flight() == 0
            && self.ledger.is_clear(self.window.cursor());
        actions.wake = self.wake(now);
        actions.died = std::mem::take(&mut self.died);
        actions
    }

    fn settle_due(&self, cursor: i64) -> Option<std::time::Duration> {
        let settings = &self.settings;
        self.ledger.due(
            cursor,
            settings.settle_batch,
            settings.settle_every,
            settings.cursor_every,
        )
    }

    fn parked_room(&self) -> usize {
        self.settings.parked_max.saturating_sub(self.queue.parked())
    }

    /// How many more outcomes may come, besides those of the POSTs under way.
    fn unsettled_room(&self) -> usize {
        self.settings
            .unsettled_max
            .saturating_sub(self.ledger.unsettled() + self.queue.in_flight())
    }

    /// Parks events behind parked ones of their order key. While the breaker is open nothing is parked:
    /// a dead endpoint costs nothing but its probes.
    fn absorb(&mut self, now: Now) {
        if self.draining || !self.breaker.is_closed() {
            return;
        }
        let room = self.parked_room().min(self.unsettled_room());
        if room == 0 {
            return;
        }
        for hot in self.queue.absorb(room) {
            let change = DeliveryChange {
                round: hot.round,
                ..change(&hot.event, &hot.order_key)
            };
            self.window.decide(hot.event.seq);
            self.ledger.note(change, now.mono);
        }
    }

    fn begin(&mut self, now: Now) -> Vec<Post> {
        let mut posts = Vec::new();
        while self.may_begin(now) {
            let begun = match self.breaker.gate(now.mono) {
                Gate::Everything => self.begin_next(now),
                Gate::OneProbe => self.begin_probe(now),
                Gate::Nothing => None,
            };
            let Some(seq) = begun else { break };
            let Some(flight) = self.queue.flight(seq) else {
                break;
            };
            posts.push(Post {
                event: flight.event.clone(),
                number: flight.attempts + 1,
            });
            self.pace.took(now.mono, Duration::ZERO);
            debug_assert!(
                self.queue.in_flight() <= self.rules.concurrency,
                "D3: no more POSTs than allowed"
            );
        }
        posts
    }

    fn may_begin(&self, now: Now) -> bool {
        !self.draining
            && self.paused_until.is_none()
            && self.queue.in_flight() < self.rules.concurrency
            && self.unsettled_room() > 0
            && self.pace.ready_at() <= now.mono
    }

    fn begin_next(&mut self, now: Now) -> Option<i64> {
        self.retry_next = !self.retry_next;
        let looks = self.settings.bodies_max;
        if self.retry_next
            && let Some(seq) = self.queue.begin_due(now.wall, looks)
        {
            return Some(seq);
        }
        if self.parked_room() > 0
            && let Some(seq) = self.queue.begin_hot()
        {
            return Some(seq);
        }
        self.queue.begin_due(now.wall, looks)
    }

    /// The parked delivery that is due first, or else an event that was only read.
    fn begin_probe(&mut self, now: Now) -> Option<i64> {
        self.probe = None;
        let seq = match self.queue.begin_first(now.wall) {
            Ok(begun) => begun.or_else(|| self.queue.begin_hot())?,
            Err(bare) => {
                self.probe = Some(bare);
                return None;
            }
        };
        self.breaker.probing(seq);
        Some(seq)
    }

    /// A POST that takes long gets a row when much behind it is decided: the cursor goes on without it.
    fn detach(&mut self, now: Now) {
        while self.window.beyond() >= self.settings.settle_batch
            && self.parked_room() > 0
            && self.unsettled_room() > 0
        {
            let Some(seq) = self.window.first() else { return };
            let Some(flight) = self.queue.detach(seq, now.wall) else {
                return;
            };
            let change = DeliveryChange {
                round: flight.round,
                next_attempt_at: Some(now.wall),
                ..change(&flight.event, &flight.order_key)
            };
            self.ledger.note(change, now.mono);
            self.window.decide(seq);
        }
    }

    /// How many more events may be read. The log is the backlog: what cannot be delivered or parked
    /// soon stays there.
    fn allow(&mut self) -> usize {
        let settings = &self.settings;
        // An open breaker needs something to probe with.
        let wanted = self.breaker.is_closed() || self.queue.is_empty();
        let reads = wanted
            && !self.draining
            && self.parked_room() > 0
            && self.unsettled_room() > 0
            && self.window.len() < settings.unsettled_max;
        let here = self.queue.hot() + self.allowed;
        if !reads || here > settings.read_ahead / 2 {
            return 0;
        }
        let more = settings.read_ahead - here;
        self.allowed += more;
        more
    }

    fn replay_step(&mut self) -> Option<ReplayStep> {
        let room = (self.settings.parked_max / 2).saturating_sub(self.queue.parked());
        let limit = u32::try_from(room.min(REPLAY_STEP)).unwrap_or(u32::MAX);
        if self.draining || self.replaying || limit == 0 || !self.breaker.is_closed() {
            return None;
        }
        let replay = self.replays.front()?.clone();
        self.replaying = true;
        Some(ReplayStep { replay, limit })
    }

    /// When something falls due that no fact will tell of.
    fn wake(&self, now: Now) -> Option<std::time::Duration> {
        let at = |wall: roost_domain::Timestamp| now.mono + wall.since(now.wall);
        let settle = self.settle_due(self.window.cursor());
        let begin = if self.draining || self.queue.in_flight() >= self.rules.concurrency {
            None
        } else if let Some(until) = self.paused_until {
            Some(at(until))
        } else if !self.breaker.is_closed() {
            self.breaker
                .probe_at()
                .map(|probe| probe.max(self.pace.ready_at()))
        } else {
            let due = self.queue.next_due().map(at);
            // Hot events that could begin now wait for something else, of which a fact will tell.
            let pace = self.pace.ready_at();
            let hot = (self.queue.hot() > 0 && pace > now.mono).then_some(pace);
            let soonest = due.into_iter().chain(hot).min();
            soonest.map(|soonest| soonest.max(self.pace.ready_at()))
        };
        // What is due already waits for something else.
        settle
            .into_iter()
            .chain(begin)
            .filter(|&due| due > now.mono)
            .min()
    }
}

/// Before everything: no parked delivery is due.
fn never() -> roost_domain::Timestamp {
    roost_domain::Timestamp::from_unix_ms(i64::MIN)
}
