//! Posting to strangers: the client of outgoing webhooks.
//!
//! An endpoint is a URL that a tenant has typed in. It may name a machine of our own network, and
//! what answers may hang, drip, flood or lie. So a URL is checked as text ([`target`]), every address
//! is checked in the step that opens the connection ([`connect`], [`address`]), one deadline covers
//! everything from the resolver to the last byte that is read, and nothing that comes is kept beyond
//! its limit. A call holds no state: after a crash nothing is left of it.
//!
//! The pool is the one under `reqwest`, used directly, because a connector of one's own cannot be
//! given to `reqwest`: its own resolver is not asked about addresses that stand in the URL.

mod address;
mod answer;
mod connect;
mod failure;
mod lookup;
mod stream;
mod target;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use roost_domain::Clock;
use roost_domain::cluster::Lease;
use roost_domain::webhook::client::{CallAnswer, CallFailure, OutgoingCall, TargetError, WebhookClient};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::config;

use address::AddressPolicy;
use answer::Progress;
use connect::{ConnectError, ConnectStep, Connector};
use target::{Target, TargetPolicy};
use tls::Tls;

pub use lookup::{Lookup, LookupError, SystemLookup};
pub use tls::SetupError;

/// What of a body is given on.
const BODY_KEPT_BYTES: usize = 4 * 1024;
/// Beyond its head and body, what an answer may have in interim answers and framing.
const ANSWER_NOISE_BYTES: u64 = 128 * 1024;
/// URLs that are remembered in their checked form.
const TARGETS_MAX: usize = 4096;
/// HTTP/2: what all answers of a connection together may have on the way to us.
const H2_CONNECTION_WINDOW: u32 = 1024 * 1024;
const H2_PING_EVERY: Duration = Duration::from_secs(20);
const H2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Posts to webhook endpoints.
pub struct OutgoingClient {
    client: Client<Connector, Full<Bytes>>,
    step: Arc<ConnectStep>,
    policy: TargetPolicy,
    targets: RwLock<HashMap<Arc<str>, Arc<Target>>>,
    headers: HeaderMap,
    body_bytes_max: usize,
    clock: Arc<dyn Clock>,
}

impl OutgoingClient {
    /// Makes the client. `lookup` resolves names: [`SystemLookup`] but for tests. With a `lease`, nothing is
    /// sent at a moment when it does not hold.
    pub fn new(
        config: &config::WebhookClient,
        lookup: Arc<dyn Lookup>,
        clock: Arc<dyn Clock>,
        lease: Option<Arc<dyn Lease>>,
    ) -> Result<Self, SetupError> {
        let addresses = Arc::new(AddressPolicy::new(&config.allowed_networks));
        let step = Arc::new(ConnectStep {
            addresses: Arc::clone(&addresses),
            lookup,
            tls: Tls::new(config.extra_roots_file.as_deref())?,
            limit: config.connect_timeout,
            places: Arc::new(Semaphore::new(config.pool_max)),
            answer_bytes_max: config.head_bytes_max as u64
                + config.body_bytes_max as u64
                + ANSWER_NOISE_BYTES,
            lease,
        });
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("roost/", env!("CARGO_PKG_VERSION"))),
        );
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        Ok(Self {
            client: pool(config).build(Connector(Arc::clone(&step))),
            step,
            policy: TargetPolicy {
                allow_http: config.allow_http,
                ports: config.ports.clone(),
                addresses,
            },
            targets: RwLock::default(),
            headers,
            body_bytes_max: config.body_bytes_max,
            clock,
        })
    }

    /// The URL's checked form.
    fn target(&self, url: &str) -> Result<Arc<Target>, TargetError> {
        let known = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = known.get(url) {
            return Ok(Arc::clone(target));
        }
        drop(known);
        let target = Arc::new(self.policy.read(url)?);
        let mut known = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= TARGETS_MAX {
            // Cheap to make again, so nothing is kept in order of use.
            known.clear();
        }
        known.insert(url.into(), Arc::clone(&target));
        Ok(target)
    }

    fn headers(&self, call: &OutgoingCall) -> Result<HeaderMap, CallFailure> {
        let unfit = |name: &str| CallFailure::Forbidden(format!("the header {name:?} cannot be sent"));
        let mut headers = HeaderMap::with_capacity(self.headers.len() + call.headers.len() + 2);
        headers.extend(
            self.headers
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        for (name, value) in &call.headers {
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit(name))?;
            if is_framing(&parsed) {
                return Err(unfit(name));
            }
            let value = HeaderValue::from_str(value).map_err(|_| unfit(name))?;
            headers.insert(parsed, value);
        }
        Ok(headers)
    }

    /// Sends the request and reads the answer into `progress`; at most twice, where the first try
    /// found a connection that the endpoint was closing.
    async fn exchange(
        &self,
        uri: &Uri,
        headers: HeaderMap,
        body: Bytes,
        progress: &mut Progress,
        captured: &mut Option<CaptureConnection>,
    ) -> Result<(), CallFailure> {
        let again = (headers.clone(), body.clone());
        let first = self.send(uri, headers, body, captured).await;
        let outcome = match first {
            Err(error) if failure::is_stale(&error) => self.send(uri, again.0, again.1, captured).await,
            outcome => outcome,
        };
        let (head, body) = outcome.map_err(|error| failure::of(&error))?.into_parts();
        progress.head(head.status.as_u16(), &head.headers, self.clock.now());
        progress.read(body, self.body_bytes_max, BODY_KEPT_BYTES).await;
        Ok(())
    }

    fn send(
        &self,
        uri: &Uri,
        headers: HeaderMap,
        body: Bytes,
        captured: &mut Option<CaptureConnection>,
    ) -> hyper_util::client::legacy::ResponseFuture {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        *captured = Some(capture_connection(&mut request));
        self.client.request(request)
    }
}

/// The deadline passed without an answer.
fn timed_out(limit: Duration, captured: Option<CaptureConnection>) -> CallFailure {
    let connected = captured.as_ref().is_some_and(|captured| {
        let metadata = captured.connection_metadata();
        if let Some(connected) = metadata.as_ref() {
            // An HTTP/2 connection is shared: the next call must not wait on one that may be dead. One
            // of HTTP/1.1 is closed with the call.
            connected.poison();
        }
        metadata.is_some()
    });
    CallFailure::Timeout(if connected {
        format!("no answer within {limit:?}")
    } else {
        format!("no connection within {limit:?}")
    })
}

fn pool(config: &config::WebhookClient) -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    let stream_window = u32::try_from(config.body_bytes_max).unwrap_or(u32::MAX);
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(config.idle_timeout)
        .pool_max_idle_per_host(config.idle_per_host_max)
        .http1_max_buf_size(config.head_bytes_max)
        .http2_max_header_list_size(u32::try_from(config.head_bytes_max).unwrap_or(u32::MAX))
        .http2_initial_stream_window_size(stream_window)
        .http2_initial_connection_window_size(H2_CONNECTION_WINDOW)
        .http2_keep_alive_interval(H2_PING_EVERY)
        .http2_keep_alive_timeout(H2_PING_TIMEOUT);
    builder
}

/// Headers that say how a message is framed or who it is for: the client's own business.
fn is_framing(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "content-length"
            | "transfer-encoding"
            | "connection"
            | "keep-alive"
            | "te"
            | "trailer"
            | "upgrade"
            | "expect"
            | "http2-settings"
            | "proxy-connection"
            | "proxy-authorization"
    )
}

#[async_trait]
impl WebhookClient for OutgoingClient {
    async fn check(&self, url: &str) -> Result<(), TargetError> {
        let target = self.target(url)?;
        let Some(name) = &target.name else {
            return Ok(());
        };
        match timeout(self.step.limit, self.step.resolve(name)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(ConnectError::Forbidden(text))) => Err(TargetError::Forbidden(text)),
            Ok(Err(error)) => Err(TargetError::Unresolvable(error.to_string())),
            Err(_) => Err(TargetError::Unresolvable(format!(
                "{name} could not be resolved in time"
            ))),
        }
    }

    fn host(&self, url: &str) -> Result<Arc<str>, TargetError> {
        Ok(Arc::clone(&self.target(url)?.host))
    }

    async fn post(&self, call: OutgoingCall) -> Result<CallAnswer, CallFailure> {
        let target = self.target(&call.url).map_err(failure::of_target)?;
        let headers = self.headers(&call)?;
        let mut progress = Progress::default();
        let mut captured = None;
        let exchange = self.exchange(&target.uri, headers, call.body, &mut progress, &mut captured);
        let outcome = timeout(call.timeout, exchange).await;
        match (progress.status, outcome) {
            (Some(status), _) => Ok(CallAnswer {
                status,
                retry_after: progress.retry_after,
                body: progress.body(),
            }),
            (None, Ok(Err(failure))) => Err(failure),
            (None, _) => Err(timed_out(call.timeout, captured)),
        }
    }
}
