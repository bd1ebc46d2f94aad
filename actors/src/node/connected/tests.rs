//! Days, fractions, and what a session counts.

use std::time::Duration;

use roost_domain::TenantId;
use roost_domain::instance::InstanceState;
use roost_domain::store::UsageLog as _;
use roost_domain::usage::{Day, Usage};
use tokio::time::Instant;

use super::{Book, Moment};
use crate::Settings;
use crate::testing::{TestNode, eventually, quick};

fn tenant(number: u128) -> TenantId {
    TenantId::from_parts(1, number)
}

struct Time {
    start: Instant,
    midnight: Day,
}

impl Time {
    fn new() -> Self {
        let midnight = "2026-03-01".parse().unwrap();
        let start = Instant::now();
        Self { start, midnight }
    }

    /// A moment so long after a midnight, some days after the first.
    fn at(&self, days: u64, after: Duration) -> Moment {
        let passed = Duration::from_secs(days * 24 * 3600) + after;
        Moment {
            tick: self.start + passed,
            wall: self.midnight.start().plus(passed),
        }
    }

    fn day(&self, days: i64) -> Day {
        Day::from_number(self.midnight.number() + days)
    }
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Writes everything, and says what.
fn write(book: &mut Book, now: Moment) -> Vec<(Day, TenantId, u64)> {
    book.pass(now);
    let mut all = Vec::new();
    for (day, used) in book.days() {
        book.written(day, &used);
        all.extend(used.iter().map(|&(tenant, seconds)| (day, tenant, seconds)));
    }
    all
}

#[test]
fn time_is_cut_at_midnight() {
    let (time, mut book) = (Time::new(), Book::default());
    book.begin(tenant(1), time.at(0, seconds(86_370)));
    assert_eq!(
        write(&mut book, time.at(1, seconds(30))),
        [(time.day(0), tenant(1), 30), (time.day(1), tenant(1), 30)]
    );
    assert_eq!(
        write(&mut book, time.at(3, seconds(1))),
        [
            (time.day(1), tenant(1), 86_370),
            (time.day(2), tenant(1), 86_400),
            (time.day(3), tenant(1), 1),
        ]
    );
    assert_eq!(write(&mut book, time.at(3, seconds(1))), []);
}

#[test]
fn no_fraction_of_a_second_is_lost_or_counted_twice() {
    let (time, mut book) = (Time::new(), Book::default());
    let number = book.begin(tenant(1), time.at(0, seconds(0)));
    let mut total = 0;
    for step in 1..=700 {
        let now = time.at(0, Duration::from_millis(333 * step));
        total += write(&mut book, now).iter().map(|row| row.2).sum::<u64>();
    }
    assert_eq!(total, 333 * 700 / 1_000);
    book.end(number, time.at(0, Duration::from_millis(333 * 700)));
    assert!(write(&mut book, time.at(1, seconds(0))).is_empty());
    // What was left of the day before counts for this one.
    let number = book.begin(tenant(1), time.at(1, seconds(0)));
    book.end(number, time.at(1, Duration::from_millis(950)));
    assert_eq!(
        write(&mut book, time.at(1, seconds(1))),
        [(time.day(1), tenant(1), 1)]
    );
}

#[test]
fn instances_of_a_tenant_add_up_and_those_of_others_are_apart() {
    let (time, mut book) = (Time::new(), Book::default());
    let first = book.begin(tenant(1), time.at(0, seconds(0)));
    book.begin(tenant(1), time.at(0, seconds(10)));
    book.begin(tenant(2), time.at(0, seconds(15)));
    book.end(first, time.at(0, seconds(20)));
    assert_eq!(
        write(&mut book, time.at(0, seconds(20))),
        [(time.day(0), tenant(1), 30), (time.day(0), tenant(2), 5)]
    );
}

#[test]
fn what_was_not_written_is_written_the_next_time() {
    let (time, mut book) = (Time::new(), Book::default());
    book.begin(tenant(1), time.at(0, seconds(0)));
    book.pass(time.at(0, seconds(60)));
    // That write failed.
    assert_eq!(book.days().len(), 1);
    assert_eq!(
        write(&mut book, time.at(0, seconds(120))),
        [(time.day(0), tenant(1), 120)]
    );
}

async fn counted(node: &TestNode) -> u64 {
    let (from, to) = (Day::from_number(0), Day::from_number(100_000));
    let days = node.store.usage(node.tenant, from, to).await.unwrap();
    let seconds = |usage: Usage| usage.instance_seconds;
    days.into_iter().map(|day| seconds(day.usage)).sum()
}

#[tokio::test]
async fn a_connected_session_counts_until_it_is_not_and_a_restart_counts_nothing_twice() {
    let settings = Settings {
        connected_time_every: Duration::from_millis(20),
        ..quick()
    };
    let start = Instant::now();
    let node = TestNode::start(settings).await;
    let id = node.connected().await;
    eventually("a second is counted", async || {
        (counted(&node).await >= 1).then_some(())
    })
    .await;
    node.instances().disconnect(node.tenant, id).await.unwrap();
    node.in_state(id, InstanceState::Disconnected).await;
    assert!(node.runtime.connected_time().book().open.is_empty());
    let node = node.restart().await;
    let counted = counted(&node).await;
    assert!(counted <= start.elapsed().as_secs(), "{counted}");
    node.stop().await;
}

#[tokio::test]
async fn a_stop_writes_what_is_not_written_yet() {
    let node = TestNode::start(quick()).await;
    let now = node.runtime.connected_time().now();
    let time = Duration::from_millis(5_900);
    node.runtime
        .connected_time()
        .book()
        .add(node.tenant, time, now.wall);
    node.runtime.stop().await;
    assert_eq!(counted(&node).await, 5);
    node.stop().await;
}
