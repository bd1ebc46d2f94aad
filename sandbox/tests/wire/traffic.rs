//! Traffic whose every acknowledgement is noted, so that a test can tell what a crash may not lose.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use roost_sandbox::wire::node::Node;
use serde_json::json;

use crate::client::{Companion, Wire};
use crate::stage::Stage;

/// Messages on their way at once.
const WINDOW: usize = 8;

/// A companion that writes to two phones, and reads what they write.
pub struct Writer {
    companion: Companion,
    number: String,
    /// Whom it writes to in turn; the last one echoes.
    peers: [String; 2],
    written: usize,
    /// What is not acknowledged: the peer and the text by id.
    open: BTreeMap<String, (String, String)>,
    pub acknowledged: BTreeMap<String, (String, String)>,
    pub delivered: BTreeSet<String>,
    /// Texts it read, by the id of the message.
    pub read: BTreeMap<String, String>,
}

fn jid(number: &str) -> String {
    format!("{number}@s.whatsapp.net")
}

impl Writer {
    /// `companion` has sessions with all phones, so that it has nothing to ask for.
    pub fn new(companion: Companion, number: &str, peers: [&str; 2]) -> Self {
        Self {
            companion,
            number: number.to_owned(),
            peers: peers.map(str::to_owned),
            written: 0,
            open: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            delivered: BTreeSet::new(),
            read: BTreeMap::new(),
        }
    }

    /// Logs in, sends again what was not acknowledged, then writes and reads until the server is gone
    /// or `is_done`. New messages are written while `writes`.
    pub async fn run(
        &mut self,
        stage: &Stage,
        progress: &AtomicUsize,
        writes: bool,
        is_done: impl Fn(&Self) -> bool,
    ) -> Option<()> {
        let mut wire = self.companion.try_connect(stage).await?;
        for (id, (peer, text)) in self.open.clone() {
            self.write(&mut wire, &id, &peer, &text).await?;
        }
        while !is_done(self) {
            while writes && self.open.len() < WINDOW {
                self.written += 1;
                let id = format!("W{}", self.written);
                let peer = self.peers[self.written % 2].clone();
                let text = format!("text {}", self.written);
                self.open.insert(id.clone(), (peer.clone(), text.clone()));
                self.write(&mut wire, &id, &peer, &text).await?;
            }
            let node = wire.next().await?;
            self.take(&mut wire, &node).await?;
            progress.fetch_add(1, Ordering::Relaxed);
        }
        Some(())
    }

    async fn write(&mut self, wire: &mut Wire, id: &str, peer: &str, text: &str) -> Option<()> {
        let (peer, own) = (jid(peer), jid(&self.number));
        let devices = [peer.as_str(), own.as_str()];
        let message = self.companion.message(wire, &peer, &devices, id, text).await;
        wire.try_send(&message).await
    }

    async fn take(&mut self, wire: &mut Wire, node: &Node) -> Option<()> {
        let id = node.get("id").unwrap_or_default().to_owned();
        match node.tag.as_ref() {
            "failure" => panic!("the companion is not known any more: {node:?}"),
            "ack" if node.is("class", "message") => {
                assert_eq!(node.get("error"), None, "{node:?}");
                if let Some(message) = self.open.remove(&id) {
                    self.acknowledged.insert(id, message);
                }
                Some(())
            }
            "receipt" => {
                assert_ne!(
                    node.get("type"),
                    Some("retry"),
                    "a phone could not read a message"
                );
                self.delivered.insert(id);
                wire.try_send(&acknowledge(node)).await
            }
            "notification" => wire.try_send(&acknowledge(node)).await,
            "message" => {
                if !self.read.contains_key(&id) {
                    let content = self.companion.try_read(node).expect("a ratchet never turns back");
                    let text = content.innermost().text().unwrap_or_default().to_owned();
                    self.read.insert(id.clone(), text);
                }
                let receipt = Node::new("receipt")
                    .attr("id", id)
                    .attr("to", node.get("from").unwrap().to_owned());
                wire.try_send(&receipt).await
            }
            _ => Some(()),
        }
    }
}

fn acknowledge(node: &Node) -> Node {
    Node::new("ack")
        .attr("class", node.tag.clone())
        .attrs_from(node, &["id", "type"])
        .attr("to", node.get("from").unwrap_or_default().to_owned())
}

/// Has a phone send texts until the server is gone, and notes those that were answered.
pub async fn phone_writes(stage: &Stage, from: &str, to: &str, answered: &Mutex<BTreeMap<String, String>>) {
    let path = format!("/accounts/{from}/messages");
    loop {
        let text = format!("{:x}", rand::random::<u64>());
        let body = json!({"to": to, "text": text}).to_string();
        match stage.try_post(&path, body).await {
            Some((201, body)) => {
                let id = body["whatsapp_id"].as_str().unwrap().to_owned();
                answered.lock().unwrap().insert(id, text);
            }
            Some(other) => panic!("{other:?}"),
            None => return,
        }
    }
}
