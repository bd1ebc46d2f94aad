//! PostgreSQL out of reach: for one node, and for all of them.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::Cluster;
use crate::freeze::rejoined;
use crate::gateway::PATIENCE;
use crate::ground::Database;
use crate::measure;
use crate::node::{Node, TTL};
use crate::proxy::now_us;
use crate::wire::Device;

/// How long PostgreSQL is stopped.
const STOPPED_FOR: Duration = Duration::from_secs(20);

/// How a node loses its database.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// Packets are swallowed: nothing is refused, and nothing answers.
    Silence,
    /// Connections break, and new ones are refused.
    Refusal,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_cut_off_from_its_database_stops_by_itself_before_others_take_over() {
    let mut cluster = Cluster::new().await;
    let traffic = cluster.traffic();
    for (place, loss) in [(0, Loss::Silence), (1, Loss::Refusal)] {
        traffic.flows().await;
        let victim = cluster.nodes[place].life();
        let database = std::sync::Arc::clone(&cluster.nodes[place].to_database);
        let harm = database.harm();
        let cut_us = now_us();
        match loss {
            Loss::Silence => database.mute(),
            Loss::Refusal => database.cut(),
        }
        let others = cluster.nodes.iter().map(Node::life);
        let others: Vec<String> = others.filter(|life| *life != victim).collect();
        let devices = cluster.connected_from(&others).await;
        let outages = measure::outages(&devices, &victim, cut_us).unwrap();
        let ends = ends(&devices, &victim, cut_us);
        println!("{loss:?}: numbers hung up within {ends:.2?}; logged in elsewhere: {outages}");
        assert!(outages.count() > 0, "the node had no number");
        // Half a second before its lease ends; that it is before others begin is what the judge sees to.
        assert!(ends < 2 * TTL, "{ends:?}");
        assert!(cluster.nodes[place].gateway.is_running(), "it is to stay up");
        let (held, ended) = database.harm();
        let happened = match loss {
            Loss::Silence => held > harm.0,
            Loss::Refusal => ended > harm.1,
        };
        assert!(happened, "nothing was cut");
        database.mend();
        rejoined(&mut cluster, &victim).await;
        cluster.even().await;
        cluster.connected().await;
    }
    traffic.flows().await;
    println!("calls: {:?}", traffic.tally());
    cluster.verify(traffic).await;
}

/// How long after a moment the last of a life's connections had ended that were open then.
fn ends(devices: &[Device], life: &str, since_us: u64) -> Duration {
    let open = devices.iter().flat_map(|device| &device.logins);
    let ends = open
        .filter(|login| login.life == life && login.at_us < since_us)
        .map(|login| {
            let end = login.ended.as_ref();
            end.unwrap_or_else(|| panic!("never hung up: {login:?}")).at_us
        });
    Duration::from_micros(ends.max().unwrap().saturating_sub(since_us))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn when_the_database_is_stopped_every_session_ends_with_the_lease_and_all_come_back() {
    let mut cluster = Cluster::new().await;
    let traffic = cluster.traffic();
    traffic.flows().await;

    let crashed_us = now_us();
    let back = Instant::now() + STOPPED_FOR;
    let server = |work: fn(&mut roost_store::testing::PostgresServer)| {
        let Database::Postgres(server) = &cluster.ground.database else {
            unreachable!()
        };
        tokio::task::block_in_place(|| work(&mut server.lock().unwrap()));
    };
    server(|server| server.crash().unwrap());
    let devices = all_gone(&cluster).await;
    let ends = cluster
        .nodes
        .iter()
        .map(|node| ends(&devices, &node.life(), crashed_us))
        .max()
        .unwrap();
    println!("PostgreSQL stopped: the last number hung up after {ends:.2?}");
    assert!(ends < 2 * TTL, "{ends:?}");
    sleep_until(back).await;
    let still = cluster.logins().await;
    assert!(
        measure::shares(&still).is_empty(),
        "somebody logged in without a database"
    );

    let started = Instant::now();
    server(|server| server.start_again().unwrap());
    cluster.connected().await;
    println!(
        "all numbers were back {:.2?} after PostgreSQL was started",
        started.elapsed()
    );
    cluster.database = crate::journal::connect(&cluster.ground).await;
    cluster.even().await;
    traffic.flows().await;
    println!("calls: {:?}", traffic.tally());
    cluster.verify(traffic).await;
}

/// Waits until no number is connected.
async fn all_gone(cluster: &Cluster) -> Vec<Device> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let devices = cluster.logins().await;
        let shares = measure::shares(&devices);
        if shares.is_empty() {
            return devices;
        }
        assert!(Instant::now() < deadline, "still connected: {shares:?}");
        sleep(Duration::from_millis(100)).await;
    }
}
