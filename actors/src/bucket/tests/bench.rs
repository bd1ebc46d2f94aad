//! What a take costs, and a live bucket. The numbers are in docs/performance.md:
//! `cargo test --release -p roost-actors -- --ignored --nocapture measure_buckets`

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use roost_domain::TenantId;
use roost_domain::limit::{BucketKey, Quota, Taken};
use tokio::time::Instant;

use crate::bucket::Buckets;
use crate::testing::{TestNode, eventually, quick};

const ONE: NonZeroU32 = NonZeroU32::MIN;
const TAKES: u32 = 2_000_000;
const BUCKETS: u32 = 100_000;

fn calls(number: u128) -> BucketKey {
    BucketKey::Calls(TenantId::from_parts(1, number))
}

fn quota(count: u32) -> Quota {
    Quota {
        count: NonZeroU32::new(count).unwrap(),
        per: Duration::from_secs(3600),
    }
}

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = text.lines().find(|line| line.starts_with("Rss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn takes(buckets: Buckets, key: BucketKey, quota: Quota) {
    for _ in 0..TAKES {
        std::hint::black_box(buckets.take(key, quota, ONE).await);
    }
}

/// Wall-clock nanoseconds per take of each of `tasks`, which have a bucket together or one each.
async fn measure(buckets: &Buckets, quota: Quota, tasks: u32, together: bool) -> f64 {
    let start = Instant::now();
    let mut running = Vec::new();
    for number in 0..tasks {
        let key = calls(if together { 0 } else { u128::from(number) });
        running.push(tokio::spawn(takes(buckets.clone(), key, quota)));
    }
    for task in running {
        task.await.unwrap();
    }
    start.elapsed().as_nanos() as f64 / f64::from(TAKES)
}

async fn start_all(buckets: &Buckets, tasks: u32) {
    let mut running = Vec::new();
    for task in 0..tasks {
        let buckets = buckets.clone();
        running.push(tokio::spawn(async move {
            for number in (task..BUCKETS).step_by(tasks as usize) {
                let address: IpAddr = Ipv4Addr::from_bits(0x0a00_0000 + number).into();
                let taken = buckets
                    .take(BucketKey::of_address(address), quota(1_000), ONE)
                    .await;
                assert!(matches!(taken, Taken::Granted(_)));
            }
        }));
    }
    for task in running {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "a measurement, of a release build on a quiet machine"]
async fn measure_buckets() {
    let mut settings = quick();
    settings.buckets.deadline = Duration::from_secs(60);
    let node = TestNode::start(settings).await;
    let buckets = node.runtime.buckets();
    let (plenty, plan) = (quota(u32::MAX), quota(100_000));
    // Warm.
    measure(&buckets, plenty, 1, true).await;
    eprintln!("one caller: {:.0} ns", measure(&buckets, plenty, 1, true).await);
    eprintln!(
        "four callers, a bucket each: {:.0} ns",
        measure(&buckets, plenty, 4, false).await
    );
    eprintln!(
        "four callers, one bucket: {:.0} ns",
        measure(&buckets, plenty, 4, true).await
    );
    eprintln!(
        "one caller, refused: {:.0} ns",
        measure(&buckets, plan, 1, true).await
    );
    let small = quota(60);
    let start = Instant::now();
    for number in 0..10_000 {
        for _ in 0..10 {
            buckets.take(calls(1_000 + number % 100), small, ONE).await;
            // Every second take asks the actor: the lease is one.
        }
        for _ in 0..10 {
            buckets.give_back(calls(1_000 + number % 100), ONE);
        }
    }
    eprintln!(
        "one caller, 60 per hour: {:.0} ns",
        start.elapsed().as_nanos() as f64 / 100_000.0
    );

    let before = resident_kib();
    let start = Instant::now();
    start_all(&buckets, 64).await;
    eprintln!(
        "{BUCKETS} buckets started in {:.2} s; {:.1} KiB each; {} MiB in all",
        start.elapsed().as_secs_f64(),
        (resident_kib() - before) as f64 / f64::from(BUCKETS),
        resident_kib() / 1024
    );
    let start = Instant::now();
    buckets.sweep().await;
    eprintln!("a sweep over them: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    Arc::clone(&buckets.parts.shared.uptime).advance(Duration::from_secs(2 * 3600));
    let start = Instant::now();
    eventually("all leave", async || {
        buckets.sweep().await;
        (buckets.numbers().live == 0).then_some(())
    })
    .await;
    eprintln!(
        "all left memory in {:.2} s; {} MiB resident",
        start.elapsed().as_secs_f64(),
        resident_kib() / 1024
    );
    start_all(&buckets, 64).await;
    let start = Instant::now();
    node.stop().await;
    eprintln!(
        "a stop with {BUCKETS} buckets: {:.2} s",
        start.elapsed().as_secs_f64()
    );
}
