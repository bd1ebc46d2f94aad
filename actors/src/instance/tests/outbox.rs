//! Order per chat, nothing forgotten, nothing doubled: under every mixture of failures.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use roost_domain::engine::{Outgoing, SendError};
use roost_domain::instance::Pacing;
use roost_domain::message::{Content, FailureReason, MessageStatus};
use roost_domain::{Address, MessageId, Timestamp};
use tokio::time::Instant;

use super::super::outbox::{Attempt, Change, Item, Limits, Moment, Outbox, TypingTimes};
use super::FixedEntropy;
use crate::backoff::Backoff;

pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn limits() -> Limits {
    let backoff = Backoff {
        first: Duration::from_secs(1),
        max: Duration::from_secs(300),
    };
    Limits {
        memory: 8,
        chats: 3,
        ack_timeout: Duration::from_secs(20),
        backoff,
        typing: TypingTimes {
            per_char: Duration::from_millis(30),
            min: Duration::from_millis(500),
            max: Duration::from_secs(6),
        },
    }
}

pub(super) fn id(number: u64) -> MessageId {
    MessageId::from_parts(1_700_000_000_000 + number, 1)
}

pub(super) fn item(number: u64, chat: u64, deadline: Instant) -> Item {
    let outgoing = Outgoing {
        whatsapp_id: format!("W{number}"),
        to: format!("+49151000000{chat}").parse::<Address>().unwrap(),
        content: Content::text("x"),
        reply_to: None,
    };
    Item {
        id: id(number),
        outgoing: Arc::new(outgoing),
        deadline,
    }
}

pub(super) fn moment(tick: Instant) -> Moment {
    Moment {
        tick,
        wall: Timestamp::from_unix_ms(1_700_000_000_000),
    }
}

fn dispatched(outbox: &mut Outbox, now: Moment) -> Vec<String> {
    let mut changes = Vec::new();
    let mut sent = Vec::new();
    while let Some(attempt) = outbox.next(now, &FixedEntropy(1), &mut changes) {
        sent.push(attempt.outgoing.whatsapp_id.clone());
    }
    assert_eq!(changes, []);
    sent
}

#[test]
fn a_chat_has_one_message_under_way_and_chats_go_side_by_side() {
    let (start, mut outbox, mut changes) = (Instant::now(), Outbox::new(limits()), Vec::new());
    for (number, chat) in [(1, 1), (2, 1), (3, 2), (4, 3), (5, 4)] {
        outbox.offer(item(number, chat, start + HOUR));
    }
    let now = moment(start);
    assert_eq!(dispatched(&mut outbox, now), Vec::<String>::new());
    outbox.link_up(1);
    assert_eq!(dispatched(&mut outbox, now), ["W1", "W3", "W4"]);
    outbox.acked("W1", None, now.wall, &mut changes);
    assert_eq!(dispatched(&mut outbox, now), ["W5"]);
    outbox.acked("W3", None, now.wall, &mut changes);
    assert_eq!(dispatched(&mut outbox, now), ["W2"]);
    assert_eq!(
        changes.iter().map(|change| change.message).collect::<Vec<_>>(),
        [Some(id(1)), Some(id(3))]
    );
}

#[test]
fn an_ack_may_come_before_the_attempt_ends() {
    let (start, mut outbox, mut changes) = (Instant::now(), Outbox::new(limits()), Vec::new());
    outbox.offer(item(1, 1, start + HOUR));
    outbox.link_up(1);
    let now = moment(start);
    dispatched(&mut outbox, now);
    outbox.acked("W1", None, now.wall, &mut changes);
    outbox.sent(1, "W1", Ok(()), now, &FixedEntropy(1), &mut changes);
    assert_eq!(changes.len(), 1);
    assert_eq!((outbox.len(), outbox.next_due()), (0, None));
}

#[test]
fn a_message_without_an_ack_is_sent_again_and_given_up_at_its_deadline() {
    let (start, mut outbox, mut changes) = (Instant::now(), Outbox::new(limits()), Vec::new());
    outbox.offer(item(1, 1, start + Duration::from_secs(30)));
    outbox.link_up(1);
    dispatched(&mut outbox, moment(start));
    outbox.sent(1, "W1", Ok(()), moment(start), &FixedEntropy(1), &mut changes);
    let due = outbox.next_due().unwrap();
    assert_eq!(due, start + Duration::from_secs(20));
    outbox.due(moment(due), &mut changes);
    assert_eq!(dispatched(&mut outbox, moment(due)), ["W1"]);
    outbox.sent(1, "W1", Ok(()), moment(due), &FixedEntropy(1), &mut changes);
    let due = outbox.next_due().unwrap();
    outbox.due(moment(due), &mut changes);
    let [Change { message, status }] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!((*message, status.status), (Some(id(1)), MessageStatus::Expired));
    assert_eq!(status.failure, Some(FailureReason::NotAcknowledged));
}

#[test]
fn a_message_that_never_left_expires_for_that_reason() {
    let (start, mut outbox, mut changes) = (Instant::now(), Outbox::new(limits()), Vec::new());
    outbox.offer(item(1, 1, start + HOUR));
    outbox.due(moment(outbox.next_due().unwrap()), &mut changes);
    assert_eq!(changes[0].status.failure, Some(FailureReason::DeadlinePassed));
}

#[test]
fn refusals_end_a_message_and_let_the_next_go() {
    let table = [
        (
            SendError::Rejected(463),
            FailureReason::Rejected { whatsapp_error: 463 },
        ),
        (
            SendError::RecipientNotOnWhatsapp,
            FailureReason::RecipientNotOnWhatsapp,
        ),
        (
            SendError::Permanent("no".into()),
            FailureReason::Engine { detail: "no".into() },
        ),
    ];
    for (error, failure) in table {
        let (start, mut outbox, mut changes) = (Instant::now(), Outbox::new(limits()), Vec::new());
        outbox.offer(item(1, 1, start + HOUR));
        outbox.offer(item(2, 1, start + HOUR));
        outbox.link_up(1);
        dispatched(&mut outbox, moment(start));
        outbox.sent(1, "W1", Err(error), moment(start), &FixedEntropy(1), &mut changes);
        assert_eq!(changes[0].status.failure, Some(failure));
        assert_eq!(dispatched(&mut outbox, moment(start)), ["W2"]);
    }
}

#[test]
fn a_late_ack_of_a_message_that_is_not_held_goes_to_the_store() {
    let (mut outbox, mut changes) = (Outbox::new(limits()), Vec::new());
    outbox.acked("W9", None, Timestamp::from_unix_ms(1), &mut changes);
    assert_eq!((changes.len(), changes[0].message), (1, None));
    outbox.acked("W9", Some(400), Timestamp::from_unix_ms(1), &mut changes);
    assert_eq!(changes.len(), 1);
}

#[test]
fn results_of_an_earlier_link_are_ignored() {
    let (start, mut outbox, mut changes) = (Instant::now(), Outbox::new(limits()), Vec::new());
    outbox.offer(item(1, 1, start + HOUR));
    outbox.link_up(1);
    dispatched(&mut outbox, moment(start));
    outbox.link_down();
    outbox.link_up(2);
    assert_eq!(dispatched(&mut outbox, moment(start)), ["W1"]);
    outbox.sent(
        1,
        "W1",
        Err(SendError::Permanent("old".into())),
        moment(start),
        &FixedEntropy(1),
        &mut changes,
    );
    assert_eq!(changes, []);
    outbox.sent(2, "W1", Ok(()), moment(start), &FixedEntropy(1), &mut changes);
    assert_eq!(outbox.next_due(), Some(start + Duration::from_secs(20)));
}

#[derive(Debug, Clone)]
enum Move {
    Accept { chat: u64, late: bool },
    Fetch,
    Fetched,
    Suspect,
    Up,
    Down,
    Dispatch,
    Result { pick: usize, outcome: u8 },
    Ack { pick: usize, refused: bool },
    Advance,
    Pass(u64),
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => (0_u64..4, any::<bool>()).prop_map(|(chat, late)| Move::Accept { chat, late }),
        2 => Just(Move::Fetch),
        2 => Just(Move::Fetched),
        1 => Just(Move::Suspect),
        1 => Just(Move::Up),
        1 => Just(Move::Down),
        5 => Just(Move::Dispatch),
        5 => (any::<usize>(), 0_u8..4).prop_map(|(pick, outcome)| Move::Result { pick, outcome }),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(pick, refused)| Move::Ack { pick, refused }),
        3 => Just(Move::Advance),
        2 => (1_u64..40).prop_map(Move::Pass),
    ]
}

/// The store and the wire, as the outbox sees them.
struct World {
    outbox: Outbox,
    now: Instant,
    generation: u64,
    next: u64,
    /// Accepted rows and their chats.
    rows: BTreeMap<MessageId, (u64, u64)>,
    /// Rows that are committed and that the session has not been told of.
    untold: Vec<(u64, u64)>,
    fetching: Option<(super::super::outbox::Backlog, usize, Vec<Item>)>,
    attempts: Vec<(u64, u64)>,
    changes: Vec<Change>,
    /// First attempts, per chat, in order.
    first: HashMap<u64, Vec<u64>>,
    ended: HashMap<MessageId, usize>,
    /// When it is paced: the pause, when it is over, and the attempt that is with the link.
    pause: Option<Duration>,
    free_at: Instant,
    handing: Option<(u64, u64)>,
}

impl World {
    fn new() -> Self {
        Self {
            outbox: Outbox::new(limits()),
            now: Instant::now(),
            generation: 0,
            next: 1,
            rows: BTreeMap::new(),
            untold: Vec::new(),
            fetching: None,
            attempts: Vec::new(),
            changes: Vec::new(),
            first: HashMap::new(),
            ended: HashMap::new(),
            pause: None,
            free_at: Instant::now(),
            handing: None,
        }
    }

    /// One whose messages go out at a pace.
    fn paced(pacing: Pacing) -> Self {
        let mut world = Self::new();
        world.outbox.set_pacing(Some(pacing), false, world.now);
        world.pause = Some(pacing.pause());
        world.free_at = world.now;
        world
    }

    fn attempted(&mut self, attempt: &Attempt, number: u64) {
        let Some(pause) = self.pause else { return };
        assert_eq!(self.handing, None, "one message at a time");
        let text_at = attempt.types_until.unwrap_or(self.now);
        assert!(text_at >= self.free_at, "W{number} comes too early");
        self.handing = Some((attempt.generation, number));
        self.free_at = text_at + pause;
    }

    fn ended(&mut self, attempt: (u64, u64)) {
        if self.handing.take_if(|handing| *handing == attempt).is_some() {
            self.free_at = self.free_at.max(self.now + self.pause.unwrap_or_default());
        }
    }

    fn deadline(&self) -> Instant {
        // Far away: this test is about delivery.
        self.now + 1000 * HOUR
    }

    fn step(&mut self, step: &Move) {
        let now = moment(self.now);
        match step {
            Move::Accept { chat, late } => {
                let number = self.next;
                self.next += 1;
                self.rows.insert(id(number), (number, *chat));
                self.untold.push((number, *chat));
                if !late {
                    self.tell();
                }
            }
            Move::Fetch => {
                self.tell();
                if let Some((from, limit)) = self.outbox.fetch() {
                    let after = |id: &MessageId| from.after.is_none_or(|after| *id > after);
                    let rows = self.rows.iter().filter(|(id, _)| after(id)).take(limit);
                    let items = rows.map(|(_, &(number, chat))| item(number, chat, self.now + 1000 * HOUR));
                    self.fetching = Some((from, limit, items.collect()));
                }
            }
            Move::Fetched => {
                if let Some((from, limit, items)) = self.fetching.take() {
                    self.outbox.fetched(from, limit, Some(items));
                }
            }
            Move::Suspect => self.outbox.suspect(),
            Move::Up => {
                self.generation += 1;
                self.handing = None;
                self.outbox.link_up(self.generation);
            }
            Move::Down => {
                self.handing = None;
                self.outbox.link_down();
            }
            Move::Dispatch => {
                while let Some(attempt) = self.outbox.next(now, &FixedEntropy(200), &mut self.changes) {
                    let number: u64 = attempt.outgoing.whatsapp_id[1..].parse().unwrap();
                    self.attempted(&attempt, number);
                    let chat = self.rows[&id(number)].1;
                    let first = self.first.entry(chat).or_default();
                    if !first.contains(&number) {
                        first.push(number);
                    }
                    self.attempts.push((attempt.generation, number));
                }
            }
            Move::Result { pick, outcome } => {
                if !self.attempts.is_empty() {
                    let (generation, number) = self.attempts.remove(pick % self.attempts.len());
                    let result = match outcome {
                        0 => Err(SendError::Transient("busy".into())),
                        1 => Err(SendError::NotConnected),
                        _ => Ok(()),
                    };
                    self.ended((generation, number));
                    let name = format!("W{number}");
                    self.outbox.sent(
                        generation,
                        &name,
                        result,
                        now,
                        &FixedEntropy(77),
                        &mut self.changes,
                    );
                }
            }
            Move::Ack { pick, refused } => {
                if !self.attempts.is_empty() {
                    let (_, number) = self.attempts[pick % self.attempts.len()];
                    let error = refused.then_some(400);
                    self.outbox
                        .acked(&format!("W{number}"), error, now.wall, &mut self.changes);
                }
            }
            Move::Advance => {
                for change in std::mem::take(&mut self.changes) {
                    if let Some(id) = change.message {
                        *self.ended.entry(id).or_default() += 1;
                        self.rows.remove(&id);
                        self.outbox.stored(id);
                    }
                }
            }
            Move::Pass(seconds) => {
                self.now += Duration::from_secs(*seconds);
                self.outbox.due(moment(self.now), &mut self.changes);
            }
        }
    }

    fn tell(&mut self) {
        for (number, chat) in std::mem::take(&mut self.untold) {
            let deadline = self.deadline();
            self.outbox.offer(item(number, chat, deadline));
        }
    }

    /// Everything goes well from here on.
    fn calm(&mut self) {
        self.tell();
        self.step(&Move::Fetched);
        self.step(&Move::Up);
        for _ in 0..400 {
            self.step(&Move::Fetch);
            self.step(&Move::Fetched);
            self.step(&Move::Pass(400));
            self.step(&Move::Dispatch);
            for (generation, number) in std::mem::take(&mut self.attempts) {
                self.ended((generation, number));
                let (now, name) = (moment(self.now), format!("W{number}"));
                self.outbox.sent(
                    generation,
                    &name,
                    Ok(()),
                    now,
                    &FixedEntropy(1),
                    &mut self.changes,
                );
                self.outbox.acked(&name, None, now.wall, &mut self.changes);
            }
            self.step(&Move::Advance);
            if self.rows.is_empty() {
                return;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Under transient failures, lost links, late commits and a full memory: every accepted message
    /// ends exactly once, and the messages of a chat first leave in the order of acceptance.
    #[test]
    fn nothing_is_forgotten_and_chats_keep_their_order(moves in prop::collection::vec(any_move(), 1..250)) {
        let mut world = World::new();
        for step in &moves {
            world.step(step);
        }
        let accepted = world.next - 1;
        world.calm();
        prop_assert!(world.rows.is_empty(), "unsent: {:?}", world.rows);
        prop_assert_eq!(world.ended.len() as u64, accepted);
        prop_assert!(world.ended.values().all(|&times| times == 1), "{:?}", world.ended);
        prop_assert_eq!(world.outbox.len(), 0);
        for (chat, order) in &world.first {
            prop_assert!(order.is_sorted(), "chat {}: {:?}", chat, order);
        }
    }

    /// The same of a session that is paced, and besides: one message at a time, with the pause between
    /// any two.
    #[test]
    fn a_pace_forgets_nothing_either(
        moves in prop::collection::vec(any_move(), 1..250),
        per_minute in 1_u32..120,
        jitter_percent in 0_u8..=100,
        typing in any::<bool>(),
    ) {
        let messages_per_minute = NonZeroU32::new(per_minute).unwrap();
        let mut world = World::paced(Pacing { messages_per_minute, jitter_percent, typing });
        for step in &moves {
            world.step(step);
        }
        let accepted = world.next - 1;
        world.calm();
        prop_assert!(world.rows.is_empty(), "unsent: {:?}", world.rows);
        prop_assert_eq!(world.ended.len() as u64, accepted);
        prop_assert!(world.ended.values().all(|&times| times == 1), "{:?}", world.ended);
        for (chat, order) in &world.first {
            prop_assert!(order.is_sorted(), "chat {}: {:?}", chat, order);
        }
    }
}
