//! Two gateways that are not configured as one cluster, on one database.

use std::path::PathBuf;
use std::process::Command;

use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;

use crate::gateway::{Gateway, Launch, PATIENCE, Ready};
use crate::ground::{Api, Database, Ground, Line};

/// Short enough to wait for.
const LEASE: (&str, &str) = ("ROOST__CLUSTER__LEASE", "3s");

/// A gateway with a data folder of its own, as on another host.
fn second(ground: &Ground) -> Launch {
    let files: PathBuf = ground.folder.path().join("second");
    std::fs::create_dir_all(&files).unwrap();
    let key = ground.data_dir().join("master.key").display().to_string();
    let mut launch = ground.launch(files.join("data"), &[]);
    launch.files = files;
    launch.set_all(&[LEASE, ("ROOST__STORE__MASTER_KEY_FILE", &key)]);
    launch
}

async fn first(ground: &Ground) -> Gateway {
    let mut launch = ground.launch(ground.data_dir(), &[]);
    launch.set_all(&[LEASE]);
    Gateway::start(launch).await
}

fn signal(gateway: &Gateway, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &gateway.pid().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Sends a text and waits until WhatsApp has it.
async fn send(api: &Api<'_>, line: &Line, text: &str) {
    let path = format!("/v1/instances/{}/messages", line.instance);
    let body = json!({"to": line.peer, "type": "text", "text": {"body": text}});
    let sent = api.must(Method::POST, &path, Some(body)).await;
    let message = format!("/v1/messages/{}", sent["id"].as_str().unwrap());
    api.until(&message, |_, body| (body["status"] != "accepted").then_some(()))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_gateway_on_one_database_is_refused_and_told_who_is_there() {
    let ground = Ground::new(Database::postgres()).await;
    let mut gateway = first(&ground).await;
    let line = ground.pair(&gateway.ready, 6).await;

    let (status, said) = second(&ground).fails().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("another gateway uses this database"), "{said}");
    let folder = ground.data_dir().display().to_string();
    assert!(said.contains(&folder), "{said}");

    let mut same = second(&ground);
    same.data_dir = ground.data_dir();
    let (status, said) = same.fails().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("another process runs on the data folder"), "{said}");

    let api = Api {
        client: &ground.client,
        ready: &gateway.ready,
    };
    send(&api, &line, "the first goes on").await;
    assert!(gateway.is_running());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_was_frozen_for_too_long_is_replaced_and_then_ends_by_itself() {
    let ground = Ground::new(Database::postgres()).await;
    let mut frozen = first(&ground).await;
    let line = ground.pair(&frozen.ready, 7).await;
    let history = format!("/v1/instances/{}/history", line.instance);
    let api = Api {
        client: &ground.client,
        ready: &frozen.ready,
    };
    let before = api.must(Method::GET, &history, None).await;
    let before = before["data"].as_array().unwrap().len();
    signal(&frozen, "-STOP");

    // It waits until the row of the frozen one has run out.
    let later = Gateway::start(second(&ground)).await;
    // With the keys of the first: a data folder has a demo tenant of its own.
    let ready = Ready {
        api: later.ready.api.clone(),
        ..frozen.ready.clone()
    };
    let api = Api {
        client: &ground.client,
        ready: &ready,
    };
    api.until(&history, |_, body| {
        let steps = body["data"].as_array()?;
        (steps.len() > before && steps[0]["state"] == "connected").then_some(())
    })
    .await;
    send(&api, &line, "through the later").await;

    signal(&frozen, "-CONT");
    let deadline = Instant::now() + PATIENCE;
    while frozen.is_running() {
        assert!(Instant::now() < deadline, "the displaced gateway goes on");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let said = std::fs::read_to_string(frozen.log()).unwrap();
    assert!(
        said.contains("another gateway has taken over this database"),
        "{said}"
    );
    send(&api, &line, "afterwards").await;
    let received = ground.received_by(&line.peer).await;
    assert_eq!(received.len(), 2, "{received:?}");
}
