use std::num::NonZeroU32;

use roost_domain::limit::{BucketKey, Quota, Taken};
use tokio::time::Instant;

use super::*;
use crate::BucketSettings;

const ONE: NonZeroU32 = NonZeroU32::MIN;

/// It comes back so slowly that no test sees it.
fn slow(count: u32) -> Quota {
    Quota {
        count: NonZeroU32::new(count).unwrap(),
        per: Duration::from_secs(300 * 24 * 3600),
    }
}

/// No test depends on how fast a machine is.
fn patient() -> Settings {
    let buckets = BucketSettings {
        deadline: Duration::from_secs(10),
        owner_deadline: Duration::from_secs(10),
        ..BucketSettings::default()
    };
    Settings { buckets, ..quick() }
}

fn granted(taken: &Taken) -> bool {
    matches!(taken, Taken::Granted(_))
}

fn remaining(taken: &Taken) -> u32 {
    let (Taken::Granted(standing) | Taken::Refused { standing, .. }) = taken;
    standing.remaining
}

/// A bucket whose slot is here.
fn bucket_on(owner: &Node) -> BucketKey {
    let keys = (1..).map(|number| BucketKey::Calls(TenantId::from_parts(1, number)));
    keys.into_iter()
        .find(|key| owner.owns(Slot::of_bucket(*key)))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_counts_what_is_taken_through_all_nodes() {
    let (stage, [a, b, c]) = Stage::with(patient(), ["a", "b", "c"]).await;
    let (key, quota) = (bucket_on(&b), slow(9));
    let mut taken = Vec::new();
    for _ in 0..10 {
        for node in [&a, &b, &c] {
            taken.push(node.runtime.buckets().take(key, quota, ONE).await);
        }
    }
    assert!(taken[..9].iter().all(granted));
    assert!(!taken[9..].iter().any(granted), "to the last one");
    assert!(b.runs("bucket", key) && !a.runs("bucket", key) && !c.runs("bucket", key));
    for (number, taken) in taken[..9].iter().enumerate() {
        assert_eq!(
            remaining(taken),
            8 - number as u32,
            "each is told where it stands"
        );
    }
    assert!(!granted(&a.runtime.buckets().look(key, quota)));
    a.runtime.buckets().give_back(key, ONE);
    assert!(granted(&a.runtime.buckets().take(key, quota, ONE).await));
    assert!(!granted(&a.runtime.buckets().take(key, quota, ONE).await));
    stage.end([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nodes_are_lent_makes_their_calls_cheap_and_comes_back() {
    let (stage, [a, b]) = Stage::with(patient(), ["a", "b"]).await;
    let (key, quota) = (bucket_on(&b), slow(10_000));
    let buckets = a.runtime.buckets();
    let before = stage.net.calls();
    for _ in 0..5_000 {
        assert!(granted(&buckets.take(key, quota, ONE).await));
    }
    let calls = stage.net.calls() - before;
    assert!(calls < 500, "{calls} calls between nodes");
    eventually("the owner has back what was not used", async || {
        buckets.sweep().await;
        let free = remaining(&b.runtime.buckets().look(key, quota));
        (free == 5_000).then_some(())
    })
    .await;
    let mut more = 0;
    for node in [&a, &b].into_iter().cycle() {
        if !granted(&node.runtime.buckets().take(key, quota, ONE).await) {
            break;
        }
        more += 1;
    }
    assert!((4_000..=5_000).contains(&more), "{more} of 5000");
    stage.end([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_owner_a_bucket_grants_a_share_and_nobody_waits() {
    let (stage, [a, b, c]) = Stage::with(patient(), ["a", "b", "c"]).await;
    let (key, quota) = (bucket_on(&b), slow(9));
    stage.net.cut(&name("b"), true);
    let begun = Instant::now();
    let mut taken = 0;
    for node in [&a, &c] {
        for _ in 0..9 {
            taken += u32::from(granted(&node.runtime.buckets().take(key, quota, ONE).await));
        }
    }
    assert_eq!(taken, 6, "a third each");
    assert!(begun.elapsed() < Duration::from_secs(5), "none was held");
    stage.net.cut(&name("b"), false);
    assert!(
        granted(&a.runtime.buckets().take(key, quota, ONE).await),
        "the owner counts again"
    );
    stage.end([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_owner_is_waited_for_once_and_not_by_every_call() {
    let mut limits = patient();
    limits.buckets.owner_deadline = Duration::from_millis(100);
    let (stage, [a, b]) = Stage::with(limits, ["a", "b"]).await;
    let (key, quota) = (bucket_on(&b), slow(1_000));
    stage.net.silence(&name("b"), true);
    let begun = Instant::now();
    for _ in 0..200 {
        assert!(granted(&a.runtime.buckets().take(key, quota, ONE).await));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "200 calls, 100 ms each"
    );
    stage.net.silence(&name("b"), false);
    stage.end([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_counts_addresses_for_itself() {
    let (stage, [a, b]) = Stage::with(patient(), ["a", "b"]).await;
    let before = stage.net.calls();
    for node in [&a, &b] {
        let buckets = node.runtime.buckets();
        for number in 0..8 {
            let key = buckets.address(std::net::Ipv4Addr::new(203, 0, 113, number).into());
            let quota = slow(2);
            assert!(granted(&buckets.look(key, quota)));
            for left in [1, 0] {
                let taken = buckets.take(key, quota, ONE).await;
                assert_eq!((granted(&taken), remaining(&taken)), (true, left));
            }
            assert!(!granted(&buckets.take(key, quota, ONE).await));
            assert!(!granted(&buckets.look(key, quota)));
            buckets.give_back(key, ONE);
            assert!(granted(&buckets.take(key, quota, ONE).await));
            let view = node
                .runtime
                .introspection()
                .get(&format!("bucket/{key}"))
                .unwrap();
            assert_eq!(
                (&*view.state, view.slot, view.epoch),
                ("granting", None, None),
                "an actor of its own"
            );
        }
        assert_eq!(buckets.numbers().live, 8);
    }
    assert_eq!(stage.net.calls(), before, "nobody else was asked");
    stage.end([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_lease_calls_of_addresses_are_let_through_and_with_the_next_they_are_counted() {
    let (stage, [a]) = Stage::with(patient(), ["a"]).await;
    let (buckets, quota) = (a.runtime.buckets(), slow(1));
    let key = buckets.address(std::net::Ipv4Addr::new(203, 0, 113, 1).into());
    assert!(granted(&buckets.take(key, quota, ONE).await));
    assert!(!granted(&buckets.take(key, quota, ONE).await));

    stage.rows.fault(Fault::Refuses);
    stage.rows.expire("a");
    eventually("everything is killed", async || {
        (!a.runs("bucket", key)).then_some(())
    })
    .await;
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(granted(&buckets.take(key, quota, ONE).await));
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "nobody waits");

    stage.rows.fault(Fault::None);
    eventually("it counts again", async || {
        (!granted(&buckets.take(key, quota, ONE).await)).then_some(())
    })
    .await;
    stage.end([a]).await;
}
