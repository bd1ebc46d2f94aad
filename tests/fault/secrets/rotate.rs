//! A rotation of the master key that is killed, at each of its points.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::gateway::Ready;
use crate::ground::{Api, Database, Ground, Line};

/// The point, and at which of its passes.
const POINTS: &[&str] = &[
    "rotate_file.before:1",
    "rotate_file.after:1",
    "rotate_begin.before:1",
    "rotate_begin.after:1",
    "rotate_unit.before:1",
    "rotate_unit.after:1",
    "rotate_unit.before:4",
    "rotate_unit.after:4",
    "rotate_finish.before:1",
    "rotate_finish.after:1",
    "rotate_trim.before:1",
    "rotate_trim.after:1",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_of_a_rotation_it_goes_on_and_everything_stays_readable_on_sqlite() {
    killed_everywhere(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_of_a_rotation_it_goes_on_and_everything_stays_readable_on_postgres() {
    killed_everywhere(Database::postgres()).await;
}

async fn killed_everywhere(database: Database) {
    let ground = Arc::new(Ground::new(database).await);
    let mut gateway = ground.gateway().await;
    let line = ground.pair(&gateway.ready, 1).await;
    let plain = send(&ground, &gateway.ready, &line, "before anything was encrypted").await;
    gateway.kill();
    gateway.set(&[("ROOST__STORE__ENCRYPT_MESSAGES", "true")]);
    gateway.restart().await;
    let key_file = ground.data_dir().join("master.key");
    for point in POINTS {
        println!("killed at {point}");
        let before = keys(&key_file);
        assert_eq!(before.len(), 1, "{point}");
        gateway.kill();
        gateway.stop_at(point);
        gateway.restart().await;
        // The answer may be lost with the process.
        let _ = rotate(&ground, &gateway.ready, Method::POST).await;
        gateway.stopped(point).await;
        gateway.restart().await;
        if keys(&key_file) == before {
            // It had not begun, as far as the next start can tell.
            rotate(&ground, &gateway.ready, Method::POST).await.unwrap();
        }
        let rotation = until_done(&ground, &gateway.ready).await;
        assert_eq!(rotation["state"], "done", "{point}: {rotation}");
        assert_eq!(rotation["unreadable"], 0);
        until_keys(&key_file, 1).await;
        assert_ne!(keys(&key_file), before, "{point}");
        works(&ground, &gateway.ready, &line, &plain).await;
    }
    gateway.kill();
    gateway.restart().await;
    works(&ground, &gateway.ready, &line, &plain).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_master_key_is_rotated_messages_are_read_and_sent() {
    let ground = Arc::new(Ground::new(Database::Sqlite).await);
    let gateway = ground.gateway().await;
    let line = ground.pair(&gateway.ready, 1).await;
    let text = "read over and over";
    let id = send(&ground, &gateway.ready, &line, text).await;
    let (over, reads) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let reader = tokio::spawn({
        let (ground, ready, line) = (ground.clone(), gateway.ready.clone(), line.clone());
        let (over, reads) = (over.clone(), reads.clone());
        async move {
            while !over.load(Ordering::Relaxed) {
                check(&ground, &ready, &id, text).await;
                send(&ground, &ready, &line, "meanwhile").await;
                reads.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    for _ in 0..3 {
        rotate(&ground, &gateway.ready, Method::POST).await.unwrap();
        assert_eq!(until_done(&ground, &gateway.ready).await["state"], "done");
    }
    over.store(true, Ordering::Relaxed);
    reader.await.unwrap();
    assert!(reads.load(Ordering::Relaxed) > 0);
    println!(
        "{} reads and sends during three rotations",
        reads.load(Ordering::Relaxed)
    );
}

fn keys(file: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The file is rewritten a moment after the rotation is done.
async fn until_keys(file: &Path, count: usize) {
    let waited = async {
        while keys(file).len() != count {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(crate::gateway::PATIENCE, waited)
        .await
        .expect("the key file is rewritten");
}

async fn rotate(ground: &Ground, ready: &Ready, method: Method) -> reqwest::Result<Value> {
    let url = format!("{}/v1/operator/master-key/rotate", ready.api);
    let request = ground
        .client
        .request(method, url)
        .bearer_auth(&ready.operator_key);
    let answer: Value = request.send().await?.error_for_status()?.json().await?;
    Ok(answer["rotation"].clone())
}

async fn until_done(ground: &Ground, ready: &Ready) -> Value {
    let waited = async {
        loop {
            let rotation = rotate(ground, ready, Method::GET).await.unwrap();
            if !rotation.is_null() && rotation["state"] != "running" {
                return rotation;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(crate::gateway::PATIENCE, waited)
        .await
        .expect("the rotation ends")
}

/// Sends a text and gives its message's id.
async fn send(ground: &Ground, ready: &Ready, line: &Line, text: &str) -> String {
    let api = Api {
        client: &ground.client,
        ready,
    };
    let path = format!("/v1/instances/{}/messages", line.instance);
    let body = json!({"to": line.peer, "type": "text", "text": {"body": text}});
    let sent = api.must(Method::POST, &path, Some(body)).await;
    sent["id"].as_str().unwrap().to_owned()
}

async fn check(ground: &Ground, ready: &Ready, id: &str, text: &str) {
    let api = Api {
        client: &ground.client,
        ready,
    };
    let message = api.must(Method::GET, &format!("/v1/messages/{id}"), None).await;
    assert!(message.to_string().contains(text), "{message}");
}

/// Old messages are read, and the number is connected without a scan and speaks.
async fn works(ground: &Ground, ready: &Ready, line: &Line, plain: &str) {
    check(ground, ready, plain, "before anything was encrypted").await;
    let api = Api {
        client: &ground.client,
        ready,
    };
    let path = format!("/v1/instances/{}", line.instance);
    api.until(&path, |status, body| {
        (status == StatusCode::OK && body["state"] == "connected").then_some(())
    })
    .await;
    let id = send(ground, ready, line, "still here").await;
    api.until(&format!("/v1/messages/{id}"), |_, body| {
        (body["status"] != "accepted").then_some(())
    })
    .await;
}
