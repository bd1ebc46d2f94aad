//! The machine on a bench: a log, a store that remembers what was settled, a clock that is set, and an
//! endpoint that answers what a test says.

mod property;
mod recovery;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roost_domain::event::{Event, EventType};
use roost_domain::time::Entropy;
use roost_domain::webhook::store::{Parked, Replay, ReplayScope, Settlement};
use roost_domain::webhook::{Attempt, DeadReason, DeliveryStatus};
use roost_domain::{Address, EventId, TenantId, Timestamp};
use serde_json::value::RawValue;

use super::{Actions, Beginning, Machine, Now, Rules, Verdict};
use crate::webhook::WebhookSettings;

/// A row of the store.
#[derive(Debug, Clone)]
pub struct Row {
    pub status: DeliveryStatus,
    pub dead_reason: Option<DeadReason>,
    pub order_key: String,
    pub round: u32,
    pub next: Option<Timestamp>,
    pub attempts: u32,
}

struct Seeded(AtomicU64);

impl Entropy for Seeded {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            let next = |state: u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            let state = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
            *byte = (state.unwrap() >> 56) as u8;
        }
    }
}

pub struct Bench {
    pub settings: Arc<WebhookSettings>,
    pub rules: Rules,
    pub machine: Machine,
    pub log: Vec<Arc<Event>>,
    /// Events whose retention has ended.
    pub gone: BTreeSet<i64>,
    pub ms: u64,
    allowed: usize,
    entropy: Seeded,

    // The store.
    pub cursor: i64,
    pub rows: BTreeMap<i64, Row>,
    pub failing_since: Option<Timestamp>,
    pub disabled: Option<String>,
    pub replays: Vec<Replay>,
    /// Written when the test says so.
    pub writing: Option<Settlement>,
    pub commits: bool,

    /// POSTs under way, with the numbers of their attempts.
    pub flying: BTreeMap<i64, u32>,
    /// Every POST in the order of its beginning.
    pub posted: Vec<i64>,
    /// Succeeded or died at some time.
    pub ended: BTreeSet<i64>,
    pub wake: Option<Duration>,
    pub drained: bool,
}

pub fn rules(ordered: bool, concurrency: usize) -> Rules {
    Rules {
        ordered,
        concurrency,
        rate_per_second: None,
    }
}

/// Waits without jitter.
pub fn exact() -> WebhookSettings {
    WebhookSettings {
        jitter_percent: 0,
        ..WebhookSettings::default()
    }
}

impl Bench {
    pub fn new(settings: WebhookSettings, rules: Rules) -> Self {
        let settings = Arc::new(settings);
        let beginning = Beginning {
            rules,
            cursor: 0,
            parked: Vec::new(),
            failing_since: None,
            replays: Vec::new(),
        };
        let ms = 1_000;
        let mut bench = Self {
            machine: Machine::new(Arc::clone(&settings), beginning, at(ms)),
            settings,
            rules,
            log: Vec::new(),
            gone: BTreeSet::new(),
            ms,
            allowed: 0,
            entropy: Seeded(AtomicU64::new(42)),
            cursor: 0,
            rows: BTreeMap::new(),
            failing_since: None,
            disabled: None,
            replays: Vec::new(),
            writing: None,
            commits: true,
            flying: BTreeMap::new(),
            posted: Vec::new(),
            ended: BTreeSet::new(),
            wake: None,
            drained: false,
        };
        bench.step();
        bench
    }

    pub fn now(&self) -> Now {
        at(self.ms)
    }

    /// Appends an event about a chat.
    pub fn append(&mut self, chat: u64) -> i64 {
        let seq = self.log.len() as i64 + 1;
        let chat: Address = format!("+49151000000{chat:02}").parse().unwrap();
        self.log.push(Arc::new(Event {
            id: EventId::from_parts(1, seq as u128),
            kind: EventType::MessageReceived,
            seq,
            timestamp: self.now().wall,
            tenant_id: TenantId::from_parts(1, 1),
            instance_id: None,
            chat: Some(chat),
            data: RawValue::from_string("{}".to_owned()).unwrap(),
        }));
        seq
    }

    pub fn chat(&self, seq: i64) -> String {
        self.log[seq as usize - 1].chat.as_ref().unwrap().to_string()
    }

    /// Lets the machine do everything that it can do now.
    pub fn step(&mut self) {
        loop {
            let actions = self.machine.advance(self.now());
            if !self.carry_out(actions) {
                return;
            }
        }
    }

    /// `true` when that told the machine something.
    fn carry_out(&mut self, actions: Actions) -> bool {
        let now = self.now();
        let mut told = false;
        for post in actions.posts {
            let seq = post.event.seq;
            self.check_order(seq);
            assert!(
                self.flying.insert(seq, post.number).is_none(),
                "{seq} twice at once"
            );
            self.posted.push(seq);
        }
        assert!(self.flying.len() <= self.rules.concurrency, "D3");
        self.allowed += actions.read;
        assert!(self.allowed <= self.settings.read_ahead);
        let from = self.machine.read_to();
        let next = self.log.iter().filter(|event| event.seq > from);
        let events: Vec<_> = next.take(self.allowed).cloned().collect();
        if let Some(last) = events.last().map(|event| event.seq) {
            self.allowed -= events.len();
            let kept = events.into_iter().filter(|event| !self.gone.contains(&event.seq));
            self.machine.read(kept.collect(), last);
            told = true;
        }
        if !actions.fetch.is_empty() {
            let here = actions.fetch.iter().filter(|seq| !self.gone.contains(seq));
            let events = here.map(|&seq| Arc::clone(&self.log[seq as usize - 1])).collect();
            self.machine.fetched(events, now);
            told = true;
        }
        if let Some(step) = actions.replay {
            let (from, to) = (step.replay.next_seq, step.replay.to_seq);
            let seqs: Vec<i64> = match step.replay.scope {
                ReplayScope::Events => (from..=to).collect(),
                ReplayScope::Dead => {
                    let dead = self.rows.range(from..=to);
                    let dead = dead.filter(|(_, row)| row.status == DeliveryStatus::Dead);
                    dead.map(|(&seq, _)| seq).collect()
                }
            };
            let full = seqs.len() >= step.limit as usize;
            let seqs: Vec<i64> = seqs.into_iter().take(step.limit as usize).collect();
            let next = seqs
                .last()
                .map(|last| last + 1)
                .filter(|&next| full && next <= to);
            let parked = self.redrive_rows(&seqs);
            self.machine.replayed(next, parked, now);
            told = true;
        }
        if let Some(settlement) = actions.settle {
            assert!(self.writing.is_none(), "one settlement at a time");
            self.writing = Some(settlement);
        }
        self.wake = actions.wake;
        self.drained = actions.drained;
        if self.commits && self.writing.is_some() {
            self.commit();
            told = true;
        }
        told
    }

    /// D2, over all lives: whatever was before it in its chat has ended, or waits again at somebody's
    /// wish.
    fn check_order(&self, seq: i64) {
        if !self.rules.ordered {
            return;
        }
        let chat = self.chat(seq);
        for earlier in (1..seq).filter(|&earlier| self.chat(earlier) == chat) {
            let ended = self.ended.contains(&earlier) || self.gone.contains(&earlier);
            assert!(ended, "D2: {seq} begins before {earlier} has ended");
            assert!(!self.flying.contains_key(&earlier), "D2: {earlier} is under way");
        }
    }

    /// The store writes what it was given.
    pub fn commit(&mut self) {
        let Some(settlement) = self.writing.take() else {
            return;
        };
        for change in settlement.deliveries {
            let row = self.rows.entry(change.event.seq).or_insert_with(|| Row {
                status: change.status,
                dead_reason: None,
                order_key: change.order_key.clone(),
                round: 0,
                next: None,
                attempts: 0,
            });
            row.status = change.status;
            row.dead_reason = change.dead_reason;
            row.round = change.round;
            row.next = change.next_attempt_at;
            row.attempts += change.attempts.len() as u32;
        }
        for seq in settlement.expired {
            let row = self.rows.get_mut(&seq).unwrap();
            row.status = DeliveryStatus::Dead;
            row.dead_reason = Some(DeadReason::Expired);
        }
        if let Some(cursor) = settlement.cursor {
            assert!(cursor > self.cursor, "the cursor never moves back");
            self.cursor = cursor;
        }
        for seq in (1..=self.cursor).filter(|seq| !self.gone.contains(seq)) {
            assert!(
                self.rows.contains_key(&seq),
                "D1: {seq} is below the cursor and has no row"
            );
        }
        if let Some(since) = settlement.failing_since {
            self.failing_since = since;
        }
        if settlement.disabled.is_some() {
            self.disabled = settlement.disabled;
        }
        for (number, next) in settlement.replays {
            match next {
                Some(next) => {
                    let replay = self.replays.iter_mut().find(|replay| replay.number == number);
                    replay.unwrap().next_seq = next;
                }
                None => self.replays.retain(|replay| replay.number != number),
            }
        }
        self.machine.settled(self.now());
    }

    fn redrive_rows(&mut self, seqs: &[i64]) -> Vec<Parked> {
        let wall = self.now().wall;
        let mut parked = Vec::new();
        for &seq in seqs.iter().filter(|seq| !self.gone.contains(seq)) {
            let order_key = self.chat(seq);
            let row = self.rows.entry(seq).or_insert_with(|| Row {
                status: DeliveryStatus::Pending,
                dead_reason: None,
                order_key,
                round: 0,
                next: None,
                attempts: 0,
            });
            (row.status, row.dead_reason, row.round, row.next) =
                (DeliveryStatus::Pending, None, 0, Some(wall));
            parked.push(parked_of(seq, row));
        }
        parked
    }

    pub fn redrive(&mut self, seqs: &[i64]) {
        let parked = self.redrive_rows(seqs);
        self.machine.redriven(parked);
        self.step();
    }

    pub fn replay(&mut self, from_seq: i64, to_seq: i64, scope: ReplayScope) {
        let replay = Replay {
            number: 1,
            next_seq: from_seq,
            to_seq,
            scope,
        };
        self.replays.push(replay.clone());
        self.machine.replay(replay);
        self.step();
    }

    /// The endpoint answers.
    pub fn answer(&mut self, seq: i64, verdict: Verdict) {
        let number = self.flying.remove(&seq).expect("it is under way");
        let attempt = Attempt {
            number,
            at: self.now().wall,
            duration_ms: 1,
            status: Some(200),
            error: None,
            answer: None,
        };
        self.machine
            .finished(seq, attempt, verdict, self.now(), &self.entropy);
        let dead = self.machine.ledger.noted(seq) == Some(DeliveryStatus::Dead);
        if verdict == Verdict::Delivered || dead {
            self.ended.insert(seq);
        }
        self.step();
    }

    /// Answers everything that is under way, oldest first.
    pub fn answer_all(&mut self, verdict: Verdict) {
        for seq in self.flying.keys().copied().collect::<Vec<_>>() {
            self.answer(seq, verdict);
        }
    }

    /// Time passes.
    pub fn pass(&mut self, wait: Duration) {
        self.ms += wait.as_millis() as u64;
        self.step();
    }

    /// Time passes until the machine wants to look again.
    pub fn pass_to_wake(&mut self) -> bool {
        let Some(wake) = self.wake else { return false };
        let wake = wake.as_micros().div_ceil(1000) as u64;
        assert!(wake > self.ms, "a wake-up is in the future");
        self.ms = wake;
        self.step();
        true
    }

    /// The process dies and another begins with what is in the store.
    pub fn crash(&mut self) {
        self.writing = None;
        self.flying.clear();
        let pending = self.rows.iter();
        let pending = pending.filter(|(_, row)| row.status == DeliveryStatus::Pending);
        let beginning = Beginning {
            rules: self.rules,
            cursor: self.cursor,
            parked: pending.map(|(&seq, row)| parked_of(seq, row)).collect(),
            failing_since: self.failing_since,
            replays: self.replays.clone(),
        };
        self.allowed = 0;
        self.machine = Machine::new(Arc::clone(&self.settings), beginning, self.now());
        self.step();
    }

    /// The endpoint takes everything from now on.
    pub fn recover(&mut self) {
        self.commits = true;
        if self.writing.is_some() {
            self.commit();
        }
        self.step();
        for _ in 0..100_000 {
            if let Some(&seq) = self.flying.keys().next() {
                self.answer(seq, Verdict::Delivered);
            } else if !self.pass_to_wake() {
                return;
            }
        }
        panic!("it comes to no end");
    }

    pub fn status(&self, seq: i64) -> Option<DeliveryStatus> {
        self.rows.get(&seq).map(|row| row.status)
    }

    pub fn flying(&self) -> Vec<i64> {
        self.flying.keys().copied().collect()
    }
}

fn parked_of(seq: i64, row: &Row) -> Parked {
    Parked {
        seq,
        order_key: row.order_key.clone(),
        attempts: row.attempts,
        round: row.round,
        next_attempt_at: row.next,
    }
}

fn at(ms: u64) -> Now {
    Now {
        wall: Timestamp::from_unix_ms(1_700_000_000_000 + ms as i64),
        mono: Duration::from_millis(ms),
    }
}
