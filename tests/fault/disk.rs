//! The disk fills up under a running gateway, and is freed again.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use crate::gateway::{Gateway, PATIENCE};
use crate::ground::{Api, Database, Ground, Line};
use crate::kill::Traffic;

/// Size of the small disk.
const DISK_MIB: u64 = 24;
/// How long a whole test may take.
const WHOLE_TEST: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_answers_clearly_and_recovers() {
    tokio::time::timeout(WHOLE_TEST, others_fill_the_disk())
        .await
        .expect("the test hangs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_fills_its_disk_keeps_room_for_its_log_and_recovers() {
    tokio::time::timeout(WHOLE_TEST, the_gateway_fills_the_disk())
        .await
        .expect("the test hangs");
}

async fn others_fill_the_disk() {
    let mut disk = SmallDisk::start().await;
    let (ground, line, ready) = (disk.ground.clone(), disk.line.clone(), disk.gateway.ready.clone());
    let api = Api {
        client: &ground.client,
        ready: &ready,
    };
    let path = format!("/v1/instances/{}/messages", line.instance);

    let traffic = Traffic::start(&ground, &ready, std::slice::from_ref(&line));
    disk.fill();
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
        disk.fill();
    };
    assert_eq!(
        (problem["code"].as_str(), problem["retryable"].as_bool()),
        (Some("unavailable"), Some(true))
    );
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(disk.gateway.is_running());
    disk.remove_ballast();

    tokio::time::sleep(Duration::from_secs(2)).await;
    let ledger = traffic.stop().await;
    ledger.verify(&ground, &api, &[line]).await;
}

async fn the_gateway_fills_the_disk() {
    let mut disk = SmallDisk::start().await;
    let (ground, line, ready) = (disk.ground.clone(), disk.line.clone(), disk.gateway.ready.clone());
    let api = Api {
        client: &ground.client,
        ready: &ready,
    };
    disk.leave(8 << 20);
    let mut traffic = Traffic::start(&ground, &ready, std::slice::from_ref(&line));
    for name in ["long-a", "long-b", "long-c"] {
        traffic.send_long(&ground, &line, name, 10);
    }
    traffic.refused().await;
    // The flood goes on against the full disk.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(disk.gateway.is_running());
    let (free, log) = (disk.free(), disk.log());
    assert!(free > log, "{free} bytes are free for a log of {log}");
    disk.remove_ballast();

    // More than the disk holds, were the log never emptied.
    traffic.accepted(400).await;
    let ledger = traffic.stop().await;
    let (free, log) = (disk.free(), disk.log());
    assert!(free > log, "{free} bytes are free for a log of {log}");
    ledger.verify(&ground, &api, &[line]).await;
    let text = std::fs::read_to_string(disk.gateway.log()).unwrap();
    let told = |line: &str| text.matches(line).count();
    let refusals = told("the database does not take writes");
    assert!((1..20).contains(&refusals), "told {refusals} times");
    let acts = told("an act could not be written into the audit log");
    assert!(acts <= refusals, "told {acts} times of {refusals} outages");
}

/// A gateway on a disk of its own, with a paired line.
struct SmallDisk {
    gateway: Gateway,
    line: Line,
    ground: Arc<Ground>,
    /// Inside the gateway's view of the file system.
    root: PathBuf,
}

impl SmallDisk {
    async fn start() -> Self {
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
        let gateway = Gateway::start(ground.launch(mount.join("data"), &wrapper)).await;
        let line = ground.pair(&gateway.ready, 3).await;
        let root = PathBuf::from(format!("/proc/{}/root{}", gateway.pid(), mount.display()));
        Self {
            gateway,
            line,
            ground,
            root,
        }
    }

    fn ballast(&self) -> File {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.root.join("ballast"))
            .unwrap()
    }

    /// Takes whatever space is left.
    fn fill(&self) {
        let mut file = self.ballast();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    /// Takes all but so many bytes.
    fn leave(&self, bytes: u64) {
        let mut file = self.ballast();
        while self.free() > bytes {
            file.write_all(&[0; 4096]).unwrap();
        }
    }

    fn remove_ballast(&self) {
        std::fs::remove_file(self.root.join("ballast")).unwrap();
    }

    /// Bytes that are free.
    fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(&self.root).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    /// Bytes in the database's write-ahead log.
    fn log(&self) -> u64 {
        let log = self.root.join("data/roost.db-wal");
        std::fs::metadata(log).map_or(0, |log| log.len())
    }
}
