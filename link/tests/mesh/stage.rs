//! Starts nodes as processes, and talks to them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roost_domain::Timestamp;
use roost_link::certs;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::oneshot;

use crate::node::{MARK, Order, PLAN, Plan};

/// Everything happens before this, on any machine.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub const COOKIE: &str = "the cookie of the tests' cluster";

/// A folder with certificates, and the plan from which nodes are started.
pub struct Stage {
    pub folder: TempDir,
    pub tls: bool,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// A node's process.
pub struct Node {
    pub name: String,
    pub address: String,
    pub incarnation: i64,
    child: Child,
    stdin: tokio::sync::Mutex<ChildStdin>,
    waiting: Waiting,
    next: AtomicU64,
}

#[allow(clippy::disallowed_methods, reason = "certificates have to be valid today")]
fn today() -> Timestamp {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    Timestamp::from_unix_ms(now.as_millis() as i64)
}

impl Stage {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nodes: Vec<_> = ["a", "b", "c"].iter().map(|name| name.parse().unwrap()).collect();
        certs::make(folder.path(), &nodes, 2, false, today()).unwrap();
        Self { folder, tls: true }
    }

    pub fn plain() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            tls: false,
        }
    }

    /// Another authority, which the nodes do not know.
    pub fn foreign(&self) -> PathBuf {
        let folder = self.folder.path().join("foreign");
        let nodes = ["a".parse().unwrap(), "b".parse().unwrap()];
        certs::make(&folder, &nodes, 2, false, today()).unwrap();
        folder
    }

    pub fn plan(&self, name: &str) -> Plan {
        Plan {
            name: name.to_owned(),
            certs: self.tls.then(|| self.folder.path().to_owned()),
            cookie: COOKIE.to_owned(),
            incarnation: 1,
            listen: "127.0.0.1:0".to_owned(),
            calls_max: 512,
            strangers_max: 256,
            workers: 2,
        }
    }

    pub async fn node(&self, name: &str) -> Node {
        Node::start(self.plan(name)).await
    }

    /// Nodes of these names, linked to each other.
    pub async fn linked<const N: usize>(&self, names: [&str; N]) -> [Node; N] {
        let mut nodes = Vec::new();
        for name in names {
            nodes.push(self.node(name).await);
        }
        introduce(&nodes.iter().collect::<Vec<_>>()).await;
        for node in &nodes {
            for other in nodes.iter().filter(|other| other.name != node.name) {
                node.until_linked(&other.name, 1).await;
            }
        }
        nodes.try_into().unwrap_or_else(|_| unreachable!())
    }
}

/// Tells nodes of each other.
pub async fn introduce(nodes: &[&Node]) {
    let peers: Vec<_> = nodes
        .iter()
        .map(|node| (node.name.clone(), node.incarnation, node.address.clone()))
        .collect();
    for node in nodes {
        node.tell(Order::Peers(peers.clone())).await;
    }
}

impl Node {
    pub async fn start(plan: Plan) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "node_process", "--nocapture", "--test-threads=1"])
            .env(PLAN, serde_json::to_string(&plan).unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdin = tokio::sync::Mutex::new(child.stdin.take().unwrap());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let waiting = Waiting::default();
        let (started, address) = oneshot::channel();
        waiting.lock().unwrap().insert(0, started);
        let answers = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let Some((_, json)) = line.split_once(MARK) else {
                    continue;
                };
                let mut answer: Value = serde_json::from_str(json).unwrap();
                let id = answer["id"].as_u64().unwrap();
                if let Some(reply) = answers.lock().unwrap().remove(&id) {
                    let _ = reply.send(answer["result"].take());
                }
            }
            // The process has ended: nobody waits for nothing.
            answers.lock().unwrap().clear();
        });
        let address = within("the node listens", address).await.unwrap();
        Self {
            name: plan.name,
            address: address.as_str().unwrap().to_owned(),
            incarnation: plan.incarnation,
            child,
            stdin,
            waiting,
            next: AtomicU64::new(1),
        }
    }

    /// Gives an order and returns its result.
    pub async fn tell(&self, order: Order) -> Value {
        within("the node answers the test", self.begin(order).await)
            .await
            .unwrap()
    }

    /// Gives an order. The result comes later.
    pub async fn begin(&self, order: Order) -> oneshot::Receiver<Value> {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        let (reply, answer) = oneshot::channel();
        self.waiting.lock().unwrap().insert(id, reply);
        let line = format!("{}\n", serde_json::to_string(&(id, order)).unwrap());
        self.stdin.lock().await.write_all(line.as_bytes()).await.unwrap();
        answer
    }

    pub async fn call(&self, node: &str, kind: u16, body: &str) -> Value {
        self.tell(call(node, kind, body, 30_000)).await
    }

    pub async fn view(&self, of: &str) -> Value {
        self.tell(Order::View).await[of].take()
    }

    /// Waits until this node's view of another one is as wanted.
    pub async fn until(&self, of: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let wait = async {
            loop {
                last = self.view(of).await;
                if holds(&last) {
                    return last.clone();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(DEADLINE, wait).await {
            Ok(view) => view,
            Err(_) => panic!("{} never saw that {what}; last: {last}", self.name),
        }
    }

    pub async fn until_linked(&self, to: &str, incarnation: i64) -> Value {
        self.until(to, "it is linked", |view| {
            view["connected"] == true && view["incarnation"] == incarnation
        })
        .await
    }

    pub async fn until_down(&self, to: &str) -> Value {
        self.until(to, "the link is down", |view| view["connected"] == false)
            .await
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().unwrap().to_string();
        let status = std::process::Command::new("kill")
            .args([name, &pid])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// How many files and sockets its process has.
    pub fn sockets(&self) -> usize {
        let files = format!("/proc/{}/fd", self.child.id().unwrap());
        std::fs::read_dir(files).unwrap().count()
    }

    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }
}

pub fn call(node: &str, kind: u16, body: &str, deadline_ms: u64) -> Order {
    Order::Call {
        node: node.to_owned(),
        kind,
        body: body.to_owned(),
        times: 1,
        deadline_ms,
    }
}

/// Waits for something that has to come.
pub async fn within<F: IntoFuture>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {DEADLINE:?}"))
}
