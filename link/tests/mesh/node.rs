//! What runs in the process of a node.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use rand::Rng;
use roost_domain::cluster::NodeName;
use roost_domain::peer::{Kind, Mesh as _, Note, NoteKind, PeerAddress, Peers, Service, WireError};
use roost_domain::time::Entropy;
use roost_link::{Cookie, Limits, Link, LinkConfig, Listening, certs};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;

/// Environment of a node's process: a [`Plan`].
pub const PLAN: &str = "ROOST_LINK_TEST_NODE";

/// What stands before an answer.
pub const MARK: &str = "@@";

// Kinds that the service of these nodes knows.
pub const ECHO: u16 = 100;
pub const SLEEP_MS: u16 = 101;
pub const GROW: u16 = 102;
pub const PANIC: u16 = 103;
pub const NOT_MINE: u16 = 104;
pub const HOLD: u16 = 105;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    pub name: String,
    pub certs: Option<PathBuf>,
    pub cookie: String,
    pub incarnation: i64,
    pub listen: String,
    pub calls_max: usize,
    pub strangers_max: usize,
    pub workers: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    Peers(Vec<(String, i64, String)>),
    Call {
        node: String,
        kind: u16,
        body: String,
        /// Repeats the body.
        times: usize,
        deadline_ms: u64,
    },
    Note {
        kind: u16,
        key: String,
        body: String,
    },
    Told,
    View,
    Release,
    Reborn(i64),
    Measure {
        node: String,
        bytes: usize,
        calls: usize,
        parallel: usize,
    },
    Stop,
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[allow(
        clippy::disallowed_methods,
        reason = "this is where randomness enters the test"
    )]
    fn fill(&self, buffer: &mut [u8]) {
        rand::rng().fill_bytes(buffer);
    }
}

#[derive(Default)]
struct TestService {
    told: Mutex<Vec<(String, Note)>>,
    released: watch::Sender<bool>,
}

#[async_trait]
impl Service for TestService {
    async fn serve(&self, _: &NodeName, kind: Kind, body: Bytes, _: Instant) -> Result<Bytes, WireError> {
        let number = || -> u64 { std::str::from_utf8(&body).unwrap().parse().unwrap() };
        match kind.0 {
            ECHO => Ok(body),
            SLEEP_MS => {
                tokio::time::sleep(Duration::from_millis(number())).await;
                Ok(body)
            }
            GROW => Ok(vec![b'x'; number() as usize].into()),
            PANIC => panic!("as the test wants"),
            NOT_MINE => Err(WireError::NotOwner {
                hint: Some("c".parse().unwrap()),
            }),
            HOLD => {
                let _ = self.released.subscribe().wait_for(|released| *released).await;
                Ok(body)
            }
            _ => Err(WireError::UnknownKind),
        }
    }

    fn told(&self, from: &NodeName, note: Note) {
        self.told.lock().unwrap().push((from.to_string(), note));
    }
}

/// Runs a node if this process is to be one.
#[allow(
    clippy::disallowed_methods,
    reason = "the plan of the process is in its environment"
)]
pub fn run() {
    let Ok(plan) = std::env::var(PLAN) else { return };
    let plan: Plan = serde_json::from_str(&plan).unwrap();
    tracing_subscriber::fmt()
        .with_env_filter("info,ractor_cluster=warn")
        .with_writer(std::io::stderr)
        .init();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(plan.workers)
        .enable_all()
        .build()
        .unwrap()
        .block_on(live(plan));
}

fn say(value: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{MARK}{value}").unwrap();
    out.flush().unwrap();
}

async fn live(plan: Plan) {
    let node: NodeName = plan.name.parse().unwrap();
    let config = LinkConfig {
        tls: plan.certs.as_ref().map(|folder| certs::files(folder, &node)),
        node,
        release: "0.1.0".to_owned(),
        listen: plan.listen.parse().unwrap(),
        cookie: Cookie::new(plan.cookie).unwrap(),
        limits: Limits {
            calls_in_flight_max: plan.calls_max,
            strangers_max: plan.strangers_max,
            redial_pause: Duration::from_millis(200),
            ..Limits::default()
        },
    };
    let service = Arc::new(TestService::default());
    let listening = Listening::bind(config).await.unwrap();
    say(&json!({"id": 0, "result": listening.address().to_string()}));
    let link = listening
        .start(plan.incarnation, service.clone(), Arc::new(SystemEntropy))
        .await
        .unwrap();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let (id, order): (u64, Order) = serde_json::from_str(&line).unwrap();
        if matches!(order, Order::Stop) {
            link.stop().await;
            say(&json!({"id": id, "result": null}));
            return;
        }
        let (link, service) = (link.clone(), Arc::clone(&service));
        tokio::spawn(async move {
            let result = obey(&link, &service, order).await;
            say(&json!({"id": id, "result": result}));
        });
    }
}

async fn obey(link: &Link, service: &TestService, order: Order) -> Value {
    match order {
        Order::Peers(peers) => link.set_peers(peers.into_iter().map(peer).collect()),
        Order::Call {
            node,
            kind,
            body,
            times,
            deadline_ms,
        } => {
            let deadline = Instant::now() + Duration::from_millis(deadline_ms);
            let body = Bytes::from(body.repeat(times));
            return match link
                .call(&node.parse().unwrap(), Kind(kind), body, deadline)
                .await
            {
                Ok(answer) if answer.len() <= 64 => json!({"ok": String::from_utf8_lossy(&answer)}),
                Ok(answer) => json!({"bytes": answer.len()}),
                Err(error) => json!({"error": format!("{error:?}")}),
            };
        }
        Order::Note { kind, key, body } => link.notify(Note {
            kind: NoteKind(kind),
            key: key.into(),
            body: body.into(),
        }),
        Order::Told => {
            let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
            let told = service.told.lock().unwrap();
            let told = told
                .iter()
                .map(|(from, note)| json!([from, note.kind.0, text(&note.key), text(&note.body)]));
            return told.collect();
        }
        Order::View => {
            let view = link.peers().into_iter().map(|peer| {
                let state = json!({
                    "connected": peer.connected,
                    "incarnation": peer.incarnation,
                    "release": peer.release,
                    "rtt_us": peer.rtt.map(|rtt| rtt.as_micros() as u64),
                    "in_flight": peer.in_flight,
                    "serving": peer.serving,
                    "links": peer.links,
                    "notes_dropped": peer.notes_dropped,
                    "last_error": peer.last_error,
                });
                (peer.node.to_string(), state)
            });
            return Value::Object(view.collect());
        }
        Order::Release => drop(service.released.send_replace(true)),
        Order::Reborn(incarnation) => link.reborn(incarnation),
        Order::Measure {
            node,
            bytes,
            calls,
            parallel,
        } => return measure(link, &node.parse().unwrap(), bytes, calls, parallel).await,
        Order::Stop => {}
    }
    Value::Null
}

fn peer((node, incarnation, address): (String, i64, String)) -> PeerAddress {
    PeerAddress {
        node: node.parse().unwrap(),
        incarnation,
        address,
    }
}

/// Calls as fast as so many callers can. Times in microseconds.
async fn measure(link: &Link, node: &NodeName, bytes: usize, calls: usize, parallel: usize) -> Value {
    let started = Instant::now();
    let callers = (0..parallel).map(|_| {
        let (link, node) = (link.clone(), node.clone());
        let body = Bytes::from(vec![b'x'; bytes]);
        tokio::spawn(async move {
            let mut times = Vec::with_capacity(calls / parallel);
            for _ in 0..calls / parallel {
                let from = Instant::now();
                let deadline = from + Duration::from_secs(30);
                link.call(&node, Kind(ECHO), body.clone(), deadline)
                    .await
                    .unwrap();
                times.push(from.elapsed().as_micros() as u64);
            }
            times
        })
    });
    let mut times = Vec::with_capacity(calls);
    for caller in callers.collect::<Vec<_>>() {
        times.extend(caller.await.unwrap());
    }
    let elapsed = started.elapsed();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    json!({
        "per_second": (times.len() as f64 / elapsed.as_secs_f64()) as u64,
        "p50_us": at(0.5),
        "p99_us": at(0.99),
        "p999_us": at(0.999),
    })
}
