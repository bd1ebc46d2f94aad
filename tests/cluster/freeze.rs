//! SIGSTOP for longer than a lease, then SIGCONT: as a host that is suspended, or a process that swaps.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::Cluster;
use crate::gateway::PATIENCE;
use crate::journal;
use crate::judge::Frozen;
use crate::measure;
use crate::node::Node;
use crate::proxy::now_us;

const FROZEN_FOR: Duration = Duration::from_secs(9);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_frozen_node_wakes_up_without_a_single_side_effect_and_comes_back_as_a_new_one() {
    let mut cluster = Cluster::new().await;
    let traffic = cluster.traffic();
    traffic.flows().await;

    let (victim, from_us) = (cluster.nodes[0].life(), now_us());
    cluster.nodes[0].freeze().await;
    let until = Instant::now() + FROZEN_FOR;
    let others: Vec<String> = cluster.nodes[1..].iter().map(Node::life).collect();
    let devices = cluster.connected_from(&others).await;
    let outages = measure::outages(&devices, &victim, from_us).unwrap();
    println!("SIGSTOP: numbers logged in elsewhere: {outages}");
    assert!(outages.count() > 0, "the frozen node had no number");
    sleep_until(until).await;

    assert_eq!(cluster.nodes[0].state(), 'T', "it was woken up by somebody");
    let thawed_us = now_us();
    cluster.frozen.push(Frozen {
        life: victim.clone(),
        from_us,
        to_us: thawed_us,
    });
    cluster.nodes[0].thaw();
    let rejoined_us = rejoined(&mut cluster, &victim).await;
    println!(
        "it registered anew {:?} after SIGCONT",
        Duration::from_micros(rejoined_us - thawed_us)
    );
    let asleep = thawed_us..rejoined_us;
    let sent = cluster.nodes[0].to_sandbox.sent_between(asleep.start, asleep.end);
    assert_eq!(sent, 0, "the zombie sent bytes to WhatsApp");
    let notes = journal::read(&cluster.ground).await;
    let written: Vec<_> = notes
        .effects
        .iter()
        .filter(|effect| effect.life == victim && asleep.contains(&effect.at_us))
        .collect();
    assert!(written.is_empty(), "the zombie wrote {written:?}");
    let posted: Vec<_> = cluster
        .receiver
        .posts()
        .into_iter()
        .filter(|post| post.life.as_ref() == Some(&victim) && asleep.contains(&post.at_us))
        .collect();
    assert!(posted.is_empty(), "the zombie posted {posted:?}");

    cluster.even().await;
    cluster.connected().await;
    traffic.flows().await;
    println!("calls: {:?}", traffic.tally());
    cluster.verify(traffic).await;
}

/// When a life of a process registered for the second time.
pub async fn rejoined(cluster: &mut Cluster, life: &str) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all = journal::registrations(&mut cluster.database).await;
        let mut of_it = all.iter().filter(|registration| registration.life == life);
        let first = of_it.next().unwrap();
        if let Some(second) = of_it.next() {
            assert!(second.incarnation > first.incarnation);
            return second.at_us;
        }
        assert!(Instant::now() < deadline, "{life} does not register anew");
        sleep(Duration::from_millis(10)).await;
    }
}
