//! SIGKILL at each named point of a delivery, and at random ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use reqwest::Method;
use serde_json::json;

use super::publisher::Publisher;
use super::receiver::{Label, Receiver};
use super::{IMPATIENT, subscribe};
use crate::gateway::{Gateway, Ready};
use crate::ground::{Api, Database, Ground};

const CHATS: u32 = 4;
const EVENTS: u32 = 70;
/// Only events of a chat before this one are refused at first: after it, nothing is parked.
const REFUSED_BEFORE: u32 = 25;
/// How often the gateway is killed at random.
const KILLS: u32 = 5;

/// While events come and go: the point, and at which of its passes. Some are passed for the first time,
/// others in the middle of everything.
const POINTS: &[&str] = &[
    "publish.before:1",
    "publish.before:50",
    "publish.after:1",
    "publish.after:50",
    "post.before:1",
    "post.before:40",
    "post.after:1",
    "post.after:40",
    "settle.before:1",
    "settle.after:1",
    "settle.after:2",
    "park.before:1",
    "park.after:1",
    "park.after:3",
];

/// While a replay runs, and nothing else.
const REPLAY_POINTS: &[&str] = &[
    "redrive.before:1",
    "redrive.after:1",
    "replay.before:1",
    "replay.after:1",
    "post.before:20",
    "post.after:20",
    "settle.before:1",
    "settle.after:1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_of_a_delivery_it_loses_nothing_and_keeps_the_order_on_sqlite() {
    for point in POINTS {
        killed_at(point, Database::Sqlite).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_of_a_delivery_it_loses_nothing_and_keeps_the_order_on_postgres() {
    for point in POINTS {
        killed_at(point, Database::postgres()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_of_a_replay_it_goes_on_with_it_on_sqlite() {
    for point in REPLAY_POINTS {
        killed_in_a_replay(point, Database::Sqlite).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_of_a_replay_it_goes_on_with_it_on_postgres() {
    for point in REPLAY_POINTS {
        killed_in_a_replay(point, Database::postgres()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_points_it_loses_no_delivery_and_keeps_the_order_on_sqlite() {
    killed_at_random(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_points_it_loses_no_delivery_and_keeps_the_order_on_postgres() {
    killed_at_random(Database::postgres()).await;
}

/// Fails the first calls of some events, so that they are parked.
async fn moody() -> Receiver {
    Receiver::refusing(true, |label, earlier| {
        label.number < REFUSED_BEFORE && label.number % 7 == 3 && earlier < 2
    })
    .await
}

fn all() -> impl Iterator<Item = Label> {
    (0..CHATS).flat_map(|chat| (0..EVENTS).map(move |number| Label { chat, number }))
}

async fn ground(database: Database) -> (Arc<Ground>, Gateway) {
    let ground = Arc::new(Ground::new(database).await);
    let mut launch = ground.launch(ground.data_dir(), &[]);
    launch.set_all(IMPATIENT);
    let gateway = Gateway::start(launch).await;
    (ground, gateway)
}

async fn killed_at(point: &str, database: Database) {
    println!("killed at {point}");
    let (ground, mut gateway) = ground(database).await;
    let receiver = moody().await;
    subscribe(&ground, &gateway.ready, &receiver.url, "ordered", "custom.*").await;
    gateway.kill();
    gateway.stop_at(point);
    gateway.restart().await;

    let publisher = Publisher::start(&ground, &gateway.ready, "custom.fault", CHATS, EVENTS);
    gateway.stopped(point).await;
    gateway.restart().await;
    *publisher.ready.write().await = gateway.ready.clone();

    let acknowledged = publisher.finish().await;
    receiver.until_taken(all(), &HashMap::new()).await;
    receiver.verify(&acknowledged);
    each_is_in_the_log_once(&ground, &gateway.ready, &acknowledged).await;
}

async fn killed_in_a_replay(point: &str, database: Database) {
    println!("killed in a replay at {point}");
    let (ground, mut gateway) = ground(database).await;
    let receiver = Receiver::start(true).await;
    let webhook = subscribe(&ground, &gateway.ready, &receiver.url, "ordered", "custom.*").await;
    let from = "2000-01-01T00:00:00Z";
    let publisher = Publisher::start(&ground, &gateway.ready, "custom.fault", CHATS, EVENTS);
    let acknowledged = publisher.finish().await;
    receiver.until_taken(all(), &HashMap::new()).await;
    until_settled(&ground, &gateway.ready, &webhook).await;
    gateway.kill();
    gateway.stop_at(point);
    gateway.restart().await;

    // The point may be passed before the answer: then nothing was promised, and it is asked for again.
    let before = receiver.times();
    let path = format!("/v1/webhooks/{webhook}/replay");
    let body = json!({"from": from, "to": "2100-01-01T00:00:00Z"});
    let api = |ready| Api {
        client: &ground.client,
        ready,
    };
    let ready = gateway.ready.clone();
    let answer = api(&ready)
        .call(Method::POST, &path, Some(body.clone()), None)
        .await;
    gateway.stopped(point).await;
    gateway.restart().await;
    if !answer.is_ok_and(|(status, _)| status.is_success()) {
        api(&gateway.ready).must(Method::POST, &path, Some(body)).await;
    }
    receiver.until_taken(all(), &before).await;
    receiver.verify(&acknowledged);
}

async fn killed_at_random(database: Database) {
    let (ground, mut gateway) = ground(database).await;
    let receiver = moody().await;
    subscribe(&ground, &gateway.ready, &receiver.url, "ordered", "custom.*").await;
    let events = 60 * KILLS;
    let publisher = Publisher::start(&ground, &gateway.ready, "custom.fault", CHATS, events);
    for _ in 0..KILLS {
        let pause = rand::rng().random_range(20..800);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        gateway.kill();
        gateway.restart().await;
        *publisher.ready.write().await = gateway.ready.clone();
    }
    let acknowledged = publisher.finish().await;
    receiver
        .until_taken(acknowledged.keys().copied(), &HashMap::new())
        .await;
    receiver.verify(&acknowledged);
    println!("{KILLS} kills, {} events delivered", receiver.taken());
    each_is_in_the_log_once(&ground, &gateway.ready, &acknowledged).await;
}

/// Waits until every delivery is recorded, so that a restart repeats none.
async fn until_settled(ground: &Ground, ready: &Ready, webhook: &str) {
    let api = Api {
        client: &ground.client,
        ready,
    };
    let path = format!("/v1/webhooks/{webhook}/deliveries?status=delivered&limit=500");
    api.until(&path, |_, page| {
        let recorded = page["data"].as_array().map_or(0, Vec::len);
        (recorded == (CHATS * EVENTS) as usize).then_some(())
    })
    .await;
}

/// A repeated call to publish made no second event.
async fn each_is_in_the_log_once(ground: &Ground, ready: &Ready, acknowledged: &HashMap<Label, String>) {
    let api = Api {
        client: &ground.client,
        ready,
    };
    let events = api.events().await;
    let custom = events.iter().filter(|event| event["type"] == "custom.fault");
    assert_eq!(custom.count(), acknowledged.len());
}
