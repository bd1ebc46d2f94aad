//! SIGKILL when the session that decrypted a message is stored, and the message is not.

use std::sync::Arc;

use reqwest::Method;
use serde_json::json;

use crate::ground::{Api, Database, Ground, Line};
use crate::ledger::Ledger;

/// Where the gateway ends: with the second message that it decrypts.
const POINT: &str = "decrypt.after:2";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_a_kill_left_behind_its_session_is_asked_for_and_logged_once_on_sqlite() {
    a_message_that_a_kill_left_behind_its_session_is_asked_for_and_logged_once(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_a_kill_left_behind_its_session_is_asked_for_and_logged_once_on_postgres() {
    a_message_that_a_kill_left_behind_its_session_is_asked_for_and_logged_once(Database::postgres()).await;
}

async fn a_message_that_a_kill_left_behind_its_session_is_asked_for_and_logged_once(database: Database) {
    let ground = Arc::new(Ground::new(database).await);
    let mut gateway = ground.gateway().await;
    let line = ground.pair(&gateway.ready, 0).await;
    let ledger = Ledger::default();
    gateway.kill();

    gateway.stop_at(POINT);
    gateway.restart().await;
    let api = Api {
        client: &ground.client,
        ready: &gateway.ready,
    };
    // Once this one is logged the link is past what had waited for it.
    let id = write(&ground, &ledger, &line, "before").await;
    let path = format!("/v1/instances/{}/messages", line.instance);
    api.until(&path, |_, body| {
        let rows = body["data"].as_array()?;
        rows.iter().any(|row| row["whatsapp_id"] == id).then_some(())
    })
    .await;
    write(&ground, &ledger, &line, "in the gap").await;
    gateway.stopped(POINT).await;
    assert_eq!(ground.sandbox.stats().counters.retry_receipts, 0);

    gateway.restart().await;
    let api = Api {
        client: &ground.client,
        ready: &gateway.ready,
    };
    write(&ground, &ledger, &line, "after").await;
    ledger.verify(&ground, &api, &[line]).await;
    assert_eq!(
        ground.sandbox.stats().counters.retry_receipts,
        1,
        "its sender is asked for it once"
    );
}

/// Has the peer write to the line. Returns the message's id.
async fn write(ground: &Ground, ledger: &Ledger, line: &Line, text: &str) -> String {
    let body = json!({"to": line.phone, "text": text});
    let path = format!("/accounts/{}/messages", line.peer);
    let sent = ground.control(Method::POST, &path, Some(body)).await;
    let id = sent["whatsapp_id"].as_str().unwrap().to_owned();
    ledger.arrived(&id, text);
    id
}
