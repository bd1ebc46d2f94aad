//! What nodes of one cluster hear of each other without being asked: events, revoked keys, suspended and
//! deleted tenants. With the link in order at once, and after it was cut all the same.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::post;
use futures::{SinkExt as _, StreamExt as _};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::task::AbortOnDropHandle;

use crate::gateway::{Gateway, Launch, PATIENCE};
use crate::ground::{Api, Database, Ground, Line};
use crate::proxy::Proxy;

/// Shorter than the time after which a node would look by itself.
const PROMPT: Duration = Duration::from_secs(12);
/// Numbers, at least and at most.
const LINES_MIN: usize = 4;
const LINES_MAX: u32 = 40;
const COOKIE: &str = "of one test and no other";

/// How nodes hear of each other.
#[derive(Clone, Copy)]
enum Hears {
    /// By notes: they look so seldom that no test could wait for it.
    Notes,
    /// By looking: the link between them can be cut.
    Looks,
}

impl Hears {
    fn settings(self) -> [(&'static str, &'static str); 2] {
        let (poll, cache) = match self {
            Self::Notes => ("60s", "10m"),
            Self::Looks => ("200ms", "1s"),
        };
        [("ROOST__CLUSTER__POLL", poll), ("ROOST__KEYS__CACHE_FOR", cache)]
    }
}

struct Stage {
    ground: Ground,
    a: Gateway,
    b: Gateway,
    /// Before node b's listener for other nodes.
    between: Arc<Proxy>,
    lines: Vec<Line>,
}

/// A port that nobody has at this moment.
async fn free_port() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

async fn node(ground: &Ground, name: &str, hears: Hears, more: &[(&str, &str)]) -> Gateway {
    let files: PathBuf = ground.folder.path().join(name);
    std::fs::create_dir_all(&files).unwrap();
    let mut launch = Launch {
        files,
        ..ground.launch(ground.data_dir(), &[])
    };
    launch.set_all(&[
        ("ROOST__CLUSTER__NODE", name),
        ("ROOST__CLUSTER__COOKIE", COOKIE),
        ("ROOST__CLUSTER__LISTEN", "127.0.0.1:0"),
        ("ROOST__CLUSTER__LEASE", "4s"),
        ("ROOST__CLUSTER__STABLE_FOR", "1s"),
        ("ROOST__CLUSTER__MOVES_MAX", "1024"),
    ]);
    launch.set_all(&hears.settings());
    launch.set_all(more);
    Gateway::start(launch).await
}

impl Stage {
    /// Two nodes, and numbers of which each runs some.
    async fn new(hears: Hears) -> Self {
        let ground = Ground::new(Database::postgres()).await;
        let a = node(&ground, "a", hears, &[]).await;
        let listen = free_port().await;
        let between = Proxy::start(listen).await;
        let address = between.url().replace("http://", "");
        let places = [
            ("ROOST__CLUSTER__LISTEN", listen.to_string()),
            ("ROOST__CLUSTER__ADDRESS", address),
        ];
        let places = places.each_ref().map(|(name, value)| (*name, value.as_str()));
        let b = node(&ground, "b", hears, &places).await;
        let mut stage = Self {
            ground,
            a,
            b,
            between,
            lines: Vec::new(),
        };
        // Nobody knows whose a number will be.
        for number in 0..LINES_MAX {
            let line = stage.ground.pair(&stage.a.ready, 300 + number).await;
            stage.lines.push(line);
            let sessions = stage.sessions().await;
            if stage.lines.len() >= LINES_MIN && !sessions.contains(&0) {
                return stage;
            }
        }
        panic!("one node runs all numbers");
    }

    fn api_a(&self) -> Api<'_> {
        self.api(&self.a)
    }

    fn api_b(&self) -> Api<'_> {
        self.api(&self.b)
    }

    fn api<'a>(&'a self, node: &'a Gateway) -> Api<'a> {
        let (client, ready) = (&self.ground.client, &node.ready);
        Api { client, ready }
    }

    /// Calls a node as the operator.
    async fn operator(&self, node: &Gateway, method: Method, path: &str, body: Option<Value>) -> Value {
        let url = format!("{}{path}", node.ready.api);
        let key = &node.ready.operator_key;
        let mut request = self.ground.client.request(method, url).bearer_auth(key);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// How many sessions each node runs.
    async fn sessions(&self) -> [usize; 2] {
        let mut counts = [0, 0];
        for (count, node, name) in [(0, &self.a, "a"), (1, &self.b, "b")] {
            let path = "/v1/operator/actors?kind=instance";
            let actors = self.operator(node, Method::GET, path, None).await;
            let all = actors["data"].as_array().unwrap();
            counts[count] = all.iter().filter(|actor| actor["node"] == name).count();
        }
        counts
    }

    async fn until(&self, what: &str, wanted: impl Fn([usize; 2]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sessions = self.sessions().await;
            if wanted(sessions) {
                return;
            }
            assert!(Instant::now() < deadline, "{what}: {sessions:?}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn all_connected(&self, api: &Api<'_>) {
        for line in &self.lines {
            let path = format!("/v1/instances/{}", line.instance);
            let connected = |_, body: &Value| (body["state"] == "connected").then_some(());
            api.until(&path, connected).await;
        }
    }

    /// The demo's tenant, as the operator names it.
    async fn tenant(&self) -> String {
        let tenants = self
            .operator(&self.a, Method::GET, "/v1/operator/tenants", None)
            .await;
        let id = tenants["data"][0]["id"].as_str().unwrap();
        format!("/v1/operator/tenants/{id}")
    }

    /// A further key of the tenant: its path and its text.
    async fn key(&self) -> (String, String) {
        let body = json!({"name": "x", "scopes": ["*"]});
        let made = self.api_a().must(Method::POST, "/v1/api-keys", Some(body)).await;
        let path = format!("/v1/api-keys/{}", made["id"].as_str().unwrap());
        (path, made["key"].as_str().unwrap().to_owned())
    }

    /// What a node answers to this key.
    async fn answers(&self, node: &Gateway, key: &str) -> StatusCode {
        let url = format!("{}/v1/instances", node.ready.api);
        let request = self.ground.client.get(url).bearer_auth(key);
        request.send().await.unwrap().status()
    }

    async fn until_answered(&self, node: &Gateway, key: &str, wanted: StatusCode) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.answers(node, key).await;
            if status == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{status} and not {wanted}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn publish(&self, node: &Gateway, number: usize) {
        let body = json!({"type": "custom.note", "data": {"number": number}});
        self.api(node).must(Method::POST, "/v1/events", Some(body)).await;
    }
}

/// A stream of events whose numbers are noted as they come.
struct Tail {
    seqs: mpsc::UnboundedReceiver<i64>,
    reading: JoinHandle<()>,
}

impl Tail {
    /// As server-sent events.
    async fn sse(stage: &Stage, node: &Gateway, key: &str) -> Self {
        let request = stage.ground.client.get(format!("{}/v1/events", node.ready.api));
        let request = request.bearer_auth(key).header("accept", "text/event-stream");
        let response = request.timeout(Duration::from_secs(600)).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut chunks = response.bytes_stream();
        // The greeting says that it is open.
        chunks.next().await.unwrap().unwrap();
        let (tell, seqs) = mpsc::unbounded_channel();
        let reading = tokio::spawn(async move {
            let mut text = String::new();
            while let Some(Ok(chunk)) = chunks.next().await {
                text.push_str(std::str::from_utf8(&chunk).unwrap());
                while let Some((line, rest)) = text.split_once('\n') {
                    if let Some(id) = line.strip_prefix("id: ") {
                        let _ = tell.send(id.parse().unwrap());
                    }
                    text = rest.to_owned();
                }
            }
        });
        Self { seqs, reading }
    }

    /// Over a WebSocket.
    async fn socket(node: &Gateway) -> Self {
        use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
        let url = format!("{}/v1/events/ws", node.ready.api.replace("http://", "ws://"));
        let mut request = url.into_client_request().unwrap();
        let key = node.ready.api_key.parse().unwrap();
        request.headers_mut().insert("x-api-key", key);
        let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let subscribe = json!({"type": "subscribe"}).to_string();
        socket.send(Message::text(subscribe)).await.unwrap();
        let frame = socket.next().await.unwrap().unwrap().into_text().unwrap();
        assert!(frame.contains("subscribed"), "{frame}");
        let (tell, seqs) = mpsc::unbounded_channel();
        let reading = tokio::spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                let Message::Text(text) = message else { continue };
                let frame: Value = serde_json::from_str(&text).unwrap();
                if frame["type"] == "event" {
                    let _ = tell.send(frame["event"]["seq"].as_i64().unwrap());
                }
            }
        });
        Self { seqs, reading }
    }

    /// Reads on to this event: none is missing, none comes twice, all come in order.
    async fn reaches(&mut self, last: i64, within: Duration) {
        let deadline = Instant::now() + within;
        let mut before = None;
        while before.is_none_or(|seq| seq < last) {
            let left = deadline.saturating_duration_since(Instant::now());
            let next = timeout(left, self.seqs.recv()).await;
            let seq = next.unwrap_or_else(|_| panic!("{before:?} of {last} came in time"));
            let seq = seq.expect("the stream ended");
            assert!(
                before.is_none_or(|before| seq == before + 1),
                "{seq} after {before:?}"
            );
            before = Some(seq);
        }
    }

    async fn ends(self) {
        let ended = timeout(PATIENCE, self.reading).await;
        ended.expect("the stream goes on").unwrap();
    }
}

/// Counts what is posted to it, by path.
struct Counter {
    url: String,
    counts: Arc<Mutex<HashMap<String, usize>>>,
    _server: AbortOnDropHandle<()>,
}

type Counts = Arc<Mutex<HashMap<String, usize>>>;

impl Counter {
    async fn start() -> Self {
        async fn count(State(counts): State<Counts>, Path(of): Path<String>) {
            *counts.lock().unwrap().entry(of).or_default() += 1;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let counts = Counts::default();
        let router = Router::new()
            .route("/{of}", post(count))
            .with_state(counts.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            url,
            counts,
            _server: AbortOnDropHandle::new(server),
        }
    }

    async fn reach(&self, hooks: usize, count: usize, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            let counts = self.counts.lock().unwrap().clone();
            if counts.len() == hooks && counts.values().all(|&posted| posted >= count) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{count} to each of {hooks}: {counts:?}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Makes webhooks, of which each node owns some.
async fn subscribe(stage: &Stage, counter: &Counter, hooks: usize) {
    for hook in 0..hooks {
        let body = json!({"url": format!("{}/{hook}", counter.url), "events": ["custom.note"]});
        stage.api_a().must(Method::POST, "/v1/webhooks", Some(body)).await;
    }
}

/// Events that are made on both nodes at the same time.
async fn traffic(stage: &Stage, count: usize) {
    let publish = |node| async move {
        for number in 0..count {
            stage.publish(node, number).await;
        }
    };
    let receive = async {
        for number in 0..count / 10 {
            for line in &stage.lines {
                let body = json!({"to": line.phone, "text": format!("text {number}")});
                let path = format!("/accounts/{}/messages", line.peer);
                stage.ground.control(Method::POST, &path, Some(body)).await;
            }
        }
    };
    tokio::join!(publish(&stage.a), publish(&stage.b), receive);
    let expected = stage.lines.len() * (count / 10);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let events = stage.api_a().events().await;
        let received = events.iter().filter(|event| event["type"] == "message.received");
        let received = received.count();
        if received >= expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{received} of {expected} messages came"
        );
        sleep(Duration::from_millis(50)).await;
    }
}

async fn last_seq(stage: &Stage) -> i64 {
    let events = stage.api_a().events().await;
    events.last().unwrap()["seq"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_and_webhooks_of_every_node_have_the_events_of_all() {
    let stage = Stage::new(Hears::Notes).await;
    let counter = Counter::start().await;
    subscribe(&stage, &counter, 8).await;
    let key = stage.a.ready.api_key.clone();
    let mut tails = vec![
        Tail::sse(&stage, &stage.a, &key).await,
        Tail::sse(&stage, &stage.b, &key).await,
        Tail::socket(&stage.a).await,
        Tail::socket(&stage.b).await,
    ];
    traffic(&stage, 60).await;
    // A last one on each node, after everything else.
    stage.publish(&stage.b, 0).await;
    stage.publish(&stage.a, 0).await;
    let last = last_seq(&stage).await;
    for tail in &mut tails {
        tail.reaches(last, PROMPT).await;
    }
    counter.reach(8, 122, PROMPT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_tenants_that_are_changed_on_one_node_are_changed_on_the_other() {
    let stage = Stage::new(Hears::Notes).await;
    let (path, key) = stage.key().await;
    let (a, b) = (&stage.a, &stage.b);
    assert_eq!(stage.answers(b, &key).await, StatusCode::OK);
    let tail = Tail::sse(&stage, b, &key).await;
    stage.api_a().must(Method::DELETE, &path, None).await;
    tail.ends().await;
    stage.until_answered(b, &key, StatusCode::UNAUTHORIZED).await;

    let tenant = stage.tenant().await;
    let key = a.ready.api_key.clone();
    let tail = Tail::sse(&stage, a, &key).await;
    let suspend = Some(json!({"suspended": true}));
    stage.operator(b, Method::PATCH, &tenant, suspend).await;
    tail.ends().await;
    stage.until_answered(a, &key, StatusCode::FORBIDDEN).await;
    stage.until("nothing runs", |sessions| sessions == [0, 0]).await;
    let wake = Some(json!({"suspended": false}));
    stage.operator(a, Method::PATCH, &tenant, wake).await;
    stage.until_answered(b, &key, StatusCode::OK).await;
    stage
        .until("each node runs a part", |[a, b]| a > 0 && b > 0)
        .await;
    stage.all_connected(&stage.api_b()).await;

    deleted(&stage, &tenant).await;
}

/// Deletes the tenant through one node, and waits until the other says that it is gone.
async fn deleted(stage: &Stage, tenant: &str) {
    stage.operator(&stage.b, Method::DELETE, tenant, None).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let row = stage.operator(&stage.a, Method::GET, tenant, None).await;
        if row["state"] == "deleted" {
            break;
        }
        assert!(Instant::now() < deadline, "{row}");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(stage.sessions().await, [0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_heard_because_the_link_is_cut_is_seen_by_looking() {
    let stage = Stage::new(Hears::Looks).await;
    let counter = Counter::start().await;
    subscribe(&stage, &counter, 8).await;
    let (path, key) = stage.key().await;
    let mut tails = [
        Tail::sse(&stage, &stage.a, &stage.a.ready.api_key.clone()).await,
        Tail::sse(&stage, &stage.b, &stage.a.ready.api_key.clone()).await,
    ];
    let revoked = Tail::sse(&stage, &stage.b, &key).await;
    stage.between.cut();
    traffic(&stage, 20).await;
    stage.publish(&stage.a, 0).await;
    let last = last_seq(&stage).await;
    for tail in &mut tails {
        tail.reaches(last, PROMPT).await;
    }
    counter.reach(8, 41, PROMPT).await;
    stage.api_a().must(Method::DELETE, &path, None).await;
    revoked.ends().await;

    let tenant = stage.tenant().await;
    let suspend = Some(json!({"suspended": true}));
    stage.operator(&stage.b, Method::PATCH, &tenant, suspend).await;
    stage.until("nothing runs", |sessions| sessions == [0, 0]).await;
    let wake = Some(json!({"suspended": false}));
    stage.operator(&stage.b, Method::PATCH, &tenant, wake).await;
    stage
        .until("each node runs a part", |[a, b]| a > 0 && b > 0)
        .await;
}
