//! Healthy webhooks beside hostile ones, on one gateway.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::hostile::{Hostile, Vice};
use super::publisher::Publisher;
use super::receiver::Receiver;
use super::subscribe;
use crate::gateway::Gateway;
use crate::ground::{Database, Ground};

const OF_EACH_VICE: usize = 10;
const HEALTHY: usize = 8;
const CHATS: u32 = 4;
const EVENTS: u32 = 50;
/// What an attempt may take, and what the slow endpoint takes every time.
const TIMEOUT: &str = "1s";
const SLOW: Duration = Duration::from_millis(900);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neighbours_of_hostile_endpoints_get_everything_in_order() {
    let ground = Arc::new(Ground::new(Database::Sqlite).await);
    let mut launch = ground.launch(ground.data_dir(), &[]);
    launch.set_all(&[("ROOST__WEBHOOKS__TIMEOUT", TIMEOUT)]);
    let mut gateway = Gateway::start(launch).await;
    let ready = gateway.ready.clone();
    let mut hostile = Vec::new();
    for &vice in Vice::ALL {
        for _ in 0..OF_EACH_VICE {
            let endpoint = Hostile::start(vice, SLOW).await;
            subscribe(&ground, &ready, &endpoint.url, "ordered", "custom.*").await;
            hostile.push((vice, endpoint));
        }
    }
    let mut healthy = Vec::new();
    for number in 0..HEALTHY {
        let ordered = number % 2 == 0;
        let receiver = Receiver::start(ordered).await;
        let mode = if ordered { "ordered" } else { "unordered" };
        subscribe(&ground, &ready, &receiver.url, mode, "custom.*").await;
        healthy.push(receiver);
    }

    let publisher = Publisher::start(&ground, &ready, "custom.fault", CHATS, EVENTS);
    let acknowledged = publisher.finish().await;
    for receiver in &healthy {
        receiver
            .until_taken(acknowledged.keys().copied(), &HashMap::new())
            .await;
        receiver.verify(&acknowledged);
    }
    for (vice, endpoint) in &hostile {
        let requests = endpoint.requests.load(Ordering::Relaxed);
        // Whom the gateway does not trust it tells nothing.
        assert_eq!(
            requests == 0,
            *vice == Vice::Impersonates,
            "{vice:?}: {requests} requests"
        );
    }
    assert!(gateway.is_running());
}
