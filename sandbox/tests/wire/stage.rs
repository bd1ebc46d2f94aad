//! A sandbox of a test's own, and the calls that control it.

use std::time::Duration;

use roost_sandbox::server::{Sandbox, SandboxConfig, SandboxHandle};
use serde_json::{Value, json};

/// How long a test waits for what must come.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A sandbox and a client of its control API.
pub struct Stage {
    pub sandbox: SandboxHandle,
    http: reqwest::Client,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(SandboxConfig::default()).await
    }

    #[allow(clippy::disallowed_methods, reason = "it calls nothing but the sandbox")]
    pub async fn with(config: SandboxConfig) -> Self {
        Self {
            sandbox: Sandbox::start(config).await.unwrap(),
            http: reqwest::Client::new(),
        }
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("{}/sandbox/v1{path}", self.sandbox.url());
        let answer = self.http.get(url).send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json().await.unwrap_or(Value::Null),
        )
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.post_text(path, body.to_string()).await
    }

    pub async fn post_text(&self, path: &str, body: String) -> (u16, Value) {
        let url = format!("{}/sandbox/v1{path}", self.sandbox.url());
        let answer = self.http.post(url).body(body).send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json().await.unwrap_or(Value::Null),
        )
    }

    pub async fn account(&self, number: &str, echo: bool) {
        let (status, body) = self
            .post(
                "/accounts",
                json!({"phone_number": number, "name": "Test", "echo": echo}),
            )
            .await;
        assert_eq!(status, 201, "{body}");
    }

    /// Has the phone of `from` send a text and returns its id.
    pub async fn phone_sends(&self, from: &str, to: &str, text: &str) -> String {
        let (status, body) = self
            .post(
                &format!("/accounts/{from}/messages"),
                json!({"to": to, "text": text}),
            )
            .await;
        assert_eq!(status, 201, "{body}");
        body["whatsapp_id"].as_str().unwrap().to_owned()
    }

    /// Waits until the phone of `number` has decrypted `count` messages.
    pub async fn phone_has(&self, number: &str, count: usize) -> Vec<Value> {
        eventually(|| async {
            let (_, body) = self.get(&format!("/accounts/{number}/messages")).await;
            let messages = body["data"].as_array().unwrap().clone();
            (messages.len() >= count).then_some(messages)
        })
        .await
    }

    pub async fn stat(&self, name: &str) -> u64 {
        self.get("/stats").await.1[name].as_u64().unwrap()
    }
}

/// Polls until there is an answer.
pub async fn eventually<T, F: Future<Output = Option<T>>>(mut poll: impl FnMut() -> F) -> T {
    tokio::time::timeout(DEADLINE, async {
        loop {
            if let Some(value) = poll().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the condition holds before the deadline")
}
