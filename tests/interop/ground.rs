//! What a test stands on: a gateway beside a sandbox, and a folder for Baileys' credentials.

use reqwest::Method;
use roost_sandbox::server::{Sandbox, SandboxConfig};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::baileys::{Baileys, Place};
use crate::world::{BOB, World, eventually};

/// A number of an account that is linked to Baileys; the world's phones are there besides.
pub const CAROL: &str = "4915550004";

const CA_FILE: &str = "ca.pem";

pub struct Ground {
    pub world: World,
    folder: TempDir,
}

impl Ground {
    pub async fn start() -> Self {
        let ground = Self {
            world: World::start().await,
            folder: tempfile::tempdir().unwrap(),
        };
        let ca = ground.world.sandbox.ca_pem();
        std::fs::write(ground.folder.path().join(CA_FILE), ca).unwrap();
        ground
            .control(
                Method::POST,
                "accounts",
                Some(json!({"phone_number": CAROL, "name": "Carol"})),
            )
            .await;
        ground
    }

    /// Goes over to another sandbox, which has Bob and Carol. The instances of Roost stay behind.
    pub async fn move_to(&mut self, config: SandboxConfig) {
        self.world.sandbox = Sandbox::start(config).await.unwrap();
        let ca = self.world.sandbox.ca_pem();
        std::fs::write(self.folder.path().join(CA_FILE), ca).unwrap();
        for phone in [BOB, CAROL] {
            self.act("accounts", json!({"phone_number": phone, "name": phone}))
                .await;
        }
    }

    pub async fn control(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        self.world.control(method, path, body).await
    }

    pub async fn act(&self, path: &str, body: Value) -> Value {
        self.control(Method::POST, path, Some(body)).await
    }

    pub async fn look(&self, path: &str) -> Value {
        self.control(Method::GET, path, None).await
    }

    /// A file that the sandbox answers with.
    pub async fn bytes(&self, path: &str) -> Vec<u8> {
        let url = format!("{}/sandbox/v1/{path}", self.world.sandbox.url());
        let reply = reqwest::get(url).await.unwrap().error_for_status().unwrap();
        reply.bytes().await.unwrap().to_vec()
    }

    /// Gives the sandbox a file.
    pub async fn put(&self, path: &str, bytes: &[u8]) {
        let url = format!("{}/sandbox/v1/{path}", self.world.sandbox.url());
        let request = reqwest::Client::new().put(url).body(bytes.to_vec());
        request.send().await.unwrap().error_for_status().unwrap();
    }

    /// What the media service answers at an address.
    pub async fn media(&self, url: &str) -> Vec<u8> {
        let ca = self.world.sandbox.ca_pem();
        let ca = reqwest::Certificate::from_pem(ca.as_bytes()).unwrap();
        let client = reqwest::Client::builder().add_root_certificate(ca);
        let reply = client.build().unwrap().get(url).send().await.unwrap();
        let reply = reply.error_for_status().unwrap();
        reply.bytes().await.unwrap().to_vec()
    }

    /// Starts a Baileys under a name of its own and lets it connect.
    pub async fn opened(&self, name: &str) -> Baileys {
        let sandbox = &self.world.sandbox;
        Self::reopened(Place {
            websocket_url: sandbox.websocket_url(),
            media_host: sandbox.media_url().replace("https://", ""),
            ca_file: self.folder.path().join(CA_FILE),
            folder: self.folder.path().to_owned(),
            name: name.to_owned(),
        })
        .await
    }

    /// Starts a Baileys again on what it has kept.
    pub async fn reopened(place: Place) -> Baileys {
        let baileys = Baileys::start(place);
        baileys.call("open", json!([])).await;
        baileys
    }

    /// A Baileys that was linked to an account by QR code and has settled.
    pub async fn linked(&self, name: &str, phone: &str) -> Baileys {
        let baileys = self.opened(name).await;
        let code = baileys.qr().await;
        self.act(&format!("accounts/{phone}/scan"), json!({"code": code}))
            .await;
        baileys.settled().await;
        baileys
    }

    /// The account's companions, as the sandbox shows them.
    pub async fn devices(&self, phone: &str) -> Vec<Value> {
        let account = self.look(&format!("accounts/{phone}")).await;
        account["devices"].as_array().unwrap().clone()
    }

    /// Waits until the account's companions have confirmed everything.
    pub async fn all_confirmed(&self, phone: &str) {
        eventually(&format!("{phone} has confirmed everything"), || async {
            let devices = self.devices(phone).await;
            devices.iter().all(|device| device["queued"] == 0).then_some(())
        })
        .await;
    }

    /// Everything a phone has decrypted.
    pub async fn phone_messages(&self, phone: &str) -> Vec<Value> {
        let page = self.look(&format!("accounts/{phone}/messages?limit=10000")).await;
        page["data"].as_array().unwrap().clone()
    }

    /// A phone's record that passes a test.
    pub async fn phone_record(&self, phone: &str, what: &str, test: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("phone {phone}: {what}"), || async {
            self.phone_messages(phone)
                .await
                .into_iter()
                .find(|record| test(record))
        })
        .await
    }

    /// Asserts that nobody was refused or misunderstood: frames, handshakes, queries and ciphertexts.
    pub async fn end(self) {
        self.end_despite(&[]).await;
    }

    /// The same, where some of that was meant to happen.
    pub async fn end_despite(self, expected: &[&str]) {
        let stats = self.look("stats").await;
        for counter in [
            "handshakes_failed",
            "protocol_errors",
            "unknown_queries",
            "messages_refused",
            "phone_decrypt_failures",
            "dropped",
        ] {
            if !expected.contains(&counter) {
                assert_eq!(stats[counter], 0, "{counter} in {stats}");
            }
        }
        let mut world = self.world;
        world.stop_app().await;
    }
}
