//! WhatsApp and the database go away and come back, with the gateway running throughout.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use sqlx::{ConnectOptions, Connection};

use crate::ground::{Api, Ground};
use crate::kill::Traffic;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatsapp_gone_for_thirty_seconds_costs_nothing_but_time() {
    let ground = Arc::new(Ground::new().await);
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
    let ground = Arc::new(Ground::new().await);
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
