//! What the machine does, case by case.

use roost_domain::webhook::{DeadReason, DeliveryStatus};

use super::*;
use crate::webhook::BreakerState;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_hot_event_is_posted_at_once_and_settled_later() {
    let mut bench = Bench::new(exact(), rules(true, 4));
    bench.append(1);
    bench.step();
    assert_eq!(bench.flying(), [1]);
    bench.answer(1, Verdict::Delivered);
    assert_eq!((bench.cursor, bench.rows.len()), (0, 0));
    bench.pass(bench.settings.settle_every);
    assert_eq!(
        (bench.cursor, bench.status(1)),
        (1, Some(DeliveryStatus::Delivered))
    );
    assert_eq!(bench.wake, None);
}

#[test]
fn a_full_batch_is_settled_at_once() {
    let mut bench = Bench::new(exact(), rules(false, 16));
    for chat in 0..256 {
        bench.append(chat % 50);
    }
    bench.step();
    while !bench.flying.is_empty() {
        assert_eq!(bench.cursor, 0);
        bench.answer_all(Verdict::Delivered);
    }
    assert_eq!((bench.cursor, bench.rows.len()), (256, 256));
}

#[test]
fn one_chat_has_one_post_at_a_time_and_others_go_on() {
    let mut bench = Bench::new(exact(), rules(true, 4));
    for chat in [1, 1, 2, 2, 3] {
        bench.append(chat);
    }
    bench.step();
    assert_eq!(bench.flying(), [1, 3, 5]);
    bench.answer(3, Verdict::Delivered);
    assert_eq!(bench.flying(), [1, 4, 5]);
}

#[test]
fn unordered_posts_as_much_as_it_may() {
    let mut bench = Bench::new(exact(), rules(false, 3));
    for _ in 0..5 {
        bench.append(1);
    }
    bench.step();
    assert_eq!(bench.flying(), [1, 2, 3]);
    bench.answer(2, Verdict::Failed);
    assert_eq!(bench.flying(), [1, 3, 4]);
}

#[test]
fn a_failure_parks_what_follows_in_its_chat_and_the_cursor_goes_on() {
    let mut bench = Bench::new(exact(), rules(true, 4));
    for chat in [1, 1, 2] {
        bench.append(chat);
    }
    bench.step();
    bench.answer(1, Verdict::Failed);
    bench.answer(3, Verdict::Delivered);
    bench.append(1);
    bench.step();
    assert!(bench.flying.is_empty());
    bench.pass(SECOND);
    assert_eq!(bench.cursor, 4);
    assert_eq!(bench.rows[&1].next, Some(at(1_000 + 5_000).wall));
    assert_eq!((bench.rows[&2].next, bench.rows[&4].next), (None, None));
    bench.pass(4 * SECOND);
    assert_eq!(bench.flying(), [1]);
    bench.answer(1, Verdict::Delivered);
    assert_eq!(bench.flying(), [2]);
    bench.answer(2, Verdict::Delivered);
    bench.answer(4, Verdict::Delivered);
    bench.recover();
    assert!((1..=4).all(|seq| bench.status(seq) == Some(DeliveryStatus::Delivered)));
    assert_eq!(bench.rows[&1].attempts, 2);
}

/// One attempt of a single event after the other, with other events between that keep the breaker
/// closed.
fn fail_until_dead(bench: &mut Bench) -> Vec<u64> {
    let begun = bench.ms;
    let mut times = Vec::new();
    while bench.status(1) != Some(DeliveryStatus::Dead) {
        if bench.flying.contains_key(&1) {
            times.push(bench.ms - begun);
            bench.answer(1, Verdict::Failed);
            bench.append(2);
            bench.step();
        }
        for seq in bench.flying() {
            if seq != 1 {
                bench.answer(seq, Verdict::Delivered);
            }
        }
        if bench.flying.is_empty() && !bench.pass_to_wake() {
            break;
        }
    }
    times
}

#[test]
fn attempts_follow_the_schedule_and_then_it_is_dead() {
    let mut bench = Bench::new(exact(), rules(true, 4));
    bench.append(1);
    bench.step();
    let seconds: Vec<u64> = fail_until_dead(&mut bench).iter().map(|ms| ms / 1000).collect();
    let mut expected = vec![0];
    for wait in [5, 30, 300, 1_800, 7_200, 18_000, 36_000, 36_000] {
        expected.push(expected.last().unwrap() + wait);
    }
    assert_eq!(seconds, expected);
    assert_eq!(bench.rows[&1].dead_reason, Some(DeadReason::AttemptsExhausted));
    assert_eq!((bench.rows[&1].attempts, bench.rows[&1].round), (9, 9));
}

#[test]
fn waits_differ_by_no_more_than_the_jitter() {
    let mut bench = Bench::new(WebhookSettings::default(), rules(true, 4));
    bench.append(1);
    bench.step();
    let times = fail_until_dead(&mut bench);
    let mut waits = times.windows(2).map(|pair| pair[1] - pair[0]);
    for wait in [5, 30, 300, 1_800, 7_200, 18_000, 36_000, 36_000] {
        let got = waits.next().unwrap();
        assert!(
            (wait * 800..=wait * 1_200 + 2).contains(&got),
            "{got} for {wait} s"
        );
    }
}

#[test]
fn the_next_of_a_chat_is_due_at_once_when_the_first_is_dead() {
    let settings = WebhookSettings {
        schedule: vec![Duration::ZERO, SECOND],
        ..exact()
    };
    let mut bench = Bench::new(settings, rules(true, 4));
    for _ in 0..2 {
        bench.append(1);
    }
    bench.step();
    bench.answer(1, Verdict::Failed);
    bench.pass(SECOND);
    bench.answer(1, Verdict::Failed);
    assert_eq!(bench.flying(), [2]);
}

#[test]
fn retry_after_pauses_the_whole_webhook_and_has_a_limit() {
    let mut bench = Bench::new(exact(), rules(true, 4));
    bench.append(1);
    bench.append(2);
    bench.step();
    bench.answer(1, Verdict::Pause(60 * SECOND));
    bench.answer(2, Verdict::Delivered);
    bench.append(2);
    bench.pass(59 * SECOND);
    assert!(bench.flying.is_empty());
    assert_eq!(bench.machine.view().breaker, BreakerState::Closed);
    bench.pass(SECOND);
    assert_eq!(bench.flying(), [1, 3]);
    bench.answer(1, Verdict::Pause(48 * 3600 * SECOND));
    let until = bench.machine.view().paused_until.unwrap();
    assert_eq!(until.since(bench.now().wall), 3600 * SECOND);
}

#[test]
fn gone_disables_the_webhook_and_the_delivery_is_dead() {
    let mut bench = Bench::new(exact(), rules(true, 4));
    for chat in [1, 1, 2] {
        bench.append(chat);
    }
    bench.step();
    bench.answer(1, Verdict::Gone);
    assert_eq!(bench.rows[&1].dead_reason, Some(DeadReason::Gone));
    assert!(bench.disabled.as_ref().unwrap().contains("410"));
    assert!(!bench.drained, "one is under way");
    bench.answer(3, Verdict::Delivered);
    assert!(bench.drained);
    // The second waits in the log.
    assert_eq!((bench.cursor, bench.status(2)), (1, None));
}

#[test]
fn nothing_but_failures_for_five_days_disables_it() {
    let mut bench = Bench::new(exact(), rules(true, 4));
    let day = 24 * 3600 * SECOND;
    let mut days = 0.0;
    for chat in 0..50 {
        bench.append(chat);
    }
    bench.step();
    while bench.disabled.is_none() {
        while !bench.flying.is_empty() && bench.disabled.is_none() {
            bench.answer_all(Verdict::Failed);
        }
        assert!(bench.disabled.is_some() || bench.pass_to_wake());
        days = (bench.ms - 1_000) as f64 / day.as_millis() as f64;
        assert!(days < 6.0);
    }
    assert!(days >= 5.0, "{days}");
    assert_eq!(bench.failing_since, Some(at(1_000).wall));
}

#[test]
fn a_success_ends_the_time_of_failures() {
    let mut bench = Bench::new(exact(), rules(true, 4));
    bench.append(1);
    bench.append(2);
    bench.step();
    bench.answer(1, Verdict::Failed);
    bench.pass(SECOND);
    assert_eq!(bench.failing_since, Some(at(1_000).wall));
    bench.answer(2, Verdict::Delivered);
    bench.pass(SECOND);
    assert_eq!(bench.failing_since, None);
}

#[test]
fn a_rate_spreads_posts_over_time() {
    let rules = Rules {
        rate_per_second: Some(10),
        ..rules(false, 100)
    };
    let mut bench = Bench::new(exact(), rules);
    for _ in 0..50 {
        bench.append(1);
    }
    bench.step();
    assert_eq!(bench.flying.len(), 1);
    let begun = bench.ms;
    while bench.posted.len() < 50 {
        assert!(bench.pass_to_wake());
    }
    let took = bench.ms - begun;
    assert!((4_800..5_200).contains(&took), "{took}");
}

#[test]
fn reading_stops_when_much_is_parked() {
    let settings = WebhookSettings {
        parked_max: 30,
        read_ahead: 10,
        ..exact()
    };
    let mut bench = Bench::new(settings, rules(true, 4));
    for _ in 0..1_000 {
        bench.append(1);
    }
    bench.step();
    bench.answer(1, Verdict::Failed);
    let view = bench.machine.view();
    assert_eq!((view.parked, bench.machine.queue.hot()), (30, 0));
    assert_eq!(bench.machine.read_to(), 30);
    bench.recover();
    assert_eq!(bench.ended.len(), 1_000);
    assert!(bench.posted[1..].is_sorted());
}

#[test]
fn a_backlog_is_read_a_little_ahead_of_its_delivery() {
    let mut bench = Bench::new(exact(), rules(true, 16));
    for number in 0..5_000 {
        bench.append(number % 40);
    }
    bench.step();
    assert_eq!(bench.machine.read_to(), 256);
    bench.recover();
    assert_eq!((bench.cursor, bench.ended.len()), (5_000, 5_000));
}

#[test]
fn nothing_more_is_posted_while_the_store_takes_no_outcomes() {
    let settings = WebhookSettings {
        unsettled_max: 40,
        settle_batch: 10,
        ..exact()
    };
    let mut bench = Bench::new(settings, rules(true, 4));
    bench.commits = false;
    for chat in 0..200 {
        bench.append(chat % 90);
    }
    bench.step();
    while !bench.flying.is_empty() {
        bench.answer_all(Verdict::Delivered);
    }
    assert_eq!(bench.posted.len(), 40);
    bench.recover();
    assert_eq!(bench.ended.len(), 200);
}

#[test]
fn a_post_that_takes_long_gets_a_row_and_the_cursor_goes_on() {
    let mut bench = Bench::new(exact(), rules(false, 4));
    for _ in 0..600 {
        bench.append(1);
    }
    bench.step();
    while bench.posted.len() < 600 {
        for seq in bench.flying().into_iter().filter(|&seq| seq != 1) {
            bench.answer(seq, Verdict::Delivered);
        }
    }
    assert_eq!(bench.status(1), Some(DeliveryStatus::Pending));
    assert!(bench.cursor > 250, "{}", bench.cursor);
    bench.answer(1, Verdict::Delivered);
    bench.recover();
    assert_eq!(
        (bench.rows[&1].attempts, bench.status(1)),
        (1, Some(DeliveryStatus::Delivered))
    );
}
