//! SIGKILL at random points in the middle of traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::RngExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::gateway::{PATIENCE, Ready};
use crate::ground::{Api, Database, Ground, Line};
use crate::ledger::Ledger;

/// How often the gateway is killed; more by `ROOST_TEST_KILLS`.
const KILLS: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_kill_nine_at_random_points_on_sqlite() {
    nothing_acknowledged_is_lost_or_doubled_by_kill_nine(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_by_kill_nine_at_random_points_on_postgres() {
    nothing_acknowledged_is_lost_or_doubled_by_kill_nine(Database::postgres()).await;
}

async fn nothing_acknowledged_is_lost_or_doubled_by_kill_nine(database: Database) {
    let kills = std::env::var("ROOST_TEST_KILLS")
        .ok()
        .map_or(KILLS, |text| text.parse().unwrap());
    let ground = Arc::new(Ground::new(database).await);
    let mut gateway = ground.gateway().await;
    let mut lines = Vec::new();
    for number in 0..4 {
        lines.push(ground.pair(&gateway.ready, number).await);
    }

    let traffic = Traffic::start(&ground, &gateway.ready, &lines);
    for _ in 0..kills {
        let pause = rand::rng().random_range(20..1500);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        gateway.kill();
        gateway.restart().await;
        *traffic.ready.write().await = gateway.ready.clone();
    }
    let ledger = traffic.stop().await;

    let (accepted, arrived) = ledger.counts();
    assert!(
        accepted > 0 && arrived > 0,
        "no traffic: {accepted} accepted, {arrived} arrived"
    );
    println!("{kills} kills, {accepted} accepted, {arrived} arrived");
    let api = Api {
        client: &ground.client,
        ready: &gateway.ready,
    };
    ledger.verify(&ground, &api, &lines).await;
    for line in &lines {
        never_scanned_again(&api, line).await;
    }
}

/// After its first connection an instance needs its phone no more.
pub async fn never_scanned_again(api: &Api<'_>, line: &Line) {
    let history = api
        .must(
            Method::GET,
            &format!("/v1/instances/{}/history?limit=500", line.instance),
            None,
        )
        .await;
    let pairings = history["data"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["state"] == "pairing")
        .count();
    assert_eq!(pairings, 1, "an instance had to be scanned again: {history}");
}

/// Messages both ways on every line, until stopped.
pub struct Traffic {
    pub ready: Arc<RwLock<Ready>>,
    ledger: Arc<Ledger>,
    over: Arc<AtomicBool>,
    /// Answers 503.
    refused: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Traffic {
    pub fn start(ground: &Arc<Ground>, ready: &Ready, lines: &[Line]) -> Self {
        let mut traffic = Self {
            ready: Arc::new(RwLock::new(ready.clone())),
            ledger: Arc::default(),
            over: Arc::default(),
            refused: Arc::default(),
            tasks: JoinSet::new(),
        };
        for line in lines {
            let sending = traffic.sending(ground, line);
            traffic.tasks.spawn(sending.run("out", 0, u32::MAX));
            traffic.tasks.spawn(receive(
                ground.clone(),
                traffic.ledger.clone(),
                traffic.over.clone(),
                line.clone(),
            ));
        }
        traffic
    }

    /// Has a line send so many long texts too.
    pub fn send_long(&mut self, ground: &Arc<Ground>, line: &Line, name: &'static str, texts: u32) {
        let sending = self.sending(ground, line);
        self.tasks.spawn(sending.run(name, 60_000, texts));
    }

    fn sending(&self, ground: &Arc<Ground>, line: &Line) -> Sending {
        Sending {
            ground: ground.clone(),
            ready: self.ready.clone(),
            ledger: self.ledger.clone(),
            over: self.over.clone(),
            refused: self.refused.clone(),
            line: line.clone(),
        }
    }

    /// Waits until more has been accepted, and more has arrived, than now.
    pub async fn flows(&self) {
        let before = self.ledger.counts();
        let grown = || {
            let now = self.ledger.counts();
            now.0 > before.0 + 20 && now.1 > before.1 + 20
        };
        self.becomes(grown, "no traffic").await;
    }

    /// Waits until so many calls are accepted in all.
    pub async fn accepted(&self, calls: usize) {
        self.becomes(|| self.ledger.counts().0 >= calls, "too few are accepted")
            .await;
    }

    /// Waits until calls are refused because the gateway cannot write.
    pub async fn refused(&self) {
        self.becomes(|| self.refused.load(Ordering::Relaxed) > 0, "nothing is refused")
            .await;
    }

    async fn becomes(&self, wanted: impl Fn() -> bool, otherwise: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !wanted() {
            let counts = self.ledger.counts();
            assert!(Instant::now() < deadline, "{otherwise}: {counts:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops new messages; every call under way is repeated until it has its answer.
    pub async fn stop(mut self) -> Arc<Ledger> {
        self.over.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match tokio::time::timeout_at(deadline, self.tasks.join_next()).await {
                Ok(Some(done)) => done.unwrap(),
                Ok(None) => return self.ledger,
                Err(_) => panic!("{} calls never got their answer", self.tasks.len()),
            }
        }
    }
}

/// What sends the texts of a line.
struct Sending {
    ground: Arc<Ground>,
    ready: Arc<RwLock<Ready>>,
    ledger: Arc<Ledger>,
    over: Arc<AtomicBool>,
    refused: Arc<AtomicU64>,
    line: Line,
}

impl Sending {
    async fn run(self, name: &'static str, padding: usize, texts: u32) {
        let path = format!("/v1/instances/{}/messages", self.line.instance);
        for number in 0..texts {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let key = format!("{name}-{}-{number}", self.line.peer);
            let text = format!("{key} {}", "x".repeat(padding)).trim_end().to_owned();
            let body = json!({"to": self.line.peer, "type": "text", "text": {"body": text}});
            while !self.call(&path, &key, &text, &body).await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Whether the text was accepted.
    async fn call(&self, path: &str, key: &str, text: &str, body: &Value) -> bool {
        let ready = self.ready.read().await.clone();
        let api = Api {
            client: &self.ground.client,
            ready: &ready,
        };
        match api.call(Method::POST, path, Some(body.clone()), Some(key)).await {
            Ok((status, message)) if status.is_success() => {
                self.ledger.accepted(text, message);
                true
            }
            Ok((status, problem)) => {
                assert!(
                    status.is_server_error() || status.as_u16() == 429 || problem["retryable"] == true,
                    "{status} {problem}"
                );
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                false
            }
            // The gateway is dead at this moment.
            Err(_) => false,
        }
    }
}

async fn receive(ground: Arc<Ground>, ledger: Arc<Ledger>, over: Arc<AtomicBool>, line: Line) {
    for number in 0_u32.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let text = format!("in {} {number}", line.phone);
        let body = json!({"to": line.phone, "text": text});
        let path = format!("/accounts/{}/messages", line.peer);
        let answer = ground.control(Method::POST, &path, Some(body)).await;
        ledger.arrived(answer["whatsapp_id"].as_str().unwrap(), &text);
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}
