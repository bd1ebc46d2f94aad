//! What operators see and do, from any node and from the command line, while real nodes run.

use std::process::{Command, Output, Stdio};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cluster::Cluster;
use crate::gateway::{PATIENCE, Ready};
use crate::journal;
use crate::judge::Frozen;
use crate::node::{Node, TTL};
use crate::proxy::now_us;

const POLL: std::time::Duration = std::time::Duration::from_millis(50);

/// An operator who asks one node.
struct Operator {
    client: reqwest::Client,
    ready: Ready,
}

impl Operator {
    fn at(cluster: &Cluster, place: usize) -> Self {
        Self {
            client: cluster.ground.client.clone(),
            ready: cluster.nodes[place].ready(),
        }
    }

    async fn call(&self, method: Method, path: &str) -> (StatusCode, Value) {
        let url = format!("{}{path}", self.ready.api);
        let request = self
            .client
            .request(method, url)
            .bearer_auth(&self.ready.operator_key);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call(Method::GET, path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    /// The row of a node.
    async fn node(&self, name: &str) -> Value {
        let rows = self.get("/v1/operator/nodes").await;
        let rows = rows["data"].as_array().unwrap().iter();
        rows.into_iter().find(|row| row["node"] == name).unwrap().clone()
    }

    /// Runs a command beside the gateway, as an operator would.
    async fn roost(&self, words: &'static [&'static str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roost"));
        command
            .args(words)
            .env("ROOST_URL", &self.ready.api)
            .env("ROOST_OPERATOR_KEY", &self.ready.operator_key)
            .stdin(Stdio::null());
        tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap()
    }
}

fn told(output: &Output) -> String {
    let (said, failed) = (&output.stdout, &output.stderr);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(failed));
    String::from_utf8_lossy(said).into_owned()
}

async fn until<T>(what: &str, check: impl AsyncFn() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_is_drained_is_empty_and_answers_and_comes_back() {
    let mut cluster = Cluster::new().await;
    let traffic = cluster.traffic();
    traffic.flows().await;
    let (a, b) = (Operator::at(&cluster, 0), Operator::at(&cluster, 1));

    // Another node than the one that is asked.
    let said = told(&a.roost(&["drain", "--node", "b", "--wait"]).await);
    println!("{said}");
    assert!(said.contains("b is drained"), "{said}");
    let shares = journal::shares(&mut cluster.database).await;
    assert!(!shares.contains_key("b"), "{shares:?}");
    let row = b.node("b").await;
    assert_eq!(row["slots"], json!({"owned": 0, "desired": 0}));
    assert_eq!(row["load"]["sessions"]["count"], 0);
    let (status, ready) = b.call(Method::GET, "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{ready}");
    let parts = ready["parts"].as_array().unwrap();
    let cluster_part = parts.iter().find(|part| part["name"] == "cluster").unwrap();
    assert_eq!(cluster_part["ready"], false, "{ready}");
    // It speaks for the others as before.
    let table = told(&b.roost(&["top", "--once", "--kind", "instance"]).await);
    assert!(table.contains("b*") && table.contains("draining"), "{table}");
    assert_eq!(
        table.lines().filter(|line| line.starts_with("instance/")).count(),
        cluster.lines.len()
    );
    let lives: Vec<String> = [0, 2].map(|place: usize| cluster.nodes[place].life()).into();
    cluster.connected_from(&lives).await;
    traffic.flows().await;

    let said = told(&b.roost(&["drain", "--undo"]).await);
    assert!(said.contains("b is given slots again"), "{said}");
    cluster.even().await;
    until("it is ready again", async || {
        let (status, _) = b.call(Method::GET, "/readyz").await;
        status.is_success().then_some(())
    })
    .await;
    cluster.connected().await;
    traffic.flows().await;
    cluster.verify(traffic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_operator_sees_and_steers_every_node_through_any_of_them() {
    let mut cluster = Cluster::new().await;
    let traffic = cluster.traffic();
    let a = Operator::at(&cluster, 0);
    let names: Vec<&str> = cluster.nodes.iter().map(Node::name).collect();

    // Page by page, every number once.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = a
            .get(&format!("/v1/operator/actors?kind=instance&limit=7{cursor}"))
            .await;
        let rows = page["data"].as_array().unwrap();
        seen.extend(rows.iter().map(|row| row["key"].as_str().unwrap().to_owned()));
        let asked = page["nodes"].as_array().unwrap();
        assert!(asked.iter().all(|node| node["status"] == "ok"), "{asked:?}");
        let Some(next) = page["next_cursor"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    let mut numbers: Vec<String> = cluster.lines.iter().map(|line| line.instance.clone()).collect();
    numbers.sort();
    assert_eq!(seen, numbers);

    // One that lives on another node is put into quarantine, stays so, and is let out.
    let of_c = a.get("/v1/operator/actors?kind=instance&node=c&limit=1").await;
    let path = of_c["data"][0]["path"].as_str().unwrap().to_owned();
    let order = async |order: &str| {
        let (status, answer) = a
            .call(Method::POST, &format!("/v1/operator/actors/{path}/{order}"))
            .await;
        assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    };
    let state = async |state: &str| {
        until(state, async || {
            let (_, actor) = a.call(Method::GET, &format!("/v1/operator/actors/{path}")).await;
            (actor["state"] == state && actor["node"] == "c").then_some(())
        })
        .await;
    };
    order("quarantine").await;
    state("quarantined").await;
    let worst = a.get("/v1/operator/actors?order=worst&limit=1").await;
    assert_eq!(worst["data"][0]["path"], path.as_str());
    order("clear-quarantine").await;
    state("connected").await;
    let (status, answer) = a.call(Method::GET, "/v1/operator/actors/steward").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{answer}");
    assert_eq!(a.get("/v1/operator/actors/steward?node=c").await["node"], "c");

    // A frozen node is named, within a second or so, and its row tells that its lease runs out.
    for name in names {
        assert_eq!(a.node(name).await["status"], "ok");
    }
    let (life, from_us) = (cluster.nodes[2].life(), now_us());
    cluster.nodes[2].freeze().await;
    let begun = Instant::now();
    let page = a.get("/v1/operator/actors?kind=instance&limit=500").await;
    println!("actors without a frozen node after {:.2?}", begun.elapsed());
    let of_c = page["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["node"] == "c");
    assert_eq!(of_c.unwrap()["status"], "unreachable", "{}", page["nodes"]);
    let table = told(&a.roost(&["top", "--once"]).await);
    assert!(table.contains("unreachable"), "{table}");
    let expired = until("its lease runs out", async || {
        let row = a.node("c").await;
        (row["lease"]["state"] == "expired").then_some(row)
    })
    .await;
    assert_eq!(expired["status"], "unreachable");
    println!("its lease of {TTL:?} was over after {:.2?}", begun.elapsed());
    cluster.frozen.push(Frozen {
        life,
        from_us,
        to_us: now_us(),
    });
    cluster.nodes[2].thaw();
    until("it answers again", async || {
        (a.node("c").await["status"] == "ok").then_some(())
    })
    .await;
    cluster.even().await;
    cluster.connected().await;
    traffic.flows().await;
    cluster.verify(traffic).await;
}
