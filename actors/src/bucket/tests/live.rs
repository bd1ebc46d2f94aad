//! Live buckets on a real node. Quotas come back so slowly that no test sees it, unless it says so.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use roost_domain::limit::{BucketKey, Quota, Taken};
use roost_domain::slot::Slot;
use roost_domain::{ApiKeyId, TenantId};

use crate::bucket::message::BucketMessage;
use crate::bucket::{BucketView, Buckets, LimitNumbers};
use crate::registry::Operation;
use crate::testing::{TestNode, eventually, quick};
use crate::{BucketSettings, Settings};

const ONE: NonZeroU32 = NonZeroU32::MIN;

fn slow(count: u32) -> Quota {
    Quota {
        count: NonZeroU32::new(count).unwrap(),
        per: Duration::from_secs(300 * 24 * 3600),
    }
}

/// No test depends on how fast a machine is: calls wait for as long as it takes.
fn settings(change: impl FnOnce(&mut BucketSettings)) -> Settings {
    let mut buckets = BucketSettings {
        deadline: Duration::from_secs(60),
        lease_life: Duration::from_secs(3600),
        ..BucketSettings::default()
    };
    change(&mut buckets);
    Settings { buckets, ..quick() }
}

async fn node() -> TestNode {
    TestNode::start(settings(|_| {})).await
}

fn calls(number: u128) -> BucketKey {
    BucketKey::Calls(TenantId::from_parts(1, number))
}

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(203, 0, 113, number).into()
}

fn granted(taken: &Taken) -> bool {
    matches!(taken, Taken::Granted(_))
}

fn remaining(taken: &Taken) -> u32 {
    match taken {
        Taken::Granted(standing) | Taken::Refused { standing, .. } => standing.remaining,
    }
}

async fn take_all(buckets: &Buckets, key: BucketKey, quota: Quota) -> u32 {
    let mut count = 0;
    while granted(&buckets.take(key, quota, ONE).await) {
        count += 1;
    }
    count
}

fn numbers(buckets: &Buckets, limit: &str) -> LimitNumbers {
    let numbers = buckets.numbers().limits;
    numbers.into_iter().find(|of| of.limit == limit).unwrap()
}

fn view(node: &TestNode, key: BucketKey) -> Option<BucketView> {
    let row = node.runtime.introspection().get(&format!("bucket/{key}"))?;
    row.bucket
}

fn handled(node: &TestNode, key: BucketKey) -> u64 {
    let row = node.runtime.introspection().get(&format!("bucket/{key}"));
    row.unwrap().handled
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_at_the_same_time_get_no_more_than_the_quota() {
    let node = node().await;
    let (quota, mut tasks) = (slow(500), Vec::new());
    for _ in 0..16 {
        let buckets = node.runtime.buckets();
        tasks.push(tokio::spawn(
            async move { take_all(&buckets, calls(1), quota).await },
        ));
    }
    let mut total = 0;
    for task in tasks {
        total += task.await.unwrap();
    }
    assert_eq!(total, 500);
    let seen = view(&node, calls(1)).unwrap();
    assert_eq!((seen.granted, seen.refused, seen.remaining), (500, 16, 0));
    let of_limit = numbers(&node.runtime.buckets(), "calls_per_hour");
    assert_eq!(
        (of_limit.granted, of_limit.refused, of_limit.let_through),
        (500, 16, 0)
    );
    node.stop().await;
}

#[tokio::test]
async fn a_lease_and_a_refusal_send_no_message() {
    let node = node().await;
    let (buckets, quota) = (node.runtime.buckets(), slow(200));
    // The first takes one, and leases a hundredth.
    for _ in 0..3 {
        assert!(granted(&buckets.take(calls(1), quota, ONE).await));
    }
    assert_eq!(handled(&node, calls(1)), 1);
    assert!(granted(&buckets.take(calls(1), quota, ONE).await));
    assert_eq!(handled(&node, calls(1)), 2);
    assert_eq!(take_all(&buckets, calls(1), quota).await, 196);
    let before = handled(&node, calls(1));
    for _ in 0..100 {
        assert!(!granted(&buckets.take(calls(1), quota, ONE).await));
    }
    assert_eq!(handled(&node, calls(1)), before);
    node.stop().await;
}

#[tokio::test]
async fn what_did_not_count_can_be_taken_again() {
    let node = node().await;
    let (buckets, quota) = (node.runtime.buckets(), slow(5));
    let key = buckets.address(address(1));
    assert_eq!(take_all(&buckets, key, quota).await, 5);
    assert!(!granted(&buckets.look(key, quota)));
    buckets.give_back(key, ONE);
    let look = buckets.look(key, quota);
    assert!(granted(&look));
    assert_eq!(remaining(&look), 1);
    assert_eq!(take_all(&buckets, key, quota).await, 1);
    // Never more than was taken.
    buckets.give_back(key, NonZeroU32::new(100).unwrap());
    assert_eq!(take_all(&buckets, key, quota).await, 5);
    node.stop().await;
}

#[tokio::test]
async fn looking_takes_nothing_and_starts_nothing() {
    let node = node().await;
    let (buckets, quota) = (node.runtime.buckets(), slow(5));
    assert_eq!(remaining(&buckets.look(calls(1), quota)), 5);
    buckets.give_back(calls(1), ONE);
    assert_eq!(buckets.numbers().live, 0);
    assert!(granted(&buckets.take(calls(1), quota, ONE).await));
    assert_eq!(remaining(&buckets.look(calls(1), quota)), 4);
    assert_eq!(remaining(&buckets.look(calls(1), quota)), 4);
    node.stop().await;
}

#[tokio::test]
async fn a_changed_quota_keeps_the_share_that_was_used() {
    let node = node().await;
    let buckets = node.runtime.buckets();
    let half = NonZeroU32::new(50).unwrap();
    assert_eq!(remaining(&buckets.take(calls(1), slow(100), half).await), 50);
    assert_eq!(take_all(&buckets, calls(1), slow(1_000)).await, 500);
    assert_eq!(take_all(&buckets, calls(1), slow(10)).await, 0);
    node.stop().await;
}

#[tokio::test]
async fn a_bucket_leaves_memory_when_it_is_full_and_idle_and_comes_back_full() {
    let node = node().await;
    let buckets = node.runtime.buckets();
    let quota = Quota {
        per: Duration::from_secs(1_000),
        ..slow(10)
    };
    let uptime = Arc::clone(&buckets.parts.shared.uptime);
    assert!(granted(&buckets.take(calls(1), quota, ONE).await));
    // Idle for long enough, and not full: the lease is still out, then all of it is back.
    uptime.advance(Duration::from_secs(99));
    buckets.sweep().await;
    assert_eq!(view(&node, calls(1)).unwrap().remaining, 9);
    assert!(granted(&buckets.take(calls(1), quota, ONE).await));
    uptime.advance(Duration::from_secs(3_600));
    eventually("the bucket leaves", async || {
        buckets.sweep().await;
        (buckets.numbers().live == 0).then_some(())
    })
    .await;
    assert!(node.runtime.introspection().get("bucket/x").is_none() && view(&node, calls(1)).is_none());
    assert_eq!(take_all(&buckets, calls(1), quota).await, 10);
    node.stop().await;
}

#[tokio::test]
async fn addresses_beyond_the_limit_share_one_bucket_and_tenants_do_not() {
    let node = TestNode::start(settings(|buckets| buckets.max = 2)).await;
    let (buckets, quota) = (node.runtime.buckets(), slow(3));
    for number in 1..=2 {
        let own = buckets.address(address(number));
        assert_eq!(own, BucketKey::Address(address(number)));
        assert!(granted(&buckets.take(own, quota, ONE).await));
    }
    assert_eq!(buckets.address(address(1)), BucketKey::Address(address(1)));
    assert_eq!(buckets.address(address(3)), BucketKey::OtherAddresses);
    assert!(granted(
        &buckets.take(buckets.address(address(3)), quota, ONE).await
    ));
    // Whoever asked before the others came is sent there too.
    let late = BucketKey::Address(address(4));
    assert_eq!(take_all(&buckets, late, quota).await, 2);
    assert!(!granted(
        &buckets.take(buckets.address(address(5)), quota, ONE).await
    ));
    assert_eq!(view(&node, BucketKey::OtherAddresses).unwrap().granted, 3);
    assert!(granted(&buckets.take(calls(1), quota, ONE).await));
    assert_eq!(buckets.numbers().live, 4);
    node.stop().await;
}

#[tokio::test]
async fn a_call_is_let_through_when_its_bucket_does_not_answer() {
    let node = TestNode::start(settings(|buckets| buckets.deadline = Duration::from_millis(1))).await;
    let (buckets, quota) = (node.runtime.buckets(), slow(1));
    let key = BucketKey::Key(ApiKeyId::from_parts(1, 1));
    let bucket = eventually("the bucket lives", async || {
        buckets.take(key, quota, ONE).await;
        buckets.parts.children.handle(key)
    })
    .await;
    // Somebody else has the turn, and does not come back.
    let turn = Arc::clone(&bucket.turn).acquire_owned().await.unwrap();
    let (before, other) = (numbers(&buckets, "key").let_through, slow(2));
    let taken = buckets.take(key, other, ONE).await;
    assert!(granted(&taken));
    assert_eq!(remaining(&taken), 2);
    assert_eq!(numbers(&buckets, "key").let_through, before + 1);
    drop(turn);
    node.stop().await;
    // A node that is being stopped starts no bucket any more.
    assert!(granted(&buckets.take(calls(9), quota, ONE).await));
    assert_eq!(numbers(&buckets, "calls_per_hour").let_through, 1);
}

#[tokio::test]
async fn an_actor_that_broke_has_a_successor_and_one_that_was_restarted_begins_full() {
    let node = node().await;
    let (buckets, quota) = (node.runtime.buckets(), slow(4));
    assert_eq!(take_all(&buckets, calls(1), quota).await, 4);
    let path = format!("bucket/{}", calls(1));
    node.operate(&path, Operation::Restart).await.unwrap();
    assert_eq!(take_all(&buckets, calls(1), quota).await, 4);
    let broken = buckets.parts.children.handle(calls(1)).unwrap();
    broken.post.kill();
    eventually("the successor lives", async || {
        let live = buckets.parts.children.handle(calls(1))?;
        (!Arc::ptr_eq(&live, &broken)).then_some(())
    })
    .await;
    assert_eq!(take_all(&buckets, calls(1), quota).await, 4);
    node.operate(&path, Operation::Stop).await.unwrap();
    eventually("it is stopped", async || {
        (buckets.numbers().live == 0).then_some(())
    })
    .await;
    node.stop().await;
}

/// When one was granted: at some time between these.
type Grant = (u64, u64);

/// No time between the beginning of one call and the end of another sees more than the quota.
fn check_windows(mut grants: Vec<Grant>, quota: Quota) {
    let each = quota.per.as_nanos() / u128::from(quota.count.get());
    grants.sort_unstable();
    for (first, (from, _)) in grants.iter().enumerate() {
        let mut ends: Vec<u64> = grants[first..].iter().map(|(_, end)| *end).collect();
        ends.sort_unstable();
        for (count, end) in (1_u128..).zip(ends) {
            let back = u128::from(end - from) / each;
            assert!(
                count <= u128::from(quota.count.get()) + back,
                "{count} in {end} - {from}"
            );
        }
    }
}

/// What a sweep does to a bucket that it finds idle.
async fn ask_to_leave(buckets: &Buckets) {
    if let Some(bucket) = buckets.parts.children.handle(calls(1)) {
        let turn = Arc::clone(&bucket.turn).acquire_owned().await.unwrap();
        // It may have left already.
        let _ = bucket.post.cast(BucketMessage::IdleDue(turn));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_buckets_come_and_go_no_time_sees_more_than_the_quota() {
    let node = TestNode::start(settings(|buckets| {
        buckets.lease_life = Duration::from_secs(2);
        buckets.passivate_after = Duration::ZERO;
    }))
    .await;
    let quota = Quota {
        per: Duration::from_secs(3_000),
        ..slow(30)
    };
    let buckets = node.runtime.buckets();
    let uptime = Arc::clone(&buckets.parts.shared.uptime);
    let (mut grants, mut lives) = (Vec::new(), Vec::new());
    for round in 0..60 {
        // It is full, or not quite, and asked to leave while others take from it.
        uptime.advance(quota.per * (round % 4) / 3);
        let first = round % 8 < 4;
        if first {
            ask_to_leave(&buckets).await;
        }
        let mut tasks = Vec::new();
        for _ in 0..3 {
            let (buckets, uptime) = (buckets.clone(), Arc::clone(&uptime));
            tasks.push(tokio::spawn(async move {
                let mut grants = Vec::new();
                loop {
                    let before = uptime.nanos();
                    if !granted(&buckets.take(calls(1), quota, ONE).await) {
                        return grants;
                    }
                    grants.push((before, uptime.nanos()));
                }
            }));
        }
        if !first {
            ask_to_leave(&buckets).await;
        }
        for task in tasks {
            grants.extend(task.await.unwrap());
        }
        lives.push(buckets.parts.children.handle(calls(1)).unwrap());
    }
    lives.dedup_by(|life, before| Arc::ptr_eq(life, before));
    assert!(lives.len() > 1, "it never left");
    assert!(grants.len() > 300);
    check_windows(grants, quota);
    assert_eq!(numbers(&buckets, "calls_per_hour").let_through, 0);
    node.stop().await;
}

#[tokio::test]
async fn slots_that_are_handed_over_have_no_buckets_left() {
    let node = node().await;
    let (buckets, quota) = (node.runtime.buckets(), slow(4));
    for number in 0..20 {
        assert!(granted(&buckets.take(calls(number), quota, ONE).await));
    }
    let held = buckets.parts.children.handle(calls(3)).unwrap();
    let slots: HashSet<Slot> = (0..10).map(|number| Slot::of_bucket(calls(number))).collect();
    let stay = (0..20)
        .filter(|&number| !slots.contains(&Slot::of_bucket(calls(number))))
        .count();
    // Each node has these for itself.
    for number in 0..100 {
        assert!(granted(
            &buckets.take(buckets.address(address(number)), quota, ONE).await
        ));
    }
    assert!(node.runtime.residents().hand_off(slots).await);
    assert_eq!(buckets.numbers().live, stay + 100);
    // Nothing is granted from a lease of the owner that was.
    assert!(held.cell.take(quota, ONE).is_none());
    node.stop().await;
}
