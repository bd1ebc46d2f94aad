//! How the machine comes back: breaker, crash, redrive, replay, drain.

use roost_domain::webhook::{DeadReason, DeliveryStatus};

use super::*;
use crate::webhook::BreakerState;

const SECOND: Duration = Duration::from_secs(1);

fn broken(ordered: bool, events: u64) -> Bench {
    let mut bench = Bench::new(exact(), rules(ordered, 5));
    for chat in 0..events {
        bench.append(chat % 90);
    }
    bench.step();
    while !bench.flying.is_empty() {
        bench.answer_all(Verdict::Failed);
    }
    assert_eq!(bench.machine.view().breaker, BreakerState::Open);
    bench
}

#[test]
fn an_open_breaker_lets_one_probe_through_and_parks_nothing() {
    let mut bench = broken(true, 80);
    assert_eq!(bench.machine.view().parked, 9);
    bench.pass(SECOND);
    assert_eq!(bench.flying(), [1]);
    assert_eq!(bench.machine.view().breaker, BreakerState::HalfOpen);
    bench.answer(1, Verdict::Failed);
    bench.pass(10 * SECOND);
    assert_eq!(bench.flying.len(), 1);
    assert_eq!(bench.machine.view().parked, 9);
}

#[test]
fn a_probe_before_its_time_does_not_use_up_the_schedule() {
    let mut bench = broken(true, 5);
    bench.pass(SECOND);
    bench.answer(1, Verdict::Failed);
    bench.pass(SECOND / 2);
    assert_eq!((bench.rows[&1].attempts, bench.rows[&1].round), (2, 1));
}

#[test]
fn a_success_closes_the_breaker_and_early_failures_are_due_at_once() {
    let mut bench = broken(true, 80);
    bench.pass(SECOND);
    bench.answer(1, Verdict::Delivered);
    assert_eq!(bench.machine.view().breaker, BreakerState::Closed);
    let begun = bench.ms;
    while !bench.flying.is_empty() {
        bench.answer_all(Verdict::Delivered);
    }
    assert_eq!(bench.ms, begun, "without any wait");
    assert_eq!(bench.ended.len(), 80);
}

#[test]
fn an_open_breaker_with_nothing_parked_is_probed_with_what_comes() {
    let settings = WebhookSettings {
        schedule: vec![Duration::ZERO],
        ..exact()
    };
    let mut bench = Bench::new(settings, rules(true, 5));
    for chat in 0..5 {
        bench.append(chat);
    }
    bench.step();
    bench.answer_all(Verdict::Failed);
    assert_eq!(bench.machine.view().parked, 0);
    bench.append(7);
    bench.pass(SECOND);
    assert_eq!(bench.flying(), [6]);
    bench.answer(6, Verdict::Delivered);
    assert_eq!(bench.machine.view().breaker, BreakerState::Closed);
}

#[test]
fn a_crash_repeats_what_was_not_settled_and_nothing_else() {
    let mut bench = Bench::new(exact(), rules(true, 4));
    for chat in 0..3 {
        bench.append(chat);
    }
    bench.step();
    bench.answer(1, Verdict::Delivered);
    bench.answer(2, Verdict::Failed);
    bench.pass(SECOND);
    bench.answer(3, Verdict::Delivered);
    bench.crash();
    assert_eq!((bench.cursor, bench.flying()), (2, vec![3]));
    bench.recover();
    assert_eq!(bench.posted, [1, 2, 3, 3, 2]);
}

#[test]
fn an_event_whose_retention_ended_dies_as_expired() {
    let mut bench = Bench::new(exact(), rules(true, 4));
    bench.append(1);
    bench.append(1);
    bench.step();
    bench.answer(1, Verdict::Failed);
    bench.pass(SECOND);
    bench.gone.insert(1);
    bench.pass(5 * SECOND);
    assert_eq!(bench.flying(), [2]);
    bench.recover();
    assert_eq!(bench.rows[&1].dead_reason, Some(DeadReason::Expired));
    assert_eq!(bench.status(2), Some(DeliveryStatus::Delivered));
}

#[test]
fn what_is_driven_again_begins_a_new_round() {
    let settings = WebhookSettings {
        schedule: vec![Duration::ZERO, SECOND],
        ..exact()
    };
    let mut bench = Bench::new(settings, rules(true, 4));
    bench.append(1);
    bench.step();
    bench.answer(1, Verdict::Failed);
    bench.pass(SECOND);
    bench.answer(1, Verdict::Failed);
    bench.pass(SECOND);
    assert_eq!(bench.status(1), Some(DeliveryStatus::Dead));
    bench.redrive(&[1]);
    assert_eq!(bench.flying[&1], 3, "the number goes on");
    bench.answer(1, Verdict::Failed);
    bench.pass(SECOND);
    assert_eq!(
        (bench.rows[&1].round, bench.status(1)),
        (1, Some(DeliveryStatus::Pending))
    );
    bench.answer(1, Verdict::Delivered);
    bench.recover();
    assert_eq!(
        (bench.rows[&1].attempts, bench.status(1)),
        (4, Some(DeliveryStatus::Delivered))
    );
}

#[test]
fn a_replay_goes_through_its_range_in_bounded_steps_and_in_order() {
    let settings = WebhookSettings {
        parked_max: 40,
        ..exact()
    };
    let mut bench = Bench::new(settings, rules(true, 4));
    for number in 0..300 {
        bench.append(number % 7);
    }
    bench.recover();
    bench.posted.clear();
    bench.replay(11, 250, ReplayScope::Events);
    assert!(bench.machine.view().parked <= 20);
    bench.crash();
    bench.recover();
    let mut posted = bench.posted.clone();
    posted.sort_unstable();
    posted.dedup();
    assert_eq!(posted, (11..=250).collect::<Vec<_>>());
    assert!(bench.replays.is_empty());
    assert_eq!(bench.machine.view().replays, 0);
}

#[test]
fn a_replay_of_dead_letters_leaves_the_delivered_alone() {
    let settings = WebhookSettings {
        schedule: vec![Duration::ZERO],
        ..exact()
    };
    let mut bench = Bench::new(settings, rules(true, 1));
    for number in 0..9 {
        bench.append(number);
    }
    bench.step();
    while let Some(&seq) = bench.flying.keys().next() {
        let verdict = if seq % 3 == 0 {
            Verdict::Failed
        } else {
            Verdict::Delivered
        };
        bench.answer(seq, verdict);
    }
    bench.pass(SECOND);
    bench.posted.clear();
    bench.replay(1, 9, ReplayScope::Dead);
    bench.recover();
    assert_eq!(bench.posted, [3, 6, 9]);
}

#[test]
fn draining_begins_nothing_and_writes_everything() {
    let mut bench = Bench::new(exact(), rules(false, 2));
    for _ in 0..4 {
        bench.append(1);
    }
    bench.step();
    bench.answer(1, Verdict::Delivered);
    bench.machine.drain();
    bench.answer(2, Verdict::Failed);
    assert!(!bench.drained);
    bench.answer(3, Verdict::Delivered);
    assert!(bench.drained);
    assert_eq!((bench.cursor, bench.posted.len()), (3, 3));
}

#[test]
fn what_is_abandoned_is_not_lost() {
    let mut bench = Bench::new(exact(), rules(false, 2));
    bench.append(1);
    bench.append(1);
    bench.step();
    bench.answer(2, Verdict::Delivered);
    bench.machine.abandon();
    bench.flying.clear();
    bench.step();
    assert!(bench.drained);
    assert_eq!(bench.cursor, 0);
    bench.crash();
    bench.recover();
    assert_eq!(
        (bench.cursor, bench.status(1)),
        (2, Some(DeliveryStatus::Delivered))
    );
}

#[test]
fn a_quiet_webhook_writes_its_cursor_seldom() {
    let mut bench = Bench::new(exact(), rules(true, 4));
    bench.machine.read(Vec::new(), 500);
    bench.step();
    assert_eq!(bench.cursor, 0);
    assert_eq!(
        bench.wake,
        Some(Duration::from_millis(1_000) + bench.settings.cursor_every)
    );
    for seq in 1..=500 {
        bench.gone.insert(seq);
    }
    assert!(bench.pass_to_wake());
    assert_eq!((bench.cursor, bench.wake), (500, None));
}

#[test]
fn a_row_beyond_what_was_read_waits_until_the_events_before_it_are_read() {
    let settings = WebhookSettings {
        read_ahead: 2,
        ..exact()
    };
    let mut bench = Bench::new(settings, rules(true, 2));
    for _ in 0..10 {
        bench.append(1);
    }
    bench.redrive(&[9]);
    assert_eq!((bench.flying(), bench.machine.view().parked), (vec![1], 1));
    bench.recover();
    assert_eq!(bench.posted, (1..=10).collect::<Vec<_>>());
    assert_eq!(bench.machine.view().parked, 0);
}
