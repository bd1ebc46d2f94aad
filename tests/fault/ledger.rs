//! What was acknowledged to whom during a test, and the proof afterwards that all of it is there,
//! once.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use serde_json::Value;
use tokio::time::Instant;

use crate::gateway::PATIENCE;
use crate::ground::{Api, Ground, Line};

/// Everything that was acknowledged while faults went on.
#[derive(Default)]
pub struct Ledger {
    /// Outbound, by text: the message as the gateway accepted it.
    accepted: Mutex<BTreeMap<String, Value>>,
    /// Inbound, by WhatsApp id: its text.
    arrived: Mutex<BTreeMap<String, String>>,
}

impl Ledger {
    /// The gateway answered 202 to this text.
    pub fn accepted(&self, text: &str, message: Value) {
        let earlier = self
            .accepted
            .lock()
            .unwrap()
            .insert(text.to_owned(), message.clone());
        if let Some(earlier) = earlier {
            assert_eq!(
                earlier["id"], message["id"],
                "two messages for one idempotency key"
            );
        }
    }

    /// The sandbox took this text from a phone.
    pub fn arrived(&self, whatsapp_id: &str, text: &str) {
        self.arrived
            .lock()
            .unwrap()
            .insert(whatsapp_id.to_owned(), text.to_owned());
    }

    pub fn counts(&self) -> (usize, usize) {
        (
            self.accepted.lock().unwrap().len(),
            self.arrived.lock().unwrap().len(),
        )
    }

    /// Waits until everything acknowledged is where it belongs, then checks that it is there once.
    pub async fn verify(&self, ground: &Ground, api: &Api<'_>, lines: &[Line]) {
        self.every_accepted_message_is_sent(api).await;
        self.every_arrived_message_is_logged(api).await;
        for line in lines {
            self.the_peer_has_each_text_once(ground, line).await;
            api.until(&format!("/v1/instances/{}", line.instance), |_, body| {
                (body["state"] == "connected").then_some(())
            })
            .await;
        }
        let events = api.events().await;
        seq_has_no_gaps(&events);
        no_fact_is_logged_twice(&events);
        self.nothing_unknown_was_received(&events);
    }

    async fn every_accepted_message_is_sent(&self, api: &Api<'_>) {
        let accepted: Vec<Value> = self.accepted.lock().unwrap().values().cloned().collect();
        for message in accepted {
            let path = format!("/v1/messages/{}", message["id"].as_str().unwrap());
            let sent = api
                .until(&path, |_, body| {
                    matches!(body["status"].as_str(), Some("sent" | "delivered" | "read"))
                        .then(|| body.clone())
                })
                .await;
            assert_eq!(
                sent["whatsapp_id"], message["whatsapp_id"],
                "the WhatsApp id changed"
            );
        }
    }

    async fn every_arrived_message_is_logged(&self, api: &Api<'_>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let received = received(&api.events().await);
            let missing: Vec<String> = self
                .arrived
                .lock()
                .unwrap()
                .iter()
                .filter(|(id, _)| !received.contains_key(*id))
                .map(|(id, text)| format!("{id} {text}"))
                .collect();
            if missing.is_empty() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{} never logged: {missing:?}",
                missing.len()
            );
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    async fn the_peer_has_each_text_once(&self, ground: &Ground, line: &Line) {
        let mut seen: HashMap<String, Vec<String>> = HashMap::new();
        for message in ground.received_by(&line.peer).await {
            let field = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
            seen.entry(field("text")).or_default().push(field("whatsapp_id"));
        }
        for (text, ids) in &seen {
            assert_eq!(
                ids.len(),
                1,
                "{text} reached the phone {} times as {ids:?}",
                ids.len()
            );
        }
        for (text, message) in self.accepted.lock().unwrap().iter() {
            if message["instance_id"] == line.instance.as_str() {
                let ids = seen
                    .get(text)
                    .unwrap_or_else(|| panic!("{text} never reached the phone"));
                assert_eq!(ids[0], message["whatsapp_id"].as_str().unwrap());
            }
        }
    }

    fn nothing_unknown_was_received(&self, events: &[Value]) {
        let arrived = self.arrived.lock().unwrap();
        for (id, text) in received(events) {
            assert_eq!(
                arrived.get(&id),
                Some(&text),
                "a message nobody sent, or with another text"
            );
        }
    }
}

/// Inbound messages in the log: WhatsApp id to text.
fn received(events: &[Value]) -> HashMap<String, String> {
    events
        .iter()
        .filter(|event| event["type"] == "message.received")
        .map(|event| &event["data"]["message"])
        .map(|message| {
            let field = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (field(&message["whatsapp_id"]), field(&message["text"]["body"]))
        })
        .collect()
}

fn seq_has_no_gaps(events: &[Value]) {
    for (index, event) in events.iter().enumerate() {
        assert_eq!(
            event["seq"].as_i64().unwrap(),
            index as i64 + 1,
            "the log has a gap"
        );
    }
}

fn no_fact_is_logged_twice(events: &[Value]) {
    let mut seen: HashMap<(String, String), i64> = HashMap::new();
    for event in events {
        let kind = event["type"].as_str().unwrap().to_owned();
        if let Some(id) = event["data"]["message"]["id"].as_str()
            && let Some(first) = seen.insert((kind.clone(), id.to_owned()), event["seq"].as_i64().unwrap())
        {
            panic!("{kind} of {id} is in the log at {first} and at {}", event["seq"]);
        }
    }
}
