//! The cluster as a client sees it: several addresses, any of which will do.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use crate::gateway::{PATIENCE, Ready};
use crate::ground::Api;

/// A pause before all nodes are asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// What became of one call to one node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Done,
    /// To be repeated, as the answer says: its status, and whether it has a `Retry-After`.
    Repeat(u16, bool),
    /// The connection broke or was refused.
    Broken,
    /// No answer within the client's time.
    Silent,
}

/// Calls to whichever node takes them.
#[derive(Clone)]
pub struct Front {
    client: reqwest::Client,
    nodes: Arc<RwLock<Vec<Ready>>>,
}

impl Front {
    /// `limit` is how long a client waits for an answer.
    pub fn new(limit: Duration) -> Self {
        Self {
            client: reqwest::Client::builder().timeout(limit).build().unwrap(),
            nodes: Arc::default(),
        }
    }

    pub fn set(&self, nodes: Vec<Ready>) {
        *self.nodes.write().unwrap() = nodes;
    }

    fn nodes(&self) -> Vec<Ready> {
        self.nodes.read().unwrap().clone()
    }

    /// One call to one node.
    pub async fn attempt(
        &self,
        ready: &Ready,
        (method, path): (Method, &str),
        body: Option<Value>,
        key: Option<&str>,
    ) -> (Outcome, Value) {
        let mut request = self
            .client
            .request(method, format!("{}{path}", ready.api))
            .bearer_auth(&ready.api_key);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = match request.header("accept", "application/json").send().await {
            Ok(response) => response,
            Err(error) if error.is_timeout() => return (Outcome::Silent, Value::Null),
            Err(_) => return (Outcome::Broken, Value::Null),
        };
        let (status, after) = (response.status(), response.headers().contains_key("retry-after"));
        let answer = match response.text().await {
            Ok(text) => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            Err(error) if error.is_timeout() => return (Outcome::Silent, Value::Null),
            Err(_) => return (Outcome::Broken, Value::Null),
        };
        if status.is_success() {
            return (Outcome::Done, answer);
        }
        let repeat = status == StatusCode::SERVICE_UNAVAILABLE || status == StatusCode::TOO_MANY_REQUESTS;
        assert!(repeat || answer["retryable"] == true, "{path}: {status} {answer}");
        (Outcome::Repeat(status.as_u16(), after), answer)
    }

    /// Asks one node after the other, from this one on, until one has done it; tells of every attempt, with
    /// the time it took.
    pub async fn call(
        &self,
        from: usize,
        (method, path): (Method, &str),
        body: Option<Value>,
        key: Option<&str>,
        mut tell: impl FnMut(&Outcome, Duration),
    ) -> Value {
        let begun = Instant::now();
        loop {
            let nodes = self.nodes();
            let mut last = Value::Null;
            for place in 0..nodes.len() {
                let (ready, asked) = (&nodes[(from + place) % nodes.len()], Instant::now());
                let (outcome, answer) = self
                    .attempt(ready, (method.clone(), path), body.clone(), key)
                    .await;
                tell(&outcome, asked.elapsed());
                if outcome == Outcome::Done {
                    return answer;
                }
                last = answer;
            }
            assert!(begun.elapsed() < 2 * PATIENCE, "nobody does {path}: {last}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// A call that some node has to do in the end.
    pub async fn must(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        self.call(0, (method, path), body, None, |_, _| {}).await
    }

    /// Asks until the answer satisfies, or patience ends.
    pub async fn until<T>(&self, path: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            let mut last = Vec::new();
            for ready in self.nodes() {
                let get = self.client.get(format!("{}{path}", ready.api));
                let Ok(response) = get.bearer_auth(&ready.api_key).send().await else {
                    continue;
                };
                if let Ok(body) = response.json::<Value>().await {
                    if let Some(found) = wanted(&body) {
                        return found;
                    }
                    last.push(body);
                }
            }
            assert!(Instant::now() < deadline, "{path} never satisfied: {last:?}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// One node alone.
pub fn api<'a>(client: &'a reqwest::Client, ready: &'a Ready) -> Api<'a> {
    Api { client, ready }
}
