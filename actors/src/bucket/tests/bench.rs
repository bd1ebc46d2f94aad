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

/// User and system time of this process, in seconds.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = text.rsplit_once(')').unwrap().1;
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks.map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

async fn takes(buckets: Buckets, key: BucketKey, quota: Quota) {
    for _ in 0..TAKES {
        std::hint::black_box(buckets.take(key, quota, ONE).await);
    }
}

/// What a take costs, of several callers with one bucket together or one each.
async fn measure(what: &str, buckets: &Buckets, quota: Quota, tasks: u32, together: bool) {
    let (start, before) = (Instant::now(), cpu());
    let mut running = Vec::new();
    for number in 0..tasks {
        let key = calls(if together { 0 } else { u128::from(number) });
        running.push(tokio::spawn(takes(buckets.clone(), key, quota)));
    }
    for task in running {
        task.await.unwrap();
    }
    eprintln!(
        "{what}: {:.0} ns of CPU per take; {:.1} million takes per second",
        (cpu() - before) * 1e9 / f64::from(TAKES * tasks),
        f64::from(TAKES * tasks) / 1e6 / start.elapsed().as_secs_f64()
    );
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
    measure("warming up", &buckets, plenty, 1, true).await;
    measure("one caller", &buckets, plenty, 1, true).await;
    measure("four callers, a bucket each", &buckets, plenty, 4, false).await;
    measure("four callers, one bucket", &buckets, plenty, 4, true).await;
    measure("four callers, 100,000 per hour: refused", &buckets, plan, 4, true).await;
    let small = quota(60);
    let (start, before_cpu) = (Instant::now(), cpu());
    for number in 0..10_000 {
        for _ in 0..10 {
            buckets.take(calls(1_000 + number % 100), small, ONE).await;
            // The lease is one: every second take asks the actor.
        }
        for _ in 0..10 {
            buckets.give_back(calls(1_000 + number % 100), ONE);
        }
    }
    eprintln!(
        "one caller, 60 per hour, every second take asks the actor: {:.0} ns of CPU per take; {:.2} million takes per second",
        (cpu() - before_cpu) * 1e9 / 100_000.0,
        0.1 / start.elapsed().as_secs_f64()
    );

    let before = resident_kib();
    let (start, before_cpu) = (Instant::now(), cpu());
    start_all(&buckets, 64).await;
    eprintln!(
        "{BUCKETS} buckets started in {:.2} s with {:.0} us of CPU and {:.1} KiB each; {} MiB in all",
        start.elapsed().as_secs_f64(),
        (cpu() - before_cpu) * 1e6 / f64::from(BUCKETS),
        (resident_kib() - before) as f64 / f64::from(BUCKETS),
        resident_kib() / 1024
    );
    let before_cpu = cpu();
    buckets.sweep().await;
    eprintln!("a sweep over them: {:.0} ms of CPU", (cpu() - before_cpu) * 1e3);
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
