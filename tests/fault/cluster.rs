//! Two gateways that are nodes of one cluster: they share the numbers, and one takes over from the other
//! when that one is killed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reqwest::{Method, StatusCode};
use serde_json::json;
use tokio::time::Instant;

use crate::gateway::{Gateway, Launch, PATIENCE, Ready};
use crate::ground::{Api, Database, Ground, Line};

/// So many that it would be a wonder if one node had them all.
const LINES: u32 = 16;

async fn node(ground: &Ground, name: &str) -> Gateway {
    let files: PathBuf = ground.folder.path().join(name);
    std::fs::create_dir_all(&files).unwrap();
    let mut launch = Launch {
        files,
        ..ground.launch(ground.data_dir(), &[])
    };
    launch.set_all(&[
        ("ROOST__CLUSTER__NODE", name),
        ("ROOST__CLUSTER__LEASE", "4s"),
        ("ROOST__CLUSTER__STABLE_FOR", "1s"),
        ("ROOST__CLUSTER__MOVES_MAX", "200"),
    ]);
    Gateway::start(launch).await
}

fn api<'a>(ground: &'a Ground, ready: &'a Ready) -> Api<'a> {
    let client = &ground.client;
    Api { client, ready }
}

/// Texts that were accepted, by the phone that has to get them.
#[derive(Default)]
struct Accepted(BTreeMap<String, Vec<String>>);

impl Accepted {
    /// Sends a text through the node that runs the number, whichever of these that is.
    async fn send(&mut self, nodes: &[&Api<'_>], line: &Line) -> usize {
        let path = format!("/v1/instances/{}/messages", line.instance);
        let deadline = Instant::now() + PATIENCE;
        loop {
            for (which, api) in nodes.iter().enumerate() {
                let texts = self.0.entry(line.peer.clone()).or_default();
                let text = format!("text {}", texts.len());
                let body = json!({"to": line.peer, "type": "text", "text": {"body": text}});
                let (status, answer) = api.call(Method::POST, &path, Some(body), None).await.unwrap();
                if status.is_success() {
                    texts.push(text);
                    return which;
                }
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
            }
            assert!(Instant::now() < deadline, "nobody runs {}", line.instance);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Everything arrives, once.
    async fn arrive(&self, ground: &Ground) {
        for (phone, texts) in &self.0 {
            let deadline = Instant::now() + PATIENCE;
            loop {
                let received = ground.received_by(phone).await;
                let count = received.len();
                assert!(count <= texts.len(), "something was sent twice: {received:?}");
                if count == texts.len() {
                    break;
                }
                assert!(Instant::now() < deadline, "{received:?} of {texts:?}");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_the_numbers_and_one_takes_over_from_the_other_that_is_killed() {
    let ground = Ground::new(Database::postgres()).await;
    let mut first = node(&ground, "a").await;
    let mut lines = Vec::new();
    for number in 0..LINES {
        lines.push(ground.pair(&first.ready, 100 + number).await);
    }
    let second = node(&ground, "b").await;
    let (of_a, of_b) = (first.ready.clone(), second.ready.clone());
    let (a, b) = (api(&ground, &of_a), api(&ground, &of_b));

    let mut accepted = Accepted::default();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut shares = [0, 0];
        for line in &lines {
            shares[accepted.send(&[&a, &b], line).await] += 1;
        }
        println!("node a runs {} numbers, node b {}", shares[0], shares[1]);
        if shares[0] > 0 && shares[1] > 0 {
            break;
        }
        assert!(Instant::now() < deadline, "the second node was given nothing");
    }

    first.kill();
    let killed = Instant::now();
    for line in &lines {
        accepted.send(&[&b], line).await;
    }
    println!(
        "node b runs all of them {:?} after node a was killed",
        killed.elapsed()
    );
    accepted.arrive(&ground).await;
}
