//! A companion that takes part in groups: it asks about them, and keeps sender keys.

use std::collections::HashMap;

use prost::Message as _;
use roost_sandbox::signal::padding::{pad, unpad};
use roost_sandbox::signal::proto::{Message, SenderKeyDistributionMessage};
use roost_sandbox::signal::{OwnSenderKey, ReceivedSenderKeys};
use roost_sandbox::wire::jid::Jid;
use roost_sandbox::wire::node::Node;

use crate::client::{Companion, Wire};
use crate::stage::Stage;

pub struct Member {
    pub companion: Companion,
    pub wire: Wire,
    own: HashMap<String, OwnSenderKey>,
    /// By group and sending device.
    received: HashMap<(String, String), ReceivedSenderKeys>,
    asked: u32,
}

impl Member {
    /// A companion of an account that exists, logged in.
    pub async fn new(stage: &Stage, number: &str) -> Self {
        let mut companion = Companion::paired(stage, number).await;
        let wire = companion.open(stage).await;
        Self {
            companion,
            wire,
            own: HashMap::new(),
            received: HashMap::new(),
            asked: 0,
        }
    }

    pub fn jid(&self) -> String {
        self.companion.jid.to_string()
    }

    /// Asks about groups, and returns the whole answer.
    pub async fn ask(&mut self, kind: &'static str, to: &str, child: Node) -> Node {
        self.asked += 1;
        let id = format!("g{}", self.asked);
        let query = Node::new("iq")
            .attr("id", id.clone())
            .attr("to", to.to_owned())
            .attr("type", kind)
            .attr("xmlns", "w:g2")
            .child(child);
        self.wire.send(&query).await;
        self.wire
            .expect(|node| node.tag == "iq" && node.is("id", &id))
            .await
    }

    /// As [`Self::ask`], for an answer that is no error.
    pub async fn asks(&mut self, kind: &'static str, to: &str, child: Node) -> Node {
        let answer = self.ask(kind, to, child).await;
        assert!(answer.is("type", "result"), "{answer:?}");
        answer
    }

    /// As [`Self::ask`], for the code of the error that must come.
    pub async fn refused(&mut self, kind: &'static str, to: &str, child: Node) -> String {
        let answer = self.ask(kind, to, child).await;
        assert!(answer.is("type", "error"), "{answer:?}");
        answer.find("error").unwrap().get("code").unwrap().to_owned()
    }

    /// The `<group>` the server shows.
    pub async fn group(&mut self, to: &str) -> Node {
        let query = Node::new("query").attr("request", "interactive");
        self.asks("get", to, query).await.find("group").unwrap().clone()
    }

    /// Waits for the notice of a change, acknowledges it, and returns all of it.
    pub async fn notice(&mut self, tag: &str) -> Node {
        let is_notice =
            |node: &Node| node.tag == "notification" && node.is("type", "w:gp2") && node.find(tag).is_some();
        let notice = self.wire.expect(is_notice).await;
        let ack = Node::new("ack")
            .attr("class", "notification")
            .attr("id", notice.get("id").unwrap().to_owned())
            .attr("to", notice.get("from").unwrap().to_owned())
            .attr("type", "w:gp2");
        self.wire.send(&ack).await;
        notice
    }

    /// A text for a group, with the own key for `devices`; without any the key is not told.
    pub async fn message(&mut self, group: &str, devices: &[&str], id: &str, text: &str) -> Node {
        let own = self
            .own
            .entry(group.to_owned())
            .or_insert_with(OwnSenderKey::generate);
        let told = Message {
            sender_key_distribution_message: Some(SenderKeyDistributionMessage {
                group_id: Some(group.to_owned()),
                axolotl_sender_key_distribution_message: Some(own.distribution()),
            }),
            ..Message::default()
        };
        let sealed = own.encrypt(&pad(Message::of_text(text).encode_to_vec())).unwrap();
        let mut copies = Vec::new();
        for device in devices {
            let enc = self.companion.seal(&mut self.wire, device, &told).await;
            copies.push(Node::new("to").attr("jid", (*device).to_owned()).child(enc));
        }
        let enc = Node::new("enc")
            .attr("v", "2")
            .attr("type", "skmsg")
            .bytes(sealed);
        let proof = Node::new("device-identity").bytes(self.companion.proof.clone());
        let participants = Node::new("participants").with_children(copies);
        let has_copies = !participants.children().is_empty();
        Node::new("message")
            .attr("to", group.to_owned())
            .attr("id", id.to_owned())
            .attr("type", "text")
            .attr("addressing_mode", "pn")
            .child_opt(has_copies.then_some(participants))
            .child(enc)
            .child_opt(has_copies.then_some(proof))
    }

    /// Sends a text and returns the acknowledgement.
    pub async fn sends(&mut self, group: &str, devices: &[&str], id: &str, text: &str) -> Node {
        let message = self.message(group, devices, id, text).await;
        self.wire.send(&message).await;
        self.wire.expect_ack(id).await
    }

    /// The next message of a group.
    pub async fn delivered(&mut self) -> Node {
        let is_group = |node: &Node| {
            node.tag == "message" && node.get("from").is_some_and(|from| from.ends_with("@g.us"))
        };
        self.wire.expect(is_group).await
    }

    /// Decrypts a group message, taking in the sender's key if it came along.
    pub fn read(&mut self, message: &Node) -> Option<Message> {
        let group = message.get("from").unwrap().to_owned();
        let participant = message.get("participant").unwrap().to_owned();
        // Sessions are kept under phone numbers, whatever the group's addressing.
        let device = Jid::parse(&participant).unwrap().device;
        let number = message.get("participant_pn").and_then(Jid::parse);
        let known = number.map(|jid| Jid::new(jid.user, device, jid.domain).to_string());
        let known = known.unwrap_or_else(|| participant.clone());
        let mut content = None;
        for enc in message.find_all("enc") {
            let keys = self
                .received
                .entry((group.clone(), participant.clone()))
                .or_default();
            let plain = if enc.is("type", "skmsg") {
                keys.decrypt(enc.data().unwrap()).ok()?
            } else {
                let from = Node::new("message")
                    .attr("from", known.clone())
                    .child(enc.clone());
                let message = self.companion.try_read(&from)?;
                let inner = message.innermost();
                if let Some(told) = &inner.sender_key_distribution_message {
                    let told = told.axolotl_sender_key_distribution_message.as_ref().unwrap();
                    keys.learn(told).unwrap();
                }
                if inner.text().is_some() {
                    content = Some(message);
                }
                continue;
            };
            content = Some(Message::decode(unpad(&plain).unwrap()).unwrap());
        }
        content
    }

    /// Waits for the next message, reads it and confirms it. Returns the text.
    pub async fn reads(&mut self) -> String {
        let message = self.delivered().await;
        let text = self.read(&message).expect("the message can be read");
        self.receipt(&message, None).await;
        text.innermost().text().unwrap().to_owned()
    }

    pub async fn receipt(&mut self, message: &Node, kind: Option<&'static str>) {
        let receipt = Node::new("receipt")
            .attr("id", message.get("id").unwrap().to_owned())
            .attr("to", message.get("from").unwrap().to_owned())
            .attr("participant", message.get("participant").unwrap().to_owned())
            .attr_opt("type", kind);
        self.wire.send(&receipt).await;
        let is_ack = |node: &Node| {
            node.tag == "ack" && node.is("class", "receipt") && node.get("id") == message.get("id")
        };
        self.wire.expect(is_ack).await;
    }

    /// Asks the author of a message for it.
    pub async fn asks_again(&mut self, message: &Node) {
        let id = message.get("id").unwrap().to_owned();
        let receipt = Node::new("receipt")
            .attr("id", id.clone())
            .attr("to", message.get("from").unwrap().to_owned())
            .attr("participant", message.get("participant").unwrap().to_owned())
            .attr("type", "retry")
            .child(
                Node::new("retry")
                    .attr("count", "1")
                    .attr("id", id)
                    .attr("v", "1"),
            );
        self.wire.send(&receipt).await;
    }
}
