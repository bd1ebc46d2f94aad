//! Light traffic on some instances, both ways, through whichever node takes it, until it is stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;

use super::front::Front;
use super::ground::Cluster;
use super::ledger::{Ledger, inbound, outbound};
use crate::api::Sandbox;
use crate::error::{LoadError, Result};
use crate::http::Call;
use crate::phase::within;
use crate::population::Member;
use crate::report::Section;

const RECEIVED: &str = "message.received";
const POLL: Duration = Duration::from_millis(20);

/// Messages under way.
#[derive(Debug)]
pub struct Traffic {
    /// Instances that send and receive.
    pub talkers: Vec<Member>,
    /// The log's last event before the first message.
    after: i64,
    ledger: Arc<Mutex<Ledger>>,
    over: Arc<AtomicBool>,
    /// Dropping them ends them.
    tasks: JoinSet<Result<()>>,
}

/// What the tasks of one talker work with.
struct Talker {
    run: u32,
    member: Member,
    /// Where it stands among all.
    place: usize,
    pause: Duration,
    limit: Duration,
    front: Arc<Front>,
    sandbox: Arc<Sandbox>,
    ledger: Arc<Mutex<Ledger>>,
    over: Arc<AtomicBool>,
}

impl Traffic {
    /// Starts it on the first members, through every node that the front faces, and waits until it flows.
    pub async fn start(cluster: &Cluster<'_>, run: u32) -> Result<Self> {
        let arguments = cluster.arguments;
        let count = cluster.members.len().min(arguments.talkers as usize);
        let talkers = cluster.members[..count].to_vec();
        cluster.make_peers(&talkers).await?;
        let mut traffic = Self {
            after: cluster.gateway()?.last_seq(RECEIVED).await?,
            talkers,
            ledger: Arc::default(),
            over: Arc::default(),
            tasks: JoinSet::new(),
        };
        let pause = Duration::from_secs(1) * u32::try_from(count).unwrap_or(u32::MAX) / arguments.rate;
        for (place, member) in traffic.talkers.iter().enumerate() {
            let talker = Arc::new(Talker {
                run,
                member: member.clone(),
                place,
                pause,
                limit: cluster.patience(),
                front: Arc::clone(&cluster.front),
                sandbox: Arc::clone(&cluster.sandbox),
                ledger: Arc::clone(&traffic.ledger),
                over: Arc::clone(&traffic.over),
            });
            // Not all at the same moment.
            let first = pause.mul_f64(place as f64 / count as f64);
            let other = Arc::clone(&talker);
            traffic.tasks.spawn(async move {
                tokio::time::sleep(first).await;
                talker.send().await
            });
            traffic.tasks.spawn(async move {
                tokio::time::sleep(first).await;
                other.receive().await
            });
        }
        traffic.flow(cluster.patience()).await?;
        Ok(traffic)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    /// Waits until every talker, on the average, has sent and received one more.
    pub async fn flow(&mut self, limit: Duration) -> Result<()> {
        let (before, more) = (self.ledger().counts(), self.talkers.len());
        let work = async {
            loop {
                let now = self.ledger().counts();
                if now.0 >= before.0 + more && now.1 >= before.1 + more {
                    return Ok(());
                }
                if let Some(ended) = self.tasks.try_join_next() {
                    // None ends by itself but by an error.
                    ended??;
                }
                tokio::time::sleep(POLL).await;
            }
        };
        within("waiting for messages to flow", limit, work).await
    }

    /// Stops new messages, lets those under way come through, and checks that each arrived once.
    pub async fn finish(mut self, cluster: &Cluster<'_>, section: &mut Section) -> Result<()> {
        self.over.store(true, Ordering::Relaxed);
        let work = async {
            while let Some(ended) = self.tasks.join_next().await {
                ended??;
            }
            Ok(())
        };
        within("waiting for the last messages", cluster.patience(), work).await?;
        let ledger = std::mem::take(&mut *self.ledger());
        ledger.describe(section);
        ledger.verify(cluster, &self.talkers, self.after, section).await
    }
}

impl Talker {
    async fn send(&self) -> Result<()> {
        #[derive(Deserialize)]
        struct Body {
            whatsapp_id: String,
        }
        let path = format!("/v1/instances/{}/messages", self.member.instance);
        for number in 0_u32.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let due = Instant::now() + self.pause;
            let text = outbound(self.run, &self.member.peer, number);
            let body =
                json!({"to": format!("+{}", self.member.peer), "type": "text", "text": {"body": text}});
            let mut call = Call::post(path.as_str(), &body);
            call.headers.push(("idempotency-key", text.replace(' ', "-")));
            // The next node every time, and for each talker another one first.
            let from = self.place + number as usize;
            let done = self.front.call(from, &call, self.limit).await?;
            let answer: Body =
                serde_json::from_slice(&done.answer.body).map_err(|source| LoadError::Answer {
                    call: path.clone(),
                    source,
                })?;
            lock(&self.ledger).accept(text, answer.whatsapp_id, done.repeats, done.took);
            tokio::time::sleep_until(due.into()).await;
        }
        Ok(())
    }

    async fn receive(&self) -> Result<()> {
        for number in 0_u32.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let due = Instant::now() + self.pause;
            let Member { phone, peer, .. } = &self.member;
            let text = inbound(self.run, phone, number);
            self.sandbox.phone_sends(peer, phone, &text).await?;
            lock(&self.ledger).arrive(text);
            tokio::time::sleep_until(due.into()).await;
        }
        Ok(())
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    // Lists and counters: a panic of their holder cannot leave them half changed.
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
