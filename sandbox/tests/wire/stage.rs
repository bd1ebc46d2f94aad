//! A sandbox of a test's own, and the calls that control it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use roost_sandbox::server::{PersistError, Sandbox, SandboxConfig, SandboxError, SandboxHandle};
use roost_sandbox::wire::noise::verify_chain;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a test waits for what must come.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A sandbox and a client of its control API.
pub struct Stage {
    place: Place,
    /// The key the server showed first: it keeps it.
    server_key: OnceLock<[u8; 32]>,
    http: reqwest::Client,
}

enum Place {
    Here(SandboxHandle),
    Process(Process),
}

/// The program itself, and what it keeps.
struct Process {
    child: Mutex<Child>,
    url: String,
    folder: TempDir,
}

impl Process {
    fn start(folder: TempDir) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_roost-sandbox"))
            .args([
                "--listen",
                "127.0.0.1:0",
                "--media-listen",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut said).unwrap();
        let (_, url) = said.trim().split_once("listens on ").unwrap();
        Self {
            child: Mutex::new(child),
            url: url.to_owned(),
            folder,
        }
    }

    fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(SandboxConfig::default()).await
    }

    /// Waits for a data folder that is still locked: a process that another test is just starting has a
    /// copy of the lock, until it runs its own program.
    pub async fn with(config: SandboxConfig) -> Self {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match Sandbox::start(config.clone()).await {
                Ok(sandbox) => return Self::at(Place::Here(sandbox)),
                Err(SandboxError::State(PersistError::InUse { .. })) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The sandbox as a process of its own, with a data folder.
    pub fn process() -> Self {
        Self::at(Place::Process(Process::start(tempfile::tempdir().unwrap())))
    }

    #[allow(clippy::disallowed_methods, reason = "it calls nothing but the sandbox")]
    fn at(place: Place) -> Self {
        Self {
            place,
            server_key: OnceLock::new(),
            http: reqwest::Client::new(),
        }
    }

    /// The sandbox of this process.
    pub fn here(&self) -> &SandboxHandle {
        let Place::Here(sandbox) = &self.place else {
            panic!("the sandbox is another process")
        };
        sandbox
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&self) {
        let Place::Process(process) = &self.place else {
            panic!("only a process can be killed")
        };
        process.kill();
    }

    /// Starts the process again, after it was killed.
    pub fn restart(&mut self) {
        let Place::Process(process) = &mut self.place else {
            panic!("only a process can be started again")
        };
        let folder = std::mem::replace(&mut process.folder, tempfile::tempdir().unwrap());
        *process = Process::start(folder);
    }

    pub async fn shutdown(self) {
        if let Place::Here(sandbox) = self.place {
            sandbox.shutdown().await;
        }
    }

    pub fn url(&self) -> String {
        match &self.place {
            Place::Here(sandbox) => sandbox.url(),
            Place::Process(process) => process.url.clone(),
        }
    }

    pub fn websocket_url(&self) -> String {
        format!("{}/ws/chat", self.url().replacen("http", "ws", 1))
    }

    /// The server's key is certified, where that can be known, and never another one.
    pub fn check_server(&self, chain: &[u8], key: &[u8; 32]) {
        if let Place::Here(sandbox) = &self.place {
            verify_chain(chain, &sandbox.root_key(), key).unwrap();
        }
        assert_eq!(self.server_key.get_or_init(|| *key), key);
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let url = format!("{}/sandbox/v1{path}", self.url());
        let answer = self.http.get(url).send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json().await.unwrap_or(Value::Null),
        )
    }

    /// The body as it is.
    pub async fn get_bytes(&self, path: &str) -> (u16, Vec<u8>) {
        let url = format!("{}/sandbox/v1{path}", self.url());
        let answer = self.http.get(url).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.bytes().await.unwrap().to_vec())
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.post_text(path, body.to_string()).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/sandbox/v1{path}", self.url());
        let request = self.http.patch(url).body(body.to_string());
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json().await.unwrap_or(Value::Null),
        )
    }

    pub async fn post_text(&self, path: &str, body: String) -> (u16, Value) {
        self.try_post(path, body).await.unwrap()
    }

    /// `None` when the sandbox is gone before it has answered.
    pub async fn try_post(&self, path: &str, body: String) -> Option<(u16, Value)> {
        let url = format!("{}/sandbox/v1{path}", self.url());
        let answer = self.http.post(url).body(body).send().await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.ok()?;
        Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        let url = format!("{}/sandbox/v1{path}", self.url());
        let answer = self.http.delete(url).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    pub async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        self.put_bytes(path, body.to_string().into_bytes()).await
    }

    pub async fn put_bytes(&self, path: &str, body: Vec<u8>) -> (u16, Value) {
        let url = format!("{}/sandbox/v1{path}", self.url());
        let answer = self.http.put(url).body(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or(Value::Null))
    }

    /// Makes a fault and returns its id.
    pub async fn fault(&self, body: Value) -> String {
        let (status, answer) = self.post("/faults", body).await;
        assert_eq!(status, 201, "{answer}");
        answer["id"].as_str().unwrap().to_owned()
    }

    /// Makes a group of the first of `numbers` with the others, and returns its address.
    pub async fn group(&self, numbers: &[&str], addressing: &str) -> String {
        let body = json!({
            "creator": numbers[0], "subject": "Band", "participants": &numbers[1..], "addressing": addressing,
        });
        let (status, group) = self.post("/groups", body).await;
        assert_eq!(status, 201, "{group}");
        group["group_id"].as_str().unwrap().to_owned()
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
