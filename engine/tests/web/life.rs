//! How links end, and what outlives them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use roost_domain::cluster::Lease;
use roost_domain::engine::LinkEnd;
use roost_domain::store::{Collection, StoreError};
use serde_json::json;
use tokio::runtime::Handle;

use crate::support::PATIENCE;
use crate::support::memory::owner;
use crate::support::proxy::{Manner, Proxy};
use crate::world::{FRIEND, OWN, World, outgoing};

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_connection_ends_the_link_and_the_next_one_connects() {
    let world = World::new().await;
    let open = world.paired().await;
    world
        .post(&format!("accounts/{OWN}/disconnect-devices"), json!({}))
        .await;
    assert!(matches!(open.said.end().await, LinkEnd::Lost { .. }));
    let open = world.open(None).await;
    open.connected().await;
    open.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_away_arrives_on_the_next_link_in_order() {
    let world = World::new().await;
    world.paired().await.link.close().await;
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(world.friend_sends(json!({"text": format!("offline {n}")})).await);
    }
    let open = world.open(None).await;
    open.connected().await;
    open.said
        .wait("all messages", |said| {
            (said.inbound().len() >= ids.len()).then_some(())
        })
        .await;
    let got: Vec<String> = open
        .said
        .inbound()
        .into_iter()
        .map(|inbound| inbound.whatsapp_id)
        .collect();
    assert_eq!(got, ids);
    open.link.close().await;
    assert_eq!(world.state.count(world.owner, Collection::PendingInbound), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_committed_comes_again_on_the_next_link() {
    let world = World::new().await;
    let open = world.paired().await;
    let before = world.friend_sends(json!({"text": "kept"})).await;
    open.said
        .message("the first text", |inbound| inbound.whatsapp_id == before)
        .await;
    open.said.refuse();
    let id = world.friend_sends(json!({"text": "not committed"})).await;
    assert!(matches!(open.said.end().await, LinkEnd::Lost { .. }));
    for _ in 0..2 {
        // The first link gets it from the kept copy; on the second it must be gone.
        let open = world.open(None).await;
        open.connected().await;
        let probe = world.friend_sends(json!({"text": "probe"})).await;
        open.said
            .message("the probe", |inbound| inbound.whatsapp_id == probe)
            .await;
        let again = open
            .said
            .inbound()
            .iter()
            .filter(|inbound| inbound.whatsapp_id == id)
            .count();
        open.link.close().await;
        if again == 0 {
            assert_eq!(world.state.count(world.owner, Collection::PendingInbound), 0);
            return;
        }
        assert_eq!(again, 1);
    }
    panic!("the message came on every link");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_owner_ends_the_link_of_the_former_one() {
    let world = World::new().await;
    let open = world.paired().await;
    world.state.take_over(owner(1, 2));
    world.friend_sends(json!({"text": "for whom?"})).await;
    assert_eq!(open.said.end().await, LinkEnd::Fenced);
}

/// A node's lease of which a test knows when it ends.
struct Held(AtomicBool);

impl Lease for Held {
    fn holds(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_end_of_its_nodes_lease_a_link_says_nothing_more_and_no_other_opens() {
    let lease = Arc::new(Held(AtomicBool::new(true)));
    let world = World::new().await.under(Arc::clone(&lease) as _);
    let open = world.paired().await;
    open.link.send(&outgoing("3EB0A1", "before")).await.unwrap();
    world.received(FRIEND, "before").await;

    lease.0.store(false, Ordering::SeqCst);
    let id = world.friend_sends(json!({"text": "for the next owner"})).await;
    assert!(open.link.send(&outgoing("3EB0A2", "after")).await.is_err());
    // By what comes it finds out that it may not act.
    open.said.end().await;
    assert_eq!(world.open(None).await.said.end().await, LinkEnd::Fenced);
    for id in [id.as_str(), "3EB0A2"] {
        assert!(!world.has_spoken_of(id).await, "{id}");
    }

    lease.0.store(true, Ordering::SeqCst);
    let open = world.open(None).await;
    open.said
        .message("what came meanwhile", |inbound| inbound.whatsapp_id == id)
        .await;
    let acknowledged = async {
        while !world.has_spoken_of(&id).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, acknowledged).await.unwrap();
    open.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_login_of_the_device_replaces_the_first() {
    let world = World::new().await;
    let first = world.paired().await;
    let second = world.open(None).await;
    assert_eq!(first.said.end().await, LinkEnd::Replaced);
    second.connected().await;
    second.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_fails_sends_and_comes_back() {
    let world = World::new().await;
    let open = world.paired().await;
    open.link.send(&outgoing("3EB0A1", "before")).await.unwrap();
    world.received(FRIEND, "before").await;
    world
        .state
        .set_trouble(Some(StoreError::Unavailable("the test says so".to_owned())));
    let _ = open.link.send(&outgoing("3EB0A2", "during")).await;
    world.state.set_trouble(None);
    open.link.send(&outgoing("3EB0A2", "during")).await.unwrap();
    world.received(FRIEND, "during").await;
    open.link.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_where_nobody_listens_is_lost_with_its_reason() {
    let world = World::with(|config| config.endpoint = "ws://127.0.0.1:1/ws/chat".to_owned()).await;
    let open = world.open(Some(roost_domain::instance::PairingMethod::Qr)).await;
    let LinkEnd::Lost { reason } = open.said.end().await else {
        panic!("{:?}", open.said.facts())
    };
    assert!(reason.contains("127.0.0.1:1"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_during_the_handshake_is_quick_and_leaves_nothing() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let world = World::with(|config| config.endpoint = format!("ws://{address}/ws/chat")).await;
    let before = Handle::current().metrics().num_alive_tasks();
    let open = world.open(Some(roost_domain::instance::PairingMethod::Qr)).await;
    let (_stream, _) = silent.accept().await.unwrap();
    tokio::time::timeout(Duration::from_secs(15), open.link.close())
        .await
        .unwrap();
    open.link.close().await;
    assert_eq!(open.said.end().await, LinkEnd::Closed);
    no_more_tasks_than(before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_link_leaves_no_tasks() {
    let world = World::new().await;
    world.paired().await.link.close().await;
    // The sandbox runs on the same runtime: compare with what it needs when nobody is connected.
    let before = settled().await;
    for _ in 0..3 {
        let open = world.open(None).await;
        open.connected().await;
        open.link.close().await;
    }
    let pairing = world.open(None).await;
    pairing.connected().await;
    drop(pairing.said);
    pairing.link.close().await;
    no_more_tasks_than(before).await;
}

async fn settled() -> usize {
    let mut last = usize::MAX;
    loop {
        let now = Handle::current().metrics().num_alive_tasks();
        if now == last {
            return now;
        }
        last = now;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn no_more_tasks_than(limit: usize) {
    let fewer = async {
        while Handle::current().metrics().num_alive_tasks() > limit {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(20), fewer)
        .await
        .is_err()
    {
        panic!(
            "{} tasks, {limit} expected",
            Handle::current().metrics().num_alive_tasks()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_goes_deaf_is_lost() {
    let world = World::with(|config| {
        config.probe_interval = Duration::from_millis(300);
        config.probe_timeout = Duration::from_millis(300);
    })
    .await;
    world.paired().await.link.close().await;
    let proxy = Proxy::http(Manner::Open).await;
    let open = world
        .open_with(None, Some(format!("http://{}", proxy.address)))
        .await;
    open.connected().await;
    proxy.frozen.cancel();
    let LinkEnd::Lost { reason } = open.said.end().await else {
        panic!("{:?}", open.said.facts())
    };
    assert!(reason.contains("no longer answers"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_never_lets_the_device_in_is_given_up() {
    let world = World::with(|config| config.login_timeout = Duration::from_millis(500)).await;
    let proxy = Proxy::http(Manner::Open).await;
    let first = World::paired(&world).await;
    first.link.close().await;
    proxy.frozen.cancel();
    let open = world
        .open_with(None, Some(format!("http://{}", proxy.address)))
        .await;
    assert!(matches!(open.said.end().await, LinkEnd::Lost { .. }));
}
