//! WhatsApp and the database go away and come back, with the gateway running throughout.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::{ConnectOptions, Connection};
use tokio::time::Instant;

use crate::ground::{Api, Database, Ground};
use crate::kill::{Traffic, never_scanned_again};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatsapp_gone_for_thirty_seconds_costs_nothing_but_time() {
    let ground = Arc::new(Ground::new(Database::Sqlite).await);
    let mut gateway = ground.gateway().await;
    let line = ground.pair(&gateway.ready, 1).await;
    let ready = gateway.ready.clone();
    let api = Api {
        client: &ground.client,
        ready: &ready,
    };
    let path = format!("/v1/instances/{}", line.instance);

    let traffic = Traffic::start(&ground, &ready, std::slice::from_ref(&line));
    ground.proxy.cut();
    api.until(&path, |_, body| (body["state"] == "reconnecting").then_some(()))
        .await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    // Accepting goes on: the messages wait, and say so.
    let body = json!({"to": line.peer, "type": "text", "text": {"body": "while WhatsApp is away"}});
    let waiting = api
        .must(Method::POST, &format!("{path}/messages"), Some(body))
        .await;
    assert_eq!(waiting["status"], "accepted");
    ground.proxy.mend();

    let ledger = traffic.stop().await;
    ledger.accepted("while WhatsApp is away", waiting);
    ledger.verify(&ground, &api, &[line]).await;
    assert!(gateway.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_locked_for_ten_seconds_answers_clearly_and_recovers() {
    let ground = Arc::new(Ground::new(Database::Sqlite).await);
    let mut gateway = ground.gateway().await;
    let line = ground.pair(&gateway.ready, 2).await;
    let ready = gateway.ready.clone();
    let api = Api {
        client: &ground.client,
        ready: &ready,
    };
    let path = format!("/v1/instances/{}/messages", line.instance);

    let traffic = Traffic::start(&ground, &ready, std::slice::from_ref(&line));
    let mut intruder = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(ground.data_dir().join("roost.db"))
        .busy_timeout(Duration::from_secs(10))
        .connect()
        .await
        .unwrap();
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut intruder)
        .await
        .unwrap();
    let body = json!({"to": line.peer, "type": "text", "text": {"body": "while the database is locked"}});
    let (status, problem) = api.call(Method::POST, &path, Some(body), None).await.unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    assert_eq!(
        (problem["code"].as_str(), problem["retryable"].as_bool()),
        (Some("unavailable"), Some(true))
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    sqlx::query("ROLLBACK").execute(&mut intruder).await.unwrap();
    intruder.close().await.unwrap();

    tokio::time::sleep(Duration::from_secs(2)).await;
    let ledger = traffic.stop().await;
    ledger.verify(&ground, &api, &[line]).await;
    assert!(gateway.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_crashed_for_ten_seconds_answers_clearly_and_recovers() {
    let ground = Arc::new(Ground::new(Database::postgres()).await);
    let mut gateway = ground.gateway().await;
    let lines = [
        ground.pair(&gateway.ready, 4).await,
        ground.pair(&gateway.ready, 5).await,
    ];
    let ready = gateway.ready.clone();
    let api = Api {
        client: &ground.client,
        ready: &ready,
    };
    let path = format!("/v1/instances/{}/messages", lines[0].instance);
    let Database::Postgres(server) = &ground.database else {
        unreachable!()
    };

    // Somebody who never wrote before does so while nothing can be read: not even keys.
    let quiet = ground.pair(&gateway.ready, 6).await;
    let traffic = Traffic::start(&ground, &ready, &lines);
    traffic.flows().await;
    tokio::task::block_in_place(|| server.lock().unwrap().crash()).unwrap();
    let back = Instant::now() + Duration::from_secs(10);
    let first = json!({"to": quiet.phone, "text": "the first message"});
    let stranger = format!("/accounts/{}/messages", quiet.peer);
    let first = ground.control(Method::POST, &stranger, Some(first)).await;
    let body = json!({"to": lines[0].peer, "type": "text", "text": {"body": "while the database is gone"}});
    let (status, problem) = api.call(Method::POST, &path, Some(body), None).await.unwrap();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    assert_eq!(
        (problem["code"].as_str(), problem["retryable"].as_bool()),
        (Some("unavailable"), Some(true))
    );
    api.until("/readyz", |status, _| {
        (status == StatusCode::SERVICE_UNAVAILABLE).then_some(())
    })
    .await;
    let (alive, _) = api.call(Method::GET, "/healthz", None, None).await.unwrap();
    assert_eq!(alive, StatusCode::OK);
    tokio::time::sleep_until(back).await;
    tokio::task::block_in_place(|| server.lock().unwrap().start_again()).unwrap();

    api.until("/readyz", |status, _| (status == StatusCode::OK).then_some(()))
        .await;
    traffic.flows().await;
    let ledger = traffic.stop().await;
    ledger.arrived(first["whatsapp_id"].as_str().unwrap(), "the first message");
    ledger.verify(&ground, &api, &lines).await;
    for line in &lines {
        never_scanned_again(&api, line).await;
    }
    assert!(gateway.is_running());
}
