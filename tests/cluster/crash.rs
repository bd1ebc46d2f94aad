//! kill -9 of a node.

use crate::cluster::Cluster;
use crate::measure;
use crate::node::TTL;
use crate::proxy::now_us;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn numbers_of_a_killed_node_come_back_elsewhere_and_nothing_is_lost_or_doubled() {
    let mut cluster = Cluster::new().await;
    let traffic = cluster.traffic();
    traffic.flows().await;

    let victim = cluster.nodes[0].life();
    let killed_us = now_us();
    cluster.nodes[0].gateway.kill();
    cluster.nodes.remove(0);
    cluster.face();
    let devices = cluster.connected().await;

    let outages = measure::outages(&devices, &victim, killed_us).unwrap();
    println!("kill -9: numbers logged in elsewhere: {outages}");
    assert!(outages.count() > 0, "the killed node had no number");
    // On a machine of its own it is to be TTL + 2 s.
    assert!(outages.max() < 15 * TTL, "{outages}");
    traffic.flows().await;
    println!("calls: {:?}", traffic.tally());
    cluster.verify(traffic).await;
}
