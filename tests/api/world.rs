//! What a test works with: a gateway, a sandbox with phones, clients, and waiting for facts.

#[path = "contract.rs"]
pub mod contract;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use roost::access::NewKey;
use roost::app::App;
use roost::config::{self, Layers};
use roost::system::{OsEntropy, SystemClock};
use roost_domain::TenantId;
use roost_domain::api_key::Principal;
use roost_domain::event::Event;
use roost_domain::limit::Limits;
use roost_domain::store::{CommitObserver, Stamp, Tenants};
use roost_domain::tenant::Tenant;
use roost_domain::time::{Clock, Entropy};
use roost_sandbox::server::{Sandbox, SandboxConfig, SandboxHandle};
use roost_store::SqlStore;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The instance's phone, and the phones it talks to.
pub const ALICE: &str = "4915550001";
pub const BOB: &str = "4915550003";
pub const ECHO: &str = "4915550002";

const DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

pub struct World {
    app: Option<App>,
    pub sandbox: SandboxHandle,
    folder: TempDir,
    http: reqwest::Client,
    key: String,
    options: Vec<(&'static str, String)>,
}

/// Bodies that a connection does not take whole before somebody reads.
const LONG_BYTES: usize = 32 << 10;

/// No actor has to be told of commits where no gateway runs.
struct Nobody;

impl CommitObserver for Nobody {
    fn committed(&self, _: TenantId, _: &[Arc<Event>]) {}
}

/// Calls the API as one principal.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        if self.text.is_empty() {
            Value::Null
        } else {
            self.json()
        }
    }

    /// Checks that this is a complete problem with this status and code.
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Value {
        let problem = self.json();
        assert_eq!(self.status.as_u16(), status, "{problem}");
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(
            problem["request_id"].as_str().unwrap(),
            self.headers["x-request-id"].to_str().unwrap()
        );
        assert!(problem["title"].is_string() && problem["detail"].is_string() && problem["type"].is_string());
        assert!(problem["retryable"].is_boolean());
        problem
    }
}

impl World {
    /// A running gateway with a tenant, beside a sandbox with three phones.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with the tenant's client and the id of an instance that Alice's phone is paired with.
    pub async fn start_paired() -> (Self, Client, String) {
        Self::start_paired_with(&[]).await
    }

    /// The same with some keys of the configuration set.
    pub async fn start_paired_with(options: &[(&'static str, &str)]) -> (Self, Client, String) {
        let world = Self::start_with(options).await;
        let (api, id) = (world.api(), world.paired(ALICE).await);
        (world, api, id)
    }

    /// The same with some keys of the configuration set.
    pub async fn start_with(options: &[(&'static str, &str)]) -> Self {
        let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
        let options = options
            .iter()
            .map(|(key, value)| (*key, (*value).to_owned()))
            .collect();
        let mut world = Self {
            app: None,
            sandbox,
            folder: tempfile::tempdir().unwrap(),
            http: reqwest::Client::new(),
            key: String::new(),
            options,
        };
        for (phone, echo) in [(ALICE, false), (ECHO, true), (BOB, false)] {
            world.make_phone(phone, echo).await;
        }
        world.start_app().await;
        world.key = world.make_key(Principal::Tenant(world.make_tenant().await)).await;
        world
    }

    pub async fn start_app(&mut self) {
        let mut options = vec![
            ("http.listen", "127.0.0.1:0".to_owned(), "test"),
            (
                "data.dir",
                self.folder.path().join("data").display().to_string(),
                "test",
            ),
            ("whatsapp.url", self.sandbox.websocket_url(), "test"),
            // On a busy machine a bucket may be slow, and what is let through then is not what is tested.
            ("buckets.timeout", "30s".to_owned(), "test"),
            // Receivers of a test are on this machine.
            ("webhooks.client.allow_http", "true".to_owned(), "test"),
            (
                "webhooks.client.allowed_networks",
                "127.0.0.0/8".to_owned(),
                "test",
            ),
        ];
        options.extend(
            self.options
                .iter()
                .map(|(key, value)| (*key, value.clone(), "test")),
        );
        let config = config::load(&Layers {
            options,
            ..Layers::default()
        })
        .unwrap();
        let app = App::start(config).await.unwrap();
        app.ready().await;
        self.app = Some(app);
    }

    /// Does something to the database while no gateway runs.
    pub async fn offline(&self, act: impl AsyncFnOnce(&SqlStore)) {
        let dir = self.folder.path().join("data").display().to_string();
        let config = config::load(&Layers {
            options: vec![("data.dir", dir, "test")],
            ..Layers::default()
        })
        .unwrap();
        let (clock, entropy) = (Arc::new(SystemClock), Arc::new(OsEntropy));
        let opened = roost::app::open_store(
            &config,
            roost_store::Guard::default(),
            Arc::new(Nobody),
            clock,
            entropy,
        );
        let store = opened.await.unwrap();
        act(&store).await;
        store.close().await;
    }

    pub fn app(&self) -> &App {
        self.app.as_ref().unwrap()
    }

    pub async fn stop_app(&mut self) {
        self.app.take().unwrap().stop().await;
    }

    /// The tenant's client.
    pub fn api(&self) -> Client {
        self.client(Some(self.key.clone()))
    }

    pub fn client(&self, key: Option<String>) -> Client {
        Client {
            http: self.http.clone(),
            base: self.app().url(),
            key,
        }
    }

    /// A client of another tenant.
    pub async fn stranger(&self) -> Client {
        self.client(Some(
            self.make_key(Principal::Tenant(self.make_tenant().await)).await,
        ))
    }

    /// A client of a new tenant with a plan and limits of its own.
    pub async fn client_of(&self, plan: Option<&str>, limits: Limits) -> Client {
        let created_at = SystemClock.now();
        let id = TenantId::from_parts(created_at.unix_ms().unsigned_abs(), OsEntropy.bits());
        let tenant = Tenant {
            plan: plan.map(str::to_owned),
            limits,
            ..Tenant::new(id, "limited".into(), created_at)
        };
        let store = self.app().store();
        store
            .create_tenant(&tenant, None, Stamp::default())
            .await
            .unwrap();
        self.client(Some(self.make_key(Principal::Tenant(id)).await))
    }

    pub async fn operator(&self) -> Client {
        self.client(Some(self.make_key(Principal::Operator).await))
    }

    async fn make_tenant(&self) -> TenantId {
        let created_at = SystemClock.now();
        let id = TenantId::from_parts(created_at.unix_ms().unsigned_abs(), OsEntropy.bits());
        self.app()
            .store()
            .create_tenant(
                &Tenant::new(id, "test".into(), created_at),
                None,
                Stamp::default(),
            )
            .await
            .unwrap();
        id
    }

    async fn make_key(&self, principal: Principal) -> String {
        let store = self.app().store().as_ref();
        let key = NewKey::new(principal, "test").keep(store, &SystemClock, &OsEntropy);
        key.await.unwrap().text.reveal().to_owned()
    }

    /// Calls the sandbox's control API.
    pub async fn control(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let mut request = self
            .http
            .request(method, format!("{}/sandbox/v1/{path}", self.sandbox.url()));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let reply = request.send().await.unwrap();
        let status = reply.status();
        let text = reply.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    async fn make_phone(&self, phone: &str, echo: bool) {
        let body = json!({"phone_number": phone, "name": format!("Phone {phone}"), "echo": echo});
        self.control(Method::POST, "accounts", Some(body)).await;
    }

    /// A phone sends a text; its id on WhatsApp comes back.
    pub async fn phone_sends(&self, from: &str, to: &str, text: &str) -> String {
        let body = json!({"to": to, "text": text});
        let sent = self
            .control(Method::POST, &format!("accounts/{from}/messages"), Some(body))
            .await;
        sent["whatsapp_id"].as_str().unwrap().to_owned()
    }

    /// Texts that a phone has decrypted.
    pub async fn phone_has(&self, phone: &str, text: &str) -> Value {
        eventually(&format!("phone {phone} has {text:?}"), || async {
            let page = self
                .control(Method::GET, &format!("accounts/{phone}/messages"), None)
                .await;
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .find(|message| message["text"] == text)
                .cloned()
        })
        .await
    }

    /// Makes an instance and has a phone scan its QR code; its id comes back once it is connected.
    pub async fn paired(&self, phone: &str) -> String {
        let id = self.api().make_instance("paired").await;
        self.pair(&id, phone).await;
        id
    }

    /// Has a phone scan the QR code of an instance, and waits until it is connected.
    pub async fn pair(&self, id: &str, phone: &str) -> Value {
        let api = self.api();
        api.post(&format!("/v1/instances/{id}/connect"), json!({"method": "qr"}))
            .await
            .expect(202);
        let code = api.get(&format!("/v1/instances/{id}/qr")).await.expect(200)["code"]
            .as_str()
            .unwrap()
            .to_owned();
        self.control(
            Method::POST,
            &format!("accounts/{phone}/scan"),
            Some(json!({"code": code})),
        )
        .await;
        api.state_becomes(id, "connected").await
    }
}

impl Client {
    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn key(&self) -> &str {
        self.key.as_deref().unwrap()
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a request, and holds what comes back against the API's description.
    pub async fn send(request: reqwest::RequestBuilder) -> Reply {
        let (client, request) = request.build_split();
        let request = request.unwrap();
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let sent = request
            .body()
            .and_then(reqwest::Body::as_bytes)
            .map(<[u8]>::to_vec);
        let long = sent.as_ref().is_some_and(|sent| sent.len() > LONG_BYTES);
        let again = request.try_clone();
        let mut reply = client.execute(request).await;
        // A refusal that comes before a long body was read ends the connection, and may be lost with it.
        for _ in 0..5 {
            let lost = long && reply.as_ref().is_err_and(reqwest::Error::is_request);
            let next = again
                .as_ref()
                .filter(|_| lost)
                .and_then(reqwest::Request::try_clone);
            let Some(next) = next else { break };
            reply = client.execute(next).await;
        }
        let reply = reply.unwrap();
        let (status, headers) = (reply.status(), reply.headers().clone());
        // Pictures are not text; their types are told by the headers.
        let text = String::from_utf8_lossy(&reply.bytes().await.unwrap()).into_owned();
        contract::check(&contract::Exchange {
            method: &method,
            path: &path,
            sent: sent.as_deref(),
            status,
            headers: &headers,
            text: &text,
        });
        Reply {
            status,
            headers,
            text,
        }
    }

    /// The same for an answer that need not be text.
    pub async fn send_for_bytes(request: reqwest::RequestBuilder) -> (HeaderMap, Vec<u8>) {
        let reply = request.send().await.unwrap();
        (reply.headers().clone(), reply.bytes().await.unwrap().to_vec())
    }

    pub async fn get(&self, path: &str) -> Reply {
        Self::send(self.request(Method::GET, path)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        Self::send(self.request(Method::DELETE, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        Self::send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Reply {
        Self::send(self.request(Method::PATCH, path).json(&body)).await
    }

    /// Makes a webhook that gets every event, changed by `more`; the webhook with its secret comes back.
    pub async fn make_webhook(&self, url: &str, more: Value) -> Value {
        let mut body = json!({"url": url, "events": ["*"]});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        self.post("/v1/webhooks", body).await.expect(201)
    }

    /// Publishes an event; it comes back as it is in the log.
    pub async fn publish(&self, kind: &str, data: Value) -> Value {
        self.publish_in(kind, data, None).await
    }

    /// The same for an event that is about a chat.
    pub async fn publish_in(&self, kind: &str, data: Value, chat: Option<&str>) -> Value {
        let body = json!({"type": kind, "data": data, "chat": chat});
        self.post("/v1/events", body).await.expect(201)
    }

    pub async fn make_instance(&self, name: &str) -> String {
        let instance = self
            .post("/v1/instances", json!({"name": name}))
            .await
            .expect(201);
        instance["id"].as_str().unwrap().to_owned()
    }

    pub async fn state_becomes(&self, id: &str, state: &str) -> Value {
        eventually(&format!("instance becomes {state}"), || async {
            let instance = self.get(&format!("/v1/instances/{id}")).await.expect(200);
            (instance["state"] == state).then_some(instance)
        })
        .await
    }

    pub async fn send_text(&self, id: &str, to: &str, text: &str) -> Value {
        let body = json!({"to": to, "type": "text", "text": {"body": text}});
        self.post(&format!("/v1/instances/{id}/messages"), body)
            .await
            .expect(202)
    }

    pub async fn status_becomes(&self, message: &str, status: &str) -> Value {
        eventually(&format!("message becomes {status}"), || async {
            let message = self.get(&format!("/v1/messages/{message}")).await.expect(200);
            (message["status"] == status).then_some(message)
        })
        .await
    }

    /// Everything in the log after a place, that passes a query.
    pub async fn events(&self, after: i64, query: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut after = after;
        loop {
            let path = format!("/v1/events?after={after}&limit=500{query}");
            let page = Self::send(
                self.request(Method::GET, &path)
                    .header("accept", "application/json"),
            )
            .await
            .expect(200);
            let events = page["data"].as_array().unwrap().clone();
            let next = page["next_after"].as_i64().unwrap();
            let end = next == after || events.is_empty();
            all.extend(events);
            after = next;
            if end {
                return all;
            }
        }
    }

    /// The message that has this id on WhatsApp, once it was received.
    pub async fn received(&self, whatsapp_id: &str) -> Value {
        let event = self
            .event("message.received", |event| {
                event["data"]["message"]["whatsapp_id"] == whatsapp_id
            })
            .await;
        event["data"]["message"].clone()
    }

    /// The first event of a type for which a test holds.
    pub async fn event(&self, kind: &str, test: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("event {kind}"), || async {
            self.events(0, &format!("&types={kind}"))
                .await
                .into_iter()
                .find(|event| test(event))
        })
        .await
    }
}

/// Asks until there is an answer.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}
