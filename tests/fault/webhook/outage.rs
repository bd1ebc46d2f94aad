//! The database goes away in the middle of deliveries and comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::StatusCode;
use tokio::time::Instant;

use super::publisher::Publisher;
use super::receiver::Receiver;
use super::{IMPATIENT, subscribe};
use crate::gateway::{Gateway, PATIENCE};
use crate::ground::{Api, Database, Ground};

const CHATS: u32 = 4;
const EVENTS: u32 = 250;
const AWAY: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_crashes_under_deliveries_costs_none_and_no_order() {
    let ground = Arc::new(Ground::new(Database::postgres()).await);
    let mut launch = ground.launch(ground.data_dir(), &[]);
    launch.set_all(IMPATIENT);
    let mut gateway = Gateway::start(launch).await;
    let ready = gateway.ready.clone();
    let receiver = Receiver::refusing(true, |label, earlier| label.number % 7 == 3 && earlier < 1).await;
    subscribe(&ground, &ready, &receiver.url, "ordered", "custom.*").await;
    let Database::Postgres(server) = &ground.database else {
        unreachable!()
    };

    let publisher = Publisher::start(&ground, &ready, "custom.fault", CHATS, EVENTS);
    let deadline = Instant::now() + PATIENCE;
    while receiver.taken() < 100 {
        assert!(Instant::now() < deadline, "only {} came", receiver.taken());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::task::block_in_place(|| server.lock().unwrap().crash()).unwrap();
    let back = Instant::now() + AWAY;
    let api = Api {
        client: &ground.client,
        ready: &ready,
    };
    api.until("/readyz", |status, _| {
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    tokio::time::sleep_until(back).await;
    assert!(
        publisher.count().await < (CHATS * EVENTS) as usize,
        "the outage came too late"
    );
    tokio::task::block_in_place(|| server.lock().unwrap().start_again()).unwrap();

    let acknowledged = publisher.finish().await;
    receiver
        .until_taken(acknowledged.keys().copied(), &HashMap::new())
        .await;
    receiver.verify(&acknowledged);
    assert!(gateway.is_running());
}
