//! The pace of a session: the arithmetic on times of the test's own, and what callers see of it on the
//! real runtime.

use std::num::NonZeroU32;
use std::time::Duration;

use roost_domain::Address;
use roost_domain::engine::{SendError, Typing};
use roost_domain::instance::{InstancePatch, InstanceState, Pacing, Policy};
use roost_domain::message::{FailureReason, MessageStatus};
use tokio::time::Instant;

use super::super::outbox::{Attempt, Outbox};
use super::outbox::{HOUR, id, item, limits, moment};
use super::{FixedEntropy, message_in};
use crate::testing::{TestNode, eventually, inbound, quick};
use crate::{CallError, Settings};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn pacing(messages_per_minute: u32, jitter_percent: u8, typing: bool) -> Pacing {
    Pacing {
        messages_per_minute: NonZeroU32::new(messages_per_minute).unwrap(),
        jitter_percent,
        typing,
    }
}

/// A connected outbox with so many messages to chats of their own.
fn paced(start: Instant, pacing: Pacing, messages: u64) -> Outbox {
    let mut outbox = Outbox::new(limits());
    outbox.set_pacing(Some(pacing), false, start);
    for number in 1..=messages {
        outbox.offer(item(number, number, start + HOUR));
    }
    outbox.link_up(1);
    outbox
}

fn next(outbox: &mut Outbox, at: Instant, random: u8) -> Option<Attempt> {
    outbox.next(moment(at), &FixedEntropy(random), &mut Vec::new())
}

fn ends(outbox: &mut Outbox, number: u64, at: Instant) {
    let (name, mut changes) = (format!("W{number}"), Vec::new());
    outbox.sent(1, &name, Ok(()), moment(at), &FixedEntropy(1), &mut changes);
    outbox.acked(&name, None, moment(at).wall, &mut changes);
}

#[test]
fn messages_leave_one_after_the_other_with_the_pause_after_each() {
    let start = Instant::now();
    let mut outbox = paced(start, pacing(60, 0, false), 3);
    assert_eq!(next(&mut outbox, start, 1).unwrap().outgoing.whatsapp_id, "W1");
    assert!(
        next(&mut outbox, start + 5 * SECOND, 1).is_none(),
        "W1 is being sent"
    );
    assert_eq!(outbox.next_send(), Some(start + SECOND));
    ends(&mut outbox, 1, start + 200 * MS);
    // The pause runs from the end of the attempt.
    assert!(next(&mut outbox, start + 1199 * MS, 1).is_none());
    assert_eq!(outbox.next_due(), Some(start + 1200 * MS));
    let second = next(&mut outbox, start + 1200 * MS, 1).unwrap();
    assert_eq!(
        (second.outgoing.whatsapp_id.as_str(), second.types_until),
        ("W2", None)
    );
    ends(&mut outbox, 2, start + 1200 * MS);
    // What was not used is not saved up.
    assert!(next(&mut outbox, start + 60 * SECOND, 1).is_some());
    ends(&mut outbox, 3, start + 60 * SECOND);
    outbox.offer(item(4, 4, start + HOUR));
    assert!(next(&mut outbox, start + 60 * SECOND + 999 * MS, 1).is_none());
}

#[test]
fn jitter_makes_a_pause_longer_and_never_shorter() {
    for (random, pause) in [(0, 10 * SECOND), (255, 14 * SECOND)] {
        let start = Instant::now();
        let mut outbox = paced(start, pacing(6, 40, false), 2);
        next(&mut outbox, start, random).unwrap();
        ends(&mut outbox, 1, start);
        assert_eq!(outbox.next_send(), Some(start + pause));
    }
}

#[test]
fn a_repetition_of_a_message_is_spaced_out_too() {
    let start = Instant::now();
    let mut outbox = paced(start, pacing(60, 0, false), 1);
    next(&mut outbox, start, 1).unwrap();
    let mut changes = Vec::new();
    let failed = Err(SendError::Transient("busy".into()));
    // The shortest wait after a failure is a hundredth of a second.
    outbox.sent(1, "W1", failed, moment(start), &FixedEntropy(0), &mut changes);
    let retry = start + 10 * MS;
    outbox.due(moment(retry), &mut changes);
    assert!(next(&mut outbox, retry, 1).is_none());
    assert!(next(&mut outbox, start + SECOND, 1).is_some());
    // A lost link makes it no earlier.
    outbox.link_down();
    outbox.link_up(2);
    assert!(next(&mut outbox, start + 1900 * MS, 1).is_none());
    assert_eq!(next(&mut outbox, start + 2 * SECOND, 1).unwrap().generation, 2);
}

#[test]
fn typing_begins_before_the_pause_is_over_and_is_shown_once() {
    let start = Instant::now();
    // The texts are as short as can be, so they are typed for the shortest time.
    let mut outbox = paced(start, pacing(60, 0, true), 2);
    let first = next(&mut outbox, start, 1).unwrap();
    assert_eq!(first.types_until, Some(start + 500 * MS));
    ends(&mut outbox, 1, start + 500 * MS);
    assert!(next(&mut outbox, start + 999 * MS, 1).is_none());
    let second = next(&mut outbox, start + SECOND, 1).unwrap();
    assert_eq!(second.types_until, Some(start + 1500 * MS));
    outbox.link_down();
    outbox.link_up(2);
    let again = next(&mut outbox, start + 10 * SECOND, 1).unwrap();
    assert_eq!(
        (again.outgoing.whatsapp_id.as_str(), again.types_until),
        ("W2", None)
    );
}

#[test]
fn a_long_text_is_typed_for_longer_up_to_the_bound() {
    use roost_domain::message::Content;
    let typing = limits().typing;
    for (chars, time) in [(1, 500 * MS), (100, 3 * SECOND), (10_000, 6 * SECOND)] {
        // Characters, not bytes.
        assert_eq!(typing.of(&Content::text("ä".repeat(chars))), time, "{chars}");
    }
}

#[test]
fn a_message_that_waits_beyond_its_deadline_expires() {
    let start = Instant::now();
    for typing in [false, true] {
        let mut outbox = Outbox::new(limits());
        outbox.set_pacing(Some(pacing(1, 0, typing)), false, start);
        outbox.link_up(1);
        outbox.offer(item(1, 1, start + HOUR));
        outbox.offer(item(2, 2, start + 30 * SECOND));
        next(&mut outbox, start, 1).unwrap();
        ends(&mut outbox, 1, start + SECOND);
        let due = start + 30 * SECOND;
        let mut changes = Vec::new();
        assert!(next(&mut outbox, due - MS, 1).is_none());
        outbox.due(moment(due), &mut changes);
        assert_eq!(changes[0].message, Some(id(2)));
        assert_eq!(changes[0].status.failure, Some(FailureReason::DeadlinePassed));
    }
}

#[test]
fn typing_does_not_last_beyond_the_deadline() {
    let start = Instant::now();
    let mut outbox = Outbox::new(limits());
    outbox.set_pacing(Some(pacing(600, 0, true)), false, start);
    outbox.link_up(1);
    outbox.offer(item(1, 1, start + 100 * MS));
    assert_eq!(
        next(&mut outbox, start, 1).unwrap().types_until,
        Some(start + 100 * MS)
    );
}

#[test]
fn a_faster_pace_holds_at_once_and_none_lets_everything_go() {
    let start = Instant::now();
    let mut outbox = paced(start, pacing(1, 100, false), 4);
    next(&mut outbox, start, 255).unwrap();
    ends(&mut outbox, 1, start);
    assert_eq!(outbox.next_send(), Some(start + 120 * SECOND));
    outbox.set_pacing(Some(pacing(60, 0, false)), false, start + 10 * SECOND);
    assert_eq!(outbox.next_send(), Some(start + 11 * SECOND));
    assert!(next(&mut outbox, start + 11 * SECOND, 1).is_some());
    outbox.set_pacing(None, false, start + 11 * SECOND);
    assert!(next(&mut outbox, start + 11 * SECOND, 1).is_some());
    assert!(next(&mut outbox, start + 11 * SECOND, 1).is_some());
    assert_eq!(outbox.next_send(), None);
}

#[test]
fn after_a_restart_the_first_message_waits_for_one_that_may_have_been_sent() {
    let start = Instant::now();
    let mut outbox = Outbox::new(limits());
    outbox.set_pacing(Some(pacing(60, 0, false)), true, start);
    outbox.offer(item(1, 1, start + HOUR));
    outbox.link_up(1);
    assert!(next(&mut outbox, start + 999 * MS, 1).is_none());
    assert!(next(&mut outbox, start + SECOND, 1).is_some());
}

#[test]
fn a_wait_for_the_pace_is_over_once() {
    let start = Instant::now();
    let mut outbox = paced(start, pacing(60, 0, false), 2);
    next(&mut outbox, start, 1).unwrap();
    ends(&mut outbox, 1, start);
    assert!(next(&mut outbox, start, 1).is_none());
    assert_eq!(outbox.next_due(), Some(start + SECOND));
    // Nobody sends, for example because the session stops: the timer does not fire on and on.
    outbox.due(moment(start + SECOND), &mut Vec::new());
    assert_eq!(outbox.next_due(), Some(start + HOUR));
}

const PHONE: &str = "+4915188888888";
const OTHER: &str = "+4915199999999";

async fn patch(node: &TestNode, id: roost_domain::InstanceId, patch: InstancePatch) {
    node.instances().patch(node.tenant, id, patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pace_holds_from_the_call_that_sets_it_and_operators_see_it() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    let path = format!("instance/{id}");
    let view = || node.runtime.introspection().get(&path).unwrap().pacing;
    assert_eq!(view(), None);
    let slow = InstancePatch {
        pacing: Some(Some(pacing(1, 0, false).into())),
        ..InstancePatch::default()
    };
    patch(&node, id, slow).await;
    let first = node.send(id, PHONE, "one", None).await.unwrap();
    let second = node.send(id, OTHER, "two", None).await.unwrap();
    message_in(&node, first.id, MessageStatus::Sent).await;
    let shown = eventually("the second waits", async || {
        view().filter(|pace| pace.waiting == 1 && pace.next_send_at.is_some())
    })
    .await;
    assert!(shown.next_send_at.unwrap() >= first.created_at.plus(60 * SECOND));
    assert_eq!(node.engine.sent(id).len(), 1);
    let none = InstancePatch {
        pacing: Some(None),
        ..InstancePatch::default()
    };
    patch(&node, id, none).await;
    message_in(&node, second.id, MessageStatus::Sent).await;
    eventually("no pace is shown", async || view().is_none().then_some(())).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_for_its_turn_is_still_there_after_a_restart() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    let slow = InstancePatch {
        pacing: Some(Some(pacing(1, 0, false).into())),
        ..InstancePatch::default()
    };
    patch(&node, id, slow).await;
    let first = node.send(id, PHONE, "one", None).await.unwrap();
    let second = node.send(id, PHONE, "two", None).await.unwrap();
    message_in(&node, first.id, MessageStatus::Sent).await;
    let node = node.restart().await;
    node.in_state(id, InstanceState::Connected).await;
    let path = format!("instance/{id}");
    eventually("the second waits again", async || {
        let view = node.runtime.introspection().get(&path)?;
        view.pacing.filter(|pace| pace.waiting == 1)
    })
    .await;
    let none = InstancePatch {
        pacing: Some(None),
        ..InstancePatch::default()
    };
    patch(&node, id, none).await;
    message_in(&node, second.id, MessageStatus::Sent).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_shown_typing_before_its_message_and_its_end_when_none_comes() {
    let settings = Settings {
        typing_min: MS,
        typing_max: 5 * MS,
        ..quick()
    };
    let node = TestNode::start(settings).await;
    node.engine.set(|script| script.transient_failures = 1);
    let id = node.connected().await;
    let typing = InstancePatch {
        pacing: Some(Some(pacing(6_000, 0, true).into())),
        ..InstancePatch::default()
    };
    patch(&node, id, typing).await;
    let first = node.send(id, PHONE, "one", None).await.unwrap();
    message_in(&node, first.id, MessageStatus::Sent).await;
    let link = node.link(id).await;
    // The first attempt failed: typing ended, and the second one was made without it.
    eventually("typing has ended", async || {
        (link.typed.lock().unwrap().len() == 2).then_some(())
    })
    .await;
    let second = node.send(id, OTHER, "two", None).await.unwrap();
    message_in(&node, second.id, MessageStatus::Sent).await;
    let typed = link.typed.lock().unwrap().clone();
    let chats = typed.iter().map(|(chat, typing, _)| (chat.clone(), *typing));
    let (phone, other): (Address, Address) = (PHONE.parse().unwrap(), OTHER.parse().unwrap());
    assert_eq!(
        chats.collect::<Vec<_>>(),
        [
            (phone.clone(), Typing::Composing),
            (phone, Typing::Paused),
            (other, Typing::Composing)
        ]
    );
    // Each before its message.
    assert_eq!((typed[0].2, typed[2].2), (0, 1));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_only_session_answers_and_does_nothing_else() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    let policy = InstancePatch {
        policy: Some(Policy { reply_only: true }),
        ..InstancePatch::default()
    };
    patch(&node, id, policy).await;
    let message = inbound("A1", "hello");
    let writer = message.chat.id.to_string();
    let refused = node.send(id, &writer, "cold", None).await;
    assert!(
        matches!(refused, Err(CallError::PolicyViolation { field: "to", .. })),
        "{refused:?}"
    );
    node.link(id).await.observer.inbound(vec![message]).await.unwrap();
    let answer = node.send(id, &writer, "hello yourself", None).await.unwrap();
    message_in(&node, answer.id, MessageStatus::Sent).await;
    node.stop().await;
}
