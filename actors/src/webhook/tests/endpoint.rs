//! Endpoints that answer what a test tells them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use roost_domain::webhook::client::{CallAnswer, CallFailure, OutgoingCall, TargetError, WebhookClient};
use serde_json::Value;
use tokio::sync::Semaphore;

/// One POST as it came.
#[derive(Debug, Clone)]
pub struct Received {
    pub url: String,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
}

impl Received {
    pub fn seq(&self) -> i64 {
        self.body["seq"].as_i64().unwrap()
    }
}

/// What an endpoint does.
#[derive(Debug, Clone)]
pub enum Says {
    Status(u16),
    RetryAfter(u16, Duration),
    /// No answer, ever: the caller's time-out ends it.
    Hang,
    /// Answers once there is a permit.
    WhenOpen(Arc<Semaphore>),
    Fail(CallFailure),
    Panic,
}

type Script = Box<dyn FnMut(&Received) -> Says + Send>;

/// See the module.
pub struct ScriptedEndpoint {
    script: Mutex<Script>,
    received: Mutex<Vec<Received>>,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
}

impl ScriptedEndpoint {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(Box::new(|_| Says::Status(200))),
            received: Mutex::default(),
            in_flight: AtomicUsize::new(0),
            in_flight_max: AtomicUsize::new(0),
        })
    }

    pub fn says(&self, script: impl FnMut(&Received) -> Says + Send + 'static) {
        *self.script.lock().unwrap() = Box::new(script);
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// Events of a tenant's own in the order of their POSTs.
    pub fn customs(&self) -> Vec<i64> {
        let received = self.received.lock().unwrap();
        let customs = received
            .iter()
            .filter(|call| call.body["type"].as_str().unwrap().starts_with("custom."));
        customs.map(Received::seq).collect()
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub fn in_flight_max(&self) -> usize {
        self.in_flight_max.load(Ordering::SeqCst)
    }
}

struct Flight<'a>(&'a AtomicUsize);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl WebhookClient for ScriptedEndpoint {
    async fn check(&self, url: &str) -> Result<(), TargetError> {
        if url.contains("forbidden") {
            return Err(TargetError::Forbidden("not there".to_owned()));
        }
        Ok(())
    }

    fn host(&self, url: &str) -> Result<Arc<str>, TargetError> {
        let rest = url.strip_prefix("https://");
        let rest = rest.ok_or_else(|| TargetError::Invalid("not https".to_owned()))?;
        Ok(rest.split('/').next().unwrap_or(rest).into())
    }

    async fn post(&self, call: OutgoingCall) -> Result<CallAnswer, CallFailure> {
        let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        self.in_flight_max.fetch_max(now, Ordering::SeqCst);
        let _flight = Flight(&self.in_flight);
        let headers = call.headers.iter();
        let received = Received {
            url: call.url.to_string(),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.clone()))
                .collect(),
            body: serde_json::from_slice(&call.body).unwrap(),
        };
        let says = (self.script.lock().unwrap())(&received);
        self.received.lock().unwrap().push(received);
        let answer = |status, retry_after| {
            Ok(CallAnswer {
                status,
                retry_after,
                body: Bytes::from_static(b"ok"),
            })
        };
        match says {
            Says::Status(status) => answer(status, None),
            Says::RetryAfter(status, wait) => answer(status, Some(wait)),
            Says::Hang => {
                tokio::time::sleep(call.timeout).await;
                Err(CallFailure::Timeout("no answer in time".to_owned()))
            }
            Says::WhenOpen(gate) => {
                gate.acquire().await.unwrap().forget();
                answer(200, None)
            }
            Says::Fail(failure) => Err(failure),
            Says::Panic => panic!("the client breaks, as the test wants"),
        }
    }
}
