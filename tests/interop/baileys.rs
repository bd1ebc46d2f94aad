//! A Baileys in a process of its own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

/// How long Baileys may take for anything, on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Status of a message as Baileys counts it.
pub const SERVER_ACK: u64 = 2;
pub const DELIVERED: u64 = 3;
pub const READ: u64 = 4;

/// Where a Baileys connects, and where it keeps its credentials and its log.
#[derive(Debug, Clone)]
pub struct Place {
    pub websocket_url: String,
    /// `HOST:PORT` of the media service, and the certificate that vouches for it.
    pub media_host: String,
    pub ca_file: PathBuf,
    pub folder: PathBuf,
    pub name: String,
}

impl Place {
    /// Forgets what Baileys has kept of some kind, such as `session`. Not to be done while it runs.
    pub fn forget(&self, kind: &str) {
        let mut forgotten = 0;
        for entry in std::fs::read_dir(self.credentials()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with(&format!("{kind}-")) {
                std::fs::remove_file(entry.path()).unwrap();
                forgotten += 1;
            }
        }
        assert!(forgotten > 0, "there is no {kind} to forget");
    }

    fn credentials(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }
}

/// A running client. What it tells is kept from the start of its process.
pub struct Baileys {
    place: Place,
    child: Child,
    process: u32,
    stdin: tokio::sync::Mutex<Option<ChildStdin>>,
    lines: Arc<Mutex<Lines>>,
    /// Changes with every line.
    heard: watch::Receiver<()>,
    calls: AtomicU64,
}

#[derive(Debug, Default)]
struct Lines {
    events: Vec<(String, Value)>,
    answers: HashMap<u64, Value>,
    ended: bool,
}

impl Baileys {
    /// Starts the process; it connects when it is told to.
    pub fn start(place: Place) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
        assert!(
            here.join("node_modules").is_dir(),
            "the packages of the client are missing: run `npm ci --prefix tests/interop` first"
        );
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(place.log())
            .unwrap();
        let mut child = Command::new("node")
            .arg(here.join("client/main.js"))
            .arg(place.credentials())
            .arg(&place.websocket_url)
            .arg(&place.media_host)
            .env("NODE_EXTRA_CA_CERTS", &place.ca_file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("node does not start: the interop test needs Node 20 or later");
        let stdin = tokio::sync::Mutex::new(child.stdin.take());
        let lines = Arc::new(Mutex::new(Lines::default()));
        let (hear, heard) = watch::channel(());
        tokio::spawn(listen(child.stdout.take().unwrap(), lines.clone(), hear));
        Self {
            place,
            process: child.id().unwrap_or_default(),
            child,
            stdin,
            lines,
            heard,
            calls: AtomicU64::new(1),
        }
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Calls a function of the client or of Baileys, which must not fail.
    pub async fn call(&self, call: &str, arguments: Value) -> Value {
        self.try_call(call, arguments)
            .await
            .unwrap_or_else(|error| panic!("{}: {call}: {error}", self.place.name))
    }

    /// The same, with the error that Baileys gives.
    pub async fn try_call(&self, call: &str, arguments: Value) -> Result<Value, String> {
        let id = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut line = json!({"id": id, "call": call, "arguments": arguments}).to_string();
        line.push('\n');
        self.stdin
            .lock()
            .await
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .await
            .unwrap();
        let mut answer = self
            .until(&format!("an answer to {call}"), |lines| lines.answers.remove(&id))
            .await;
        match answer.get("error") {
            None => Ok(answer["value"].take()),
            Some(error) => Err(error.as_str().unwrap().to_owned()),
        }
    }

    /// Waits for a fact about what was told.
    async fn until<T>(&self, what: &str, mut find: impl FnMut(&mut Lines) -> Option<T>) -> T {
        let mut heard = self.heard.clone();
        let found = async {
            loop {
                heard.mark_unchanged();
                {
                    let mut lines = self.lines.lock().unwrap();
                    if let Some(found) = find(&mut lines) {
                        return Some(found);
                    }
                    if lines.ended {
                        return None;
                    }
                }
                // An error means that the last line was read; it is looked at once more.
                let _ = heard.changed().await;
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(Some(found)) => found,
            Ok(None) => panic!("{} ended before: {what}", self.place.name),
            Err(_) => panic!("{}: in vain: {what}", self.place.name),
        }
    }

    /// The first event of a kind for which a test holds, from the start of the process on.
    pub async fn event(&self, kind: &str, test: impl Fn(&Value) -> bool) -> Value {
        self.until(&format!("event {kind}"), |lines| {
            values(&lines.events, kind).find(|value| test(value)).cloned()
        })
        .await
    }

    /// Waits for a fact about all events of a kind.
    pub async fn until_events<T>(
        &self,
        what: &str,
        kind: &str,
        mut find: impl FnMut(&[&Value]) -> Option<T>,
    ) -> T {
        self.until(what, |lines| {
            find(&values(&lines.events, kind).collect::<Vec<_>>())
        })
        .await
    }

    /// A message this client has sent or received, by what it says.
    pub async fn message(&self, what: &str, test: impl Fn(&Value) -> bool) -> Value {
        self.until(what, |lines| {
            let mut messages = messages(&lines.events).into_iter();
            messages.find(|message| test(message)).cloned()
        })
        .await
    }

    /// A text this client has sent or received.
    pub async fn has(&self, text: &str) -> Value {
        self.message(&format!("message {text:?}"), |message| {
            text_of(message) == Some(text)
        })
        .await
    }

    /// All texts this client has received, in order.
    pub fn texts(&self) -> Vec<String> {
        let lines = self.lines.lock().unwrap();
        messages(&lines.events)
            .iter()
            .filter(|message| message["key"]["fromMe"] == false)
            .filter_map(|message| text_of(message).map(str::to_owned))
            .collect()
    }

    /// Sends a text; its id comes back.
    pub async fn send_text(&self, to: &str, text: &str) -> String {
        self.send(to, json!({"text": text})).await
    }

    /// Sends some content, as Baileys describes it; its id comes back.
    pub async fn send(&self, to: &str, content: Value) -> String {
        let sent = self.call("sendMessage", json!([address(to), content])).await;
        sent["key"]["id"].as_str().unwrap().to_owned()
    }

    /// Waits until a message has a status, or one beyond.
    pub async fn status_becomes(&self, id: &str, status: u64) {
        self.becomes(id, |message| status_of(&message["status"]) >= Some(status))
            .await;
    }

    /// Waits for something about a message: told with it, or of it afterwards. (What Baileys tells together
    /// it tells as one.)
    pub async fn becomes(&self, id: &str, test: impl Fn(&Value) -> bool) -> Value {
        self.until(&format!("a change of {id}"), |lines| {
            let updates = values(&lines.events, "messages.update")
                .flat_map(|updates| updates.as_array().unwrap())
                .filter(|update| update["key"]["id"] == id)
                .map(|update| &update["update"]);
            let in_histories = values(&lines.events, "messaging-history.set")
                .flat_map(|history| history["messages"].as_array().unwrap());
            let told = messages(&lines.events).into_iter().chain(in_histories);
            let told = told.filter(|message| message["key"]["id"] == id);
            updates.chain(told).find(|value| test(value)).cloned()
        })
        .await
    }

    /// Waits until a member has received or read a message to a group: `receiptTimestamp` or `readTimestamp`.
    pub async fn receipted(&self, id: &str, kind: &str) {
        self.until(&format!("{kind} of {id}"), |lines| {
            let updates = values(&lines.events, "message-receipt.update")
                .flat_map(|updates| updates.as_array().unwrap())
                .filter(|update| update["key"]["id"] == id)
                .map(|update| &update["receipt"]);
            let told = messages(&lines.events).into_iter();
            let told = told
                .filter(|message| message["key"]["id"] == id)
                .filter_map(|message| message["userReceipt"].as_array())
                .flatten();
            updates
                .chain(told)
                .find(|receipt| !receipt[kind].is_null())
                .map(|_| ())
        })
        .await;
    }

    /// The QR text that is shown to be scanned.
    pub async fn qr(&self) -> String {
        let update = self
            .event("connection.update", |update| update["qr"].is_string())
            .await;
        update["qr"].as_str().unwrap().to_owned()
    }

    /// Waits until a newly linked client has what the phone sends it first.
    pub async fn settled(&self) {
        self.opened(1).await;
        self.event("settled", |_| true).await;
    }

    /// How often the connection was opened since the process began.
    pub fn openings(&self) -> usize {
        openings(&self.lines.lock().unwrap().events)
    }

    /// Waits until the connection was opened this many times since the process began.
    pub async fn opened(&self, times: usize) {
        self.until(&format!("connection {times}"), |lines| {
            (openings(&lines.events) >= times).then_some(())
        })
        .await;
    }

    /// Why the connection was closed, other than for the login that follows pairing.
    pub async fn closed(&self) -> u64 {
        self.closed_again(1).await
    }

    /// The same for a later time, counted from 1.
    pub async fn closed_again(&self, time: usize) -> u64 {
        self.until(&format!("closing {time}"), |lines| {
            let mut codes = values(&lines.events, "connection.update")
                .filter(|update| update["connection"] == "close")
                .filter_map(|update| update["code"].as_u64())
                .filter(|code| *code != 515);
            codes.nth(time - 1)
        })
        .await
    }

    /// Ends the process as its user would, and gives back where it was.
    pub async fn quit(mut self) -> Place {
        drop(self.stdin.lock().await.take());
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let status = ended.expect("the client does not end").unwrap();
        assert!(status.success(), "the client ended with {status}");
        self.place.clone()
    }
}

impl Drop for Baileys {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let name = &self.place.name;
        if let Ok(lines) = self.lines.lock() {
            eprintln!("--- the last events of {name}");
            let events = &lines.events;
            for (event, value) in &events[events.len().saturating_sub(20)..] {
                eprintln!("{event} {value:.600}");
            }
        }
        // The test's folder goes; what Baileys said is kept for whoever has to find out why.
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("baileys-{}.log", self.process));
        let _ = std::fs::copy(self.place.log(), &kept);
        eprintln!("--- the end of {}", kept.display());
        let log = std::fs::read_to_string(&kept).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(30).collect();
        for line in lines.into_iter().rev() {
            eprintln!("{line:.600}");
        }
    }
}

/// Reads what the process tells, to the end.
async fn listen(stdout: ChildStdout, lines: Arc<Mutex<Lines>>, hear: watch::Sender<()>) {
    let mut reader = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        let mut line: Value = serde_json::from_str(&line).unwrap();
        {
            let mut lines = lines.lock().unwrap();
            if let Some(id) = line["id"].as_u64() {
                lines.answers.insert(id, line);
            } else {
                let event = line["event"].as_str().unwrap().to_owned();
                lines.events.push((event, line["value"].take()));
            }
        }
        hear.send_replace(());
    }
    lines.lock().unwrap().ended = true;
}

/// All events of a kind.
fn values<'a>(events: &'a [(String, Value)], kind: &str) -> impl Iterator<Item = &'a Value> {
    let of_kind = events.iter().filter(move |(name, _)| name == kind);
    of_kind.map(|(_, value)| value)
}

fn openings(events: &[(String, Value)]) -> usize {
    let updates = values(events, "connection.update");
    updates.filter(|update| update["connection"] == "open").count()
}

/// Every message among the events.
fn messages(events: &[(String, Value)]) -> Vec<&Value> {
    values(events, "messages.upsert")
        .flat_map(|event| event["messages"].as_array().unwrap())
        .collect()
}

fn status_of(value: &Value) -> Option<u64> {
    match value.as_str() {
        Some("SERVER_ACK") => Some(SERVER_ACK),
        Some("DELIVERY_ACK") => Some(DELIVERED),
        Some("READ") => Some(READ),
        Some(_) => None,
        None => value.as_u64(),
    }
}

pub fn text_of(message: &Value) -> Option<&str> {
    let content = &message["message"];
    let text = &content["extendedTextMessage"]["text"];
    content["conversation"].as_str().or_else(|| text.as_str())
}

/// A message that a client has sent or received, as its calls take it.
pub fn named(id: &str) -> Value {
    json!({"type": "Message", "data": id})
}

/// The address of a phone number; other addresses stay what they are.
pub fn address(to: &str) -> String {
    if to.contains('@') {
        to.to_owned()
    } else {
        format!("{to}@s.whatsapp.net")
    }
}
