//! A sandbox, an engine, and the state of one instance.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use roost_domain::cluster::Lease;
use roost_domain::engine::{Engine, Link, LinkFact, LinkSpec, Outgoing};
use roost_domain::instance::{Account, PairingMethod};
use roost_domain::message::{Content, Inbound};
use roost_domain::{Address, Owner};
use roost_engine::{WebEngine, WebEngineConfig};
use roost_sandbox::server::{Sandbox, SandboxConfig, SandboxHandle};
use serde_json::{Value, json};

use crate::support::memory::{Memory, owner};
use crate::support::{NoEntropy, PATIENCE, Recorder, SystemClock};

/// The number that the instance is paired with, and somebody else's.
pub const OWN: &str = "4915112340001";
pub const FRIEND: &str = "4915112340002";

pub struct World {
    pub sandbox: SandboxHandle,
    pub engine: WebEngine,
    pub state: Arc<Memory>,
    pub owner: Owner,
    /// What the links have committed.
    pub committed: Arc<Mutex<Vec<Inbound>>>,
    http: reqwest::Client,
}

/// A link and everything it says.
pub struct Open {
    pub link: Arc<dyn Link>,
    pub said: Arc<Recorder>,
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut WebEngineConfig)) -> Self {
        let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
        let mut config = WebEngineConfig {
            endpoint: sandbox.websocket_url(),
            prekeys: 30,
            ..WebEngineConfig::default()
        };
        change(&mut config);
        let state = Arc::new(Memory::default());
        let engine = WebEngine::new(
            config,
            Arc::clone(&state) as _,
            Arc::new(SystemClock),
            Arc::new(NoEntropy),
        )
        .unwrap();
        let world = Self {
            sandbox,
            engine,
            state,
            owner: owner(1, 1),
            committed: Arc::default(),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
        };
        for phone in [OWN, FRIEND] {
            world
                .post(
                    "accounts",
                    json!({"phone_number": phone, "name": format!("Phone {phone}")}),
                )
                .await;
        }
        world
    }

    /// Its links act under a lease.
    pub fn under(self, lease: Arc<dyn Lease>) -> Self {
        Self {
            engine: self.engine.under(lease),
            ..self
        }
    }

    /// Whether the instance's device has sent a frame with this id.
    pub async fn has_spoken_of(&self, id: &str) -> bool {
        let path = format!("accounts/{OWN}/ledger?device=1&limit=10000");
        let page = self.get(&path).await;
        let mut events = page["data"].as_array().unwrap().iter();
        events.any(|event| event["event"] == "in" && event["id"] == id)
    }

    /// Calls the sandbox's control API.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let url = format!("{}/sandbox/v1/{path}", self.sandbox.url());
        let answer = self.http.post(url).json(&body).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub async fn get(&self, path: &str) -> Value {
        let url = format!("{}/sandbox/v1/{path}", self.sandbox.url());
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Waits until the phone has decrypted a message with this text.
    pub async fn received(&self, phone: &str, text: &str) -> Value {
        let found = async {
            loop {
                let list = self.get(&format!("accounts/{phone}/messages")).await;
                let messages = list["data"]
                    .as_array()
                    .or_else(|| list.as_array())
                    .cloned()
                    .unwrap_or_default();
                if let Some(message) = messages.into_iter().find(|message| message["text"] == text) {
                    return message;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(message) => message,
            Err(_) => panic!(
                "{phone} never got {text:?}: {}",
                self.get(&format!("accounts/{phone}/messages")).await
            ),
        }
    }

    /// A message from the friend's phone to the instance. Returns its id.
    pub async fn friend_sends(&self, body: Value) -> String {
        let mut body = body;
        body["to"] = json!(OWN);
        let sent = self.post(&format!("accounts/{FRIEND}/messages"), body).await;
        sent["whatsapp_id"].as_str().unwrap().to_owned()
    }

    pub async fn open(&self, pairing: Option<PairingMethod>) -> Open {
        self.open_with(pairing, None).await
    }

    pub async fn open_with(&self, pairing: Option<PairingMethod>, proxy: Option<String>) -> Open {
        let said = Arc::new(Recorder::on(Arc::clone(&self.committed)));
        let spec = LinkSpec {
            owner: self.owner,
            proxy,
            pairing,
        };
        let link = self.engine.open(spec, Arc::clone(&said) as _).await.unwrap();
        Open { link, said }
    }

    /// Pairs by QR code and waits until the link is connected.
    pub async fn paired(&self) -> Open {
        let open = self.open(Some(PairingMethod::Qr)).await;
        let code = open.qr().await;
        self.post(&format!("accounts/{OWN}/scan"), json!({"code": code}))
            .await;
        open.connected().await;
        open
    }
}

impl Open {
    pub async fn qr(&self) -> String {
        self.said
            .fact("a QR code", |fact| match fact {
                LinkFact::Qr { code, .. } => Some(code.clone()),
                _ => None,
            })
            .await
    }

    pub async fn connected(&self) -> Account {
        self.said
            .fact("the connection", |fact| match fact {
                LinkFact::Connected(account) => Some(account.clone()),
                _ => None,
            })
            .await
    }
}

/// A text to the friend.
pub fn outgoing(whatsapp_id: &str, text: &str) -> Outgoing {
    Outgoing {
        whatsapp_id: whatsapp_id.to_owned(),
        to: address(FRIEND),
        content: Content::text(text),
        reply_to: None,
    }
}

pub fn address(phone: &str) -> Address {
    phone.parse().unwrap()
}
