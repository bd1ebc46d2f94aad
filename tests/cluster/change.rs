//! Nodes that come and go in good order, under traffic.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::journal::{self, Claim};
use crate::measure::{self, Times};
use crate::node::Node;
use crate::proxy::now_us;

/// Slots that a node gives away at once when another has come: `cluster.moves_max`.
const MOVES_MAX: usize = 20;
/// The median is to be a second on a machine that does nothing else. One that is busy has shown 22 s.
const GAP_MAX: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_stops_hands_its_numbers_over_and_no_call_fails() {
    let mut cluster = Cluster::new().await;
    let traffic = cluster.traffic();
    traffic.flows().await;
    stop(&mut cluster, 0).await;
    cluster.nodes.remove(0);
    cluster.face();
    cluster.even().await;
    traffic.flows().await;
    println!("calls: {:?}", traffic.tally());
    cluster.verify(traffic).await;
}

/// SIGTERM, until the process has ended and all its numbers are connected elsewhere.
async fn stop(cluster: &mut Cluster, place: usize) {
    let (victim, from_us, begun) = (cluster.nodes[place].life(), now_us(), Instant::now());
    cluster.nodes[place].terminate();
    let status = cluster.nodes[place].gateway.ended().await;
    assert!(status.success(), "{victim} ended with {status}");
    let lives = cluster.nodes.iter().map(Node::life);
    let others: Vec<String> = lives.filter(|life| *life != victim).collect();
    let ended = begun.elapsed();
    let devices = cluster.connected_from(&others).await;
    let gaps = measure::gaps(&devices, from_us, now_us());
    println!("drain of {victim}: ended after {ended:.2?}, numbers were away: {gaps}");
    assert!(gaps.count() > 0, "the node had no number");
    assert!(gaps.median() < GAP_MAX, "{gaps}");
    let names = journal::shares(&mut cluster.database).await;
    assert!(!names.contains_key(cluster.nodes[place].name()), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_joins_is_given_its_share_in_waves() {
    let mut cluster = Cluster::new().await;
    let traffic = cluster.traffic();
    traffic.flows().await;
    let before = journal::read(&cluster.ground).await.claims.len();
    let from_us = now_us();
    cluster.join().await;
    cluster.even().await;
    let devices = cluster.connected().await;

    let notes = journal::read(&cluster.ground).await;
    let (newcomer, moves) = (cluster.nodes[3].life(), &notes.claims[before..]);
    let taken: Vec<&Claim> = moves.iter().filter(|claim| claim.node.is_some()).collect();
    assert!(
        taken.iter().all(|claim| claim.life == newcomer),
        "slots moved between the old ones"
    );
    let most = most_at_once(moves);
    let gaps: Times = measure::gaps(&devices, from_us, now_us());
    println!(
        "join: {} of 1024 slots moved, at most {most} at once; numbers were away: {gaps}",
        taken.len()
    );
    assert!((128..=384).contains(&taken.len()), "{} slots moved", taken.len());
    assert!(most <= 3 * MOVES_MAX, "{most} slots moved at once");
    assert!(gaps.count() > 0, "no number moved");
    assert!(gaps.median() < GAP_MAX, "{gaps}");
    traffic.flows().await;
    println!("calls: {:?}", traffic.tally());
    cluster.verify(traffic).await;
}

/// The most slots that were on their way at the same time: given back and not taken.
fn most_at_once(moves: &[Claim]) -> usize {
    let (mut free, mut most) = (BTreeSet::new(), 0);
    for claim in moves {
        if claim.node.is_none() {
            free.insert(claim.slot);
        } else {
            free.remove(&claim.slot);
        }
        most = most.max(free.len());
    }
    most
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_is_drained_through_another_answers_on_and_takes_its_share_back() {
    let mut cluster = Cluster::new().await;
    let traffic = cluster.traffic();
    traffic.flows().await;
    let (from_us, through) = (now_us(), cluster.nodes[1].ready());
    let drain = format!(
        "{}/v1/operator/nodes/{}/drain",
        through.api,
        cluster.nodes[0].name()
    );
    let mark = |method: Method| {
        let call = cluster.ground.client.request(method, &drain);
        call.bearer_auth(&through.operator_key).send()
    };
    let marked = mark(Method::POST).await.unwrap();
    assert!(marked.status().is_success(), "{marked:?}");
    let others: Vec<String> = cluster.nodes[1..].iter().map(Node::life).collect();
    let devices = cluster.connected_from(&others).await;
    let gaps = measure::gaps(&devices, from_us, now_us());
    println!("drain through another node: numbers were away: {gaps}");
    assert!(gaps.count() > 0, "the node had no number");
    assert!(gaps.median() < GAP_MAX, "{gaps}");

    // It has nothing, and does for clients what every node does.
    let alone = cluster.nodes[0].ready();
    traffic.tally();
    cluster.front.set(vec![alone]);
    traffic.flows().await;
    println!("calls through the drained node: {:?}", traffic.tally());
    let undone = mark(Method::DELETE).await.unwrap();
    assert!(undone.status().is_success(), "{undone:?}");
    cluster.face();
    cluster.even().await;
    cluster.connected().await;
    traffic.flows().await;
    cluster.verify(traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_rolling_restarts_in_a_row_lose_and_double_nothing() {
    let mut cluster = Cluster::new().await;
    let traffic = cluster.traffic();
    for round in 1..=3 {
        let from_us = now_us();
        for place in 0..cluster.nodes.len() {
            traffic.flows().await;
            stop(&mut cluster, place).await;
            let ground = std::sync::Arc::clone(&cluster.ground);
            cluster.nodes[place].restart(&ground).await;
            cluster.face();
            cluster.even().await;
            cluster.connected().await;
        }
        let gaps = measure::gaps(&cluster.logins().await, from_us, now_us());
        println!("rolling restart {round}: numbers were away: {gaps}");
    }
    traffic.flows().await;
    println!("calls: {:?}", traffic.tally());
    cluster.verify(traffic).await;
}
