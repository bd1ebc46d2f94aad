//! The disk fills up under a running gateway, and is freed again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use crate::gateway::{Gateway, PATIENCE};
use crate::ground::{Api, Database, Ground};
use crate::kill::Traffic;

/// Size of the small disk.
const DISK_MIB: u32 = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_answers_clearly_and_recovers() {
    let ground = Arc::new(Ground::new(Database::Sqlite).await);
    let mount = ground.folder.path().join("small");
    std::fs::create_dir(&mount).unwrap();
    // A mount of its own, seen by the gateway alone: no rights on the machine are needed.
    let script = format!(
        "mount -t tmpfs -o size={DISK_MIB}m tmpfs {} && exec \"$@\"",
        mount.display()
    );
    let wrapper = [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        &script,
        "sh",
    ];
    let mut gateway = Gateway::start(ground.launch(mount.join("data"), &wrapper)).await;
    let line = ground.pair(&gateway.ready, 3).await;
    let ready = gateway.ready.clone();
    let api = Api {
        client: &ground.client,
        ready: &ready,
    };
    let path = format!("/v1/instances/{}/messages", line.instance);

    let traffic = Traffic::start(&ground, &ready, std::slice::from_ref(&line));
    // Inside the gateway's view of the file system.
    let ballast = PathBuf::from(format!("/proc/{}/root{}/ballast", gateway.pid(), mount.display()));
    fill(&ballast);
    let deadline = Instant::now() + PATIENCE;
    let mut number = 0;
    let problem = loop {
        number += 1;
        let text = format!("{number} {}", "x".repeat(60_000));
        let body = json!({"to": line.peer, "type": "text", "text": {"body": text}});
        let (status, answer) = api.call(Method::POST, &path, Some(body), None).await.unwrap();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            break answer;
        }
        assert!(status.is_success() || status.as_u16() == 429, "{status} {answer}");
        assert!(Instant::now() < deadline, "the disk never filled");
        fill(&ballast);
    };
    assert_eq!(
        (problem["code"].as_str(), problem["retryable"].as_bool()),
        (Some("unavailable"), Some(true))
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(gateway.is_running());
    std::fs::remove_file(&ballast).unwrap();

    tokio::time::sleep(Duration::from_secs(2)).await;
    let ledger = traffic.stop().await;
    ledger.verify(&ground, &api, &[line]).await;
}

/// Takes whatever space is left.
fn fill(ballast: &std::path::Path) {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(ballast)
        .unwrap();
    let block = [0_u8; 4096];
    while file.write_all(&block).is_ok() {}
}
