//! A customer's endpoint: keeps what is posted to it and answers as it is told to.

use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::world::eventually;

/// One POST.
#[derive(Debug, Clone)]
pub struct Received {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What it was answered.
    pub status: u16,
}

type Script = Box<dyn FnMut(&Received) -> StatusCode + Send>;

struct Shared {
    received: Mutex<Vec<Received>>,
    script: Mutex<Script>,
    headers: Mutex<HeaderMap>,
}

/// Listens until it is dropped.
pub struct Receiver {
    url: String,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub fn seq(&self) -> i64 {
        self.json()["seq"].as_i64().unwrap()
    }

    /// The signatures that one secret would give, by the words of the specification.
    pub fn signature(&self, secret: &str) -> String {
        let key = key(secret);
        let mut signed = format!(
            "{}.{}.",
            self.header("webhook-id"),
            self.header("webhook-timestamp")
        )
        .into_bytes();
        signed.extend_from_slice(&self.body);
        format!("v1,{}", BASE64_STANDARD.encode(mac(&key, &signed)))
    }

    /// Whether one of the signatures is this secret's.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let wanted = self.signature(secret);
        self.header("webhook-signature")
            .split(' ')
            .any(|signature| signature == wanted)
    }

    pub fn has_legacy_signature(&self, secret: &str) -> bool {
        let mac = mac(&key(secret), &self.body);
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        self.header("x-hub-signature-256") == format!("sha256={hex}")
    }
}

fn key(secret: &str) -> Vec<u8> {
    BASE64_STANDARD
        .decode(secret.strip_prefix("whsec_").unwrap())
        .unwrap()
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

impl Receiver {
    /// Takes everything.
    pub async fn start() -> Self {
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            script: Mutex::new(Box::new(|_| StatusCode::NO_CONTENT)),
            headers: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let routes = axum::Router::new().fallback(take).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, shared, server }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Answers from now on with what the script says.
    pub fn answer_with(&self, script: impl FnMut(&Received) -> StatusCode + Send + 'static) {
        *self.shared.script.lock().unwrap() = Box::new(script);
    }

    pub fn answer(&self, status: StatusCode) {
        self.answer_with(move |_| status);
    }

    /// Adds a header to every answer.
    pub fn answer_header(&self, name: &'static str, value: &str) {
        let value = HeaderValue::from_str(value).unwrap();
        self.shared.headers.lock().unwrap().insert(name, value);
    }

    /// Everything so far, in the order in which it came.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Everything of one type.
    pub fn of_type(&self, kind: &str) -> Vec<Received> {
        let mut all = self.received();
        all.retain(|post| post.json()["type"] == kind);
        all
    }

    /// Waits for the first that passes.
    pub async fn first(&self, what: &str, test: impl Fn(&Received) -> bool) -> Received {
        eventually(what, || async {
            self.received().into_iter().find(|post| test(post))
        })
        .await
    }

    /// Waits for so many.
    pub async fn until(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} POSTs"), || async {
            Some(self.received()).filter(|received| received.len() >= count)
        })
        .await
    }
}

async fn take(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut received = Received {
        path: uri.path().to_owned(),
        headers,
        body,
        status: 0,
    };
    let status = (shared.script.lock().unwrap())(&received);
    received.status = status.as_u16();
    shared.received.lock().unwrap().push(received);
    let mut response = Response::new(Body::from(if status.is_success() { "" } else { "no, thank you" }));
    *response.status_mut() = status;
    response
        .headers_mut()
        .extend(shared.headers.lock().unwrap().clone());
    response
}
