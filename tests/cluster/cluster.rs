//! Three nodes, their ground, and numbers that are paired and spread over them.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use roost_sandbox::server::SandboxConfig;
use serde_json::json;
use sqlx::PgConnection;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

use crate::front::{Front, api};
use crate::gateway::PATIENCE;
use crate::ground::{Database, Ground, Line};
use crate::judge::{Evidence, Frozen};
use crate::node::{Common, NAMES, Node, Processes};
use crate::receiver::Receiver;
use crate::traffic::{CLIENT_LIMIT, Traffic};
use crate::wire::Device;
use crate::{journal, line, measure, wire};

/// Instances of each test; more by `ROOST_TEST_CLUSTER_INSTANCES`.
const INSTANCES: u32 = 60;
/// Webhooks, each for its share of the instances: so many that every node has some.
const WEBHOOKS: u32 = 8;
const SLOTS: i64 = 1024;
const POLL: Duration = Duration::from_millis(20);

/// A cluster needs the machine for itself.
static TURN: Mutex<()> = Mutex::const_new(());

pub struct Cluster {
    pub nodes: Vec<Node>,
    pub ground: Arc<Ground>,
    pub front: Front,
    pub lines: Vec<Line>,
    pub receiver: Receiver,
    /// Webhook of each instance.
    hooks: BTreeMap<String, String>,
    pub database: PgConnection,
    pub common: Common,
    pub frozen: Vec<Frozen>,
    /// When it was complete.
    begun: Instant,
    _turn: MutexGuard<'static, ()>,
}

fn instances() -> u32 {
    let text = std::env::var("ROOST_TEST_CLUSTER_INSTANCES").ok();
    text.map_or(INSTANCES, |text| text.parse().unwrap())
}

impl Cluster {
    /// Three nodes with everything connected, spread over all of them.
    pub async fn new() -> Self {
        Self::with(3, &[]).await
    }

    /// So many nodes, with further variables in their environment.
    pub async fn with(nodes: u8, environment: &[(&str, &str)]) -> Self {
        let turn = TURN.lock().await;
        let begun = Instant::now();
        let config = SandboxConfig {
            ledger_frames_max: 1_000_000,
            ledger_logins_max: 100_000,
            ..SandboxConfig::default()
        };
        let ground = Arc::new(Ground::with(Database::postgres(), config).await);
        let processes = Processes::default();
        let mut common = common(&ground, Arc::clone(&processes));
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        common.environment = environment.iter().map(own).collect();
        journal::open(&ground).await;
        let database = journal::connect(&ground).await;
        let starts = (0..nodes).map(|place| Node::start(&ground, &common, place));
        let mut cluster = Self {
            nodes: futures::future::join_all(starts).await,
            front: Front::new(CLIENT_LIMIT),
            lines: Vec::new(),
            receiver: Receiver::start(processes).await,
            hooks: BTreeMap::new(),
            database,
            ground,
            common,
            frozen: Vec::new(),
            begun,
            _turn: turn,
        };
        cluster.face();
        cluster.even().await;
        cluster.lines = line::pair(&cluster.ground, &cluster.front, instances()).await;
        cluster.subscribe().await;
        cluster.even().await;
        println!(
            "{} instances on {:?} after {:.0?}",
            cluster.lines.len(),
            measure::shares(&cluster.logins().await),
            begun.elapsed()
        );
        cluster
    }

    /// Tells clients which nodes there are.
    pub fn face(&self) {
        self.front.set(self.nodes.iter().map(Node::ready).collect());
    }

    /// Adds a node that was not there before.
    pub async fn join(&mut self) {
        let place = u8::try_from(self.nodes.len()).unwrap();
        let node = Node::start(&self.ground, &self.common, place).await;
        self.nodes.push(node);
        self.face();
    }

    async fn subscribe(&mut self) {
        let mut shares: Vec<Vec<String>> = vec![Vec::new(); WEBHOOKS as usize];
        for (place, line) in self.lines.iter().enumerate() {
            let count = shares.len();
            shares[place % count].push(line.instance.clone());
        }
        for (number, share) in (0..).zip(shares) {
            let body = json!({
                "url": self.receiver.url(number), "events": ["message.received"], "instances": share,
            });
            let made = self.front.must(Method::POST, "/v1/webhooks", Some(body)).await;
            let webhook = made["id"].as_str().unwrap();
            self.receiver.name(number, webhook);
            self.hooks
                .extend(share.into_iter().map(|instance| (instance, webhook.to_owned())));
        }
    }

    /// Waits until every running node has a fair share of the slots, all have an owner, and none moves.
    pub async fn even(&mut self) {
        let names: Vec<&str> = self.nodes.iter().map(Node::name).collect();
        let fair = SLOTS / i64::try_from(names.len()).unwrap();
        // Hashing deals them out, so shares differ a little.
        let is_fair = |share: i64| share > fair * 3 / 4 && share < fair * 5 / 4;
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            let shares = journal::shares(&mut self.database).await;
            let all: i64 = names.iter().filter_map(|name| shares.get(*name)).sum();
            let even = names
                .iter()
                .all(|name| shares.get(*name).is_some_and(|share| is_fair(*share)));
            if all == SLOTS && even && journal::quiet(&mut self.database).await {
                return;
            }
            assert!(Instant::now() < deadline, "the slots stay with {shares:?}");
            sleep(POLL).await;
        }
    }

    /// Logins of every number.
    pub async fn logins(&self) -> Vec<Device> {
        wire::logins(&self.ground, &self.lines).await
    }

    /// Waits until every number is connected from one of the nodes that run, and from nowhere else.
    pub async fn connected(&self) -> Vec<Device> {
        let lives: Vec<String> = self.nodes.iter().map(Node::life).collect();
        self.connected_from(&lives).await
    }

    /// Waits until every number is connected from one of these lives.
    pub async fn connected_from(&self, lives: &[String]) -> Vec<Device> {
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            let devices = self.logins().await;
            let away: Vec<&Device> = devices
                .iter()
                .filter(|device| {
                    let latest = device.logins.last();
                    !latest.is_some_and(|login| login.ended.is_none() && lives.contains(&login.life))
                })
                .collect();
            if away.is_empty() {
                return devices;
            }
            assert!(
                Instant::now() < deadline,
                "{} numbers are not connected from {lives:?}, such as {:?}",
                away.len(),
                away[0]
            );
            sleep(5 * POLL).await;
        }
    }

    pub fn traffic(&self) -> Traffic {
        Traffic::start(&self.ground, &self.front, &self.lines)
    }

    /// Ends the traffic; then everything acknowledged has to be where it belongs, once, and the judge has to
    /// find nothing.
    pub async fn verify(mut self, traffic: Traffic) {
        let (ledger, last) = (traffic.stop().await, self.nodes.last().unwrap().ready());
        let api = api(&self.ground.client, &last);
        ledger.verify(&self.ground, &api, &self.lines).await;
        let events = api.events().await;
        let received = events.iter().filter(|event| event["type"] == "message.received");
        let wanted: Vec<(String, String)> = received
            .map(|event| {
                let instance = event["instance_id"].as_str().unwrap();
                let id = event["id"].as_str().unwrap().to_owned();
                (self.hooks[instance].clone(), id)
            })
            .collect();
        for node in &mut self.nodes {
            assert!(node.gateway.is_running(), "{} has ended", node.life());
        }
        let evidence = Evidence {
            notes: journal::read(&self.ground).await,
            devices: wire::devices(&self.ground, &self.lines).await,
            posts: self.receiver.posts(),
            frozen: self.frozen.clone(),
        };
        evidence.judge();
        let again = self.receiver.complete(&wanted).await;
        let (accepted, arrived) = ledger.counts();
        println!(
            "{accepted} accepted, {arrived} arrived, {} posted, {again} of them again",
            wanted.len()
        );
        assert!(accepted > 0 && arrived > 0, "there was no traffic");
        println!("all of it took {:.0?}", self.begun.elapsed());
    }
}

/// A tenant and keys, made by the commands that an operator uses.
fn common(ground: &Ground, processes: Processes) -> Common {
    let master_key = "5a".repeat(32);
    let roost = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_roost"))
            .args(words)
            .env("ROOST__DATA__DIR", ground.data_dir())
            .env("ROOST__STORE__URL", ground.database.url().unwrap())
            .env("ROOST__STORE__MASTER_KEY", &master_key)
            .env("ROOST__LOG__FILTER", "error")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{words:?}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let certificates = ground.folder.path().join("certificates");
    let folder = certificates.display().to_string();
    roost(&[&["cluster", "certs", "--dir", &folder], &NAMES[..]].concat());
    let key = |said: String| said.split_whitespace().last().unwrap().to_owned();
    let tenant = roost(&["tenant", "create", "proof"]);
    let of_tenant = key(roost(&["key", "create", "--tenant", &tenant]));
    let of_operator = key(roost(&["key", "create", "--operator"]));
    Common {
        master_key: master_key.clone(),
        certificates,
        cookie: "a secret that all nodes share".to_owned(),
        keys: (of_tenant, of_operator),
        environment: Vec::new(),
        processes,
    }
}
