//! The ground a fault test stands on: a database, a sandbox, a gateway, instances that are paired, and
//! calls to both APIs.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use roost_sandbox::server::{Sandbox, SandboxConfig, SandboxHandle};
use roost_store::testing::{Durability, PostgresServer};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::gateway::{Gateway, Launch, PATIENCE, Ready};
use crate::proxy::Proxy;

/// A paired instance and the phone it chats with.
#[derive(Debug, Clone)]
pub struct Line {
    pub instance: String,
    /// Number of the paired account, digits only.
    pub phone: String,
    /// Number of the other party's phone, digits only.
    pub peer: String,
}

/// Where the gateway keeps what it must not lose.
pub enum Database {
    Sqlite,
    Postgres(Mutex<PostgresServer>),
}

impl Database {
    /// A PostgreSQL server of this test's own.
    pub fn postgres() -> Self {
        // What is killed is a process and not the machine: what was written survives without fsync.
        let server = PostgresServer::start_private(Durability::None).unwrap();
        Self::Postgres(Mutex::new(server))
    }

    /// Its URL, unless it is a file.
    pub fn url(&self) -> Option<String> {
        match self {
            Self::Sqlite => None,
            Self::Postgres(server) => Some(server.lock().unwrap().url().to_owned()),
        }
    }
}

pub struct Ground {
    pub database: Database,
    pub sandbox: SandboxHandle,
    pub proxy: std::sync::Arc<Proxy>,
    pub folder: TempDir,
    pub client: reqwest::Client,
}

impl Ground {
    pub async fn new(database: Database) -> Self {
        Self::with(database, SandboxConfig::default()).await
    }

    pub async fn with(database: Database, config: SandboxConfig) -> Self {
        let sandbox = Sandbox::start(config).await.unwrap();
        let proxy = Proxy::start(sandbox.addr()).await;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(20))
            // A connection that the other side is about to close for being idle is not used again.
            .pool_idle_timeout(Duration::from_secs(2))
            .build()
            .unwrap();
        Self {
            database,
            sandbox,
            proxy,
            folder: tempfile::tempdir().unwrap(),
            client,
        }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// How to start a gateway that reaches the sandbox through the proxy.
    pub fn launch(&self, data_dir: PathBuf, wrapper: &[&str]) -> Launch {
        Launch {
            data_dir,
            sandbox_url: self.proxy.url(),
            keys: None,
            store_url: self.database.url(),
            files: self.folder.path().to_owned(),
            wrapper: wrapper.iter().map(|&word| word.to_owned()).collect(),
            environment: Vec::new(),
        }
    }

    pub async fn gateway(&self) -> Gateway {
        Gateway::start(self.launch(self.data_dir(), &[])).await
    }

    /// Calls the sandbox's control API, past the proxy.
    pub async fn control(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self
            .client
            .request(method, format!("{}/sandbox/v1{path}", self.sandbox.url()));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap()
        }
    }

    /// Everything that a phone received.
    pub async fn received_by(&self, phone: &str) -> Vec<Value> {
        let mut received = Vec::new();
        let mut path = format!("/accounts/{phone}/messages");
        loop {
            let page = self.control(Method::GET, &path, None).await;
            let rows = page["data"].as_array().unwrap();
            received.extend(rows.iter().filter(|row| row["direction"] == "received").cloned());
            let Some(last) = page["next_cursor"].as_str() else {
                return received;
            };
            path = format!("/accounts/{phone}/messages?after={last}");
        }
    }

    /// Makes an account and its peer, creates an instance and pairs it by QR code.
    pub async fn pair(&self, ready: &Ready, number: u32) -> Line {
        let (phone, peer) = (format!("49151100{number:04}"), format!("49151200{number:04}"));
        for (digits, name) in [(&phone, "Shop"), (&peer, "Customer")] {
            self.control(
                Method::POST,
                "/accounts",
                Some(json!({"phone_number": digits, "name": name})),
            )
            .await;
        }
        let api = Api {
            client: &self.client,
            ready,
        };
        let name = format!("line {number}");
        let created = api
            .must(Method::POST, "/v1/instances", Some(json!({"name": name})))
            .await;
        let instance = created["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/instances/{instance}");
        api.must(
            Method::POST,
            &format!("{path}/connect"),
            Some(json!({"method": "qr"})),
        )
        .await;
        let code = api
            .until(&format!("{path}/qr"), |status, body| {
                (status == StatusCode::OK).then(|| body["code"].as_str().unwrap().to_owned())
            })
            .await;
        self.control(
            Method::POST,
            &format!("/accounts/{phone}/scan"),
            Some(json!({"code": code})),
        )
        .await;
        api.until(&path, |_, body| (body["state"] == "connected").then_some(()))
            .await;
        Line {
            instance,
            phone,
            peer,
        }
    }
}

/// Calls to the gateway as its tenant.
pub struct Api<'a> {
    pub client: &'a reqwest::Client,
    pub ready: &'a Ready,
}

impl Api<'_> {
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        idempotency_key: Option<&str>,
    ) -> reqwest::Result<(StatusCode, Value)> {
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.ready.api))
            .bearer_auth(&self.ready.api_key);
        if let Some(key) = idempotency_key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.header("accept", "application/json").send().await?;
        let status = response.status();
        let text = response.text().await?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// A call that has to succeed.
    pub async fn must(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let (status, answer) = self.call(method, path, body, None).await.unwrap();
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// Asks again and again until the answer satisfies, or patience ends.
    pub async fn until<T>(&self, path: &str, wanted: impl Fn(StatusCode, &Value) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.call(Method::GET, path, None, None).await;
            if let Ok((status, body)) = &answer
                && let Some(found) = wanted(*status, body)
            {
                return found;
            }
            assert!(Instant::now() < deadline, "{path} never satisfied: {answer:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The tenant's whole event log.
    pub async fn events(&self) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let after = events.last().map_or(0, |event| event["seq"].as_i64().unwrap());
            let page = self
                .must(Method::GET, &format!("/v1/events?after={after}&limit=500"), None)
                .await;
            let rows = page["data"].as_array().unwrap();
            if rows.is_empty() {
                return events;
            }
            events.extend(rows.iter().cloned());
        }
    }
}
