//! SIGKILL at random points in the middle of traffic.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::RngExt;
use reqwest::Method;
use serde_json::json;
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
    tasks: JoinSet<()>,
}

impl Traffic {
    pub fn start(ground: &Arc<Ground>, ready: &Ready, lines: &[Line]) -> Self {
        let ready = Arc::new(RwLock::new(ready.clone()));
        let (ledger, over) = (Arc::new(Ledger::default()), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for line in lines {
            tasks.spawn(send(
                ground.clone(),
                ready.clone(),
                ledger.clone(),
                over.clone(),
                line.clone(),
            ));
            tasks.spawn(receive(
                ground.clone(),
                ledger.clone(),
                over.clone(),
                line.clone(),
            ));
        }
        Self {
            ready,
            ledger,
            over,
            tasks,
        }
    }

    /// Waits until more has been accepted, and more has arrived, than now.
    pub async fn flows(&self) {
        let (deadline, before) = (Instant::now() + PATIENCE, self.ledger.counts());
        loop {
            let now = self.ledger.counts();
            if now.0 > before.0 + 20 && now.1 > before.1 + 20 {
                return;
            }
            assert!(Instant::now() < deadline, "no traffic: {before:?} became {now:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops new messages; every call under way is repeated until it has its answer.
    pub async fn stop(mut self) -> Arc<Ledger> {
        self.over.store(true, Ordering::Relaxed);
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
        self.ledger
    }
}

async fn send(
    ground: Arc<Ground>,
    ready: Arc<RwLock<Ready>>,
    ledger: Arc<Ledger>,
    over: Arc<AtomicBool>,
    line: Line,
) {
    let path = format!("/v1/instances/{}/messages", line.instance);
    for number in 0_u32.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let text = format!("out {} {number}", line.peer);
        let key = text.replace(' ', "-");
        let body = json!({"to": line.peer, "type": "text", "text": {"body": text}});
        loop {
            let ready = ready.read().await.clone();
            let api = Api {
                client: &ground.client,
                ready: &ready,
            };
            match api
                .call(Method::POST, &path, Some(body.clone()), Some(&key))
                .await
            {
                Ok((status, message)) if status.is_success() => {
                    ledger.accepted(&text, message);
                    break;
                }
                Ok((status, problem)) => {
                    assert!(
                        status.is_server_error() || status.as_u16() == 429 || problem["retryable"] == true,
                        "{status} {problem}"
                    );
                }
                // The gateway is dead at this moment.
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
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
