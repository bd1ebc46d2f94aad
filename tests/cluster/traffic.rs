//! Messages both ways on every number, sent to whichever node takes them, until stopped.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::front::{Front, Outcome};
use crate::gateway::PATIENCE;
use crate::ground::{Ground, Line};
use crate::ledger::Ledger;

/// Messages a second in each direction, over all numbers.
const PER_SECOND: u32 = 40;
/// How long a client waits for an answer.
pub const CLIENT_LIMIT: Duration = Duration::from_secs(8);

/// How often calls came out how, and the longest time until a node answered.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    pub outcomes: BTreeMap<Outcome, usize>,
    pub longest: Duration,
}

pub struct Traffic {
    ledger: Arc<Ledger>,
    tally: Arc<Mutex<Tally>>,
    over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

/// What one line's tasks work with.
struct Post {
    ground: Arc<Ground>,
    front: Front,
    ledger: Arc<Ledger>,
    tally: Arc<Mutex<Tally>>,
    over: Arc<AtomicBool>,
    line: Line,
    /// Where the line stands among all.
    place: usize,
    pause: Duration,
}

impl Traffic {
    pub fn start(ground: &Arc<Ground>, front: &Front, lines: &[Line]) -> Self {
        let (ledger, tally, over) = (
            Arc::new(Ledger::default()),
            Arc::default(),
            Arc::new(AtomicBool::new(false)),
        );
        let mut tasks = JoinSet::new();
        let pause = Duration::from_secs(1) * u32::try_from(lines.len()).unwrap() / PER_SECOND;
        for (place, line) in lines.iter().enumerate() {
            let post = Arc::new(Post {
                ground: Arc::clone(ground),
                front: front.clone(),
                ledger: Arc::clone(&ledger),
                tally: Arc::clone(&tally),
                over: Arc::clone(&over),
                line: line.clone(),
                place,
                pause,
            });
            // Not all at the same moment.
            let first = pause * u32::try_from(place).unwrap() / u32::try_from(lines.len()).unwrap();
            let there = Arc::clone(&post);
            tasks.spawn(async move {
                sleep(first).await;
                there.send().await;
            });
            tasks.spawn(async move {
                sleep(first).await;
                post.receive().await;
            });
        }
        Self {
            ledger,
            tally,
            over,
            tasks,
        }
    }

    pub fn counts(&self) -> (usize, usize) {
        self.ledger.counts()
    }

    /// What calls came to since the last time this was asked.
    pub fn tally(&self) -> Tally {
        std::mem::take(&mut *self.tally.lock().unwrap())
    }

    /// Waits until more has been accepted, and more has arrived, than now.
    pub async fn flows(&self) {
        let (deadline, before) = (Instant::now() + PATIENCE, self.counts());
        loop {
            let now = self.counts();
            if now.0 > before.0 + 40 && now.1 > before.1 + 40 {
                return;
            }
            assert!(Instant::now() < deadline, "no traffic: {before:?} became {now:?}");
            sleep(Duration::from_millis(20)).await;
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

impl Post {
    async fn send(&self) {
        let path = format!("/v1/instances/{}/messages", self.line.instance);
        for number in 0_usize.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let due = Instant::now() + self.pause;
            let text = format!("out {} {number}", self.line.peer);
            let key = text.replace(' ', "-");
            let body = json!({"to": self.line.peer, "type": "text", "text": {"body": text}});
            let tell = |outcome: &Outcome, time: Duration| {
                let mut tally = self.tally.lock().unwrap();
                *tally.outcomes.entry(outcome.clone()).or_default() += 1;
                tally.longest = tally.longest.max(time);
            };
            let call = (Method::POST, path.as_str());
            let message = self
                .front
                .call(self.place + number, call, Some(body), Some(&key), tell)
                .await;
            self.ledger.accepted(&text, message);
            tokio::time::sleep_until(due).await;
        }
    }

    async fn receive(&self) {
        for number in 0_usize.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            let due = Instant::now() + self.pause;
            let text = format!("in {} {number}", self.line.phone);
            let body = json!({"to": self.line.phone, "text": text});
            let path = format!("/accounts/{}/messages", self.line.peer);
            let answer = self.ground.control(Method::POST, &path, Some(body)).await;
            self.ledger
                .arrived(answer["whatsapp_id"].as_str().unwrap(), &text);
            tokio::time::sleep_until(due).await;
        }
    }
}
