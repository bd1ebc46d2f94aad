//! What callers ask of webhooks, and what they get.

use std::collections::BTreeMap;

use roost_domain::event::CustomType;
use roost_domain::webhook::{ApiVersion, Attempt, DeliveryMode, WebhookFilter};
use roost_domain::{Address, EventId, InstanceId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// What a client asks for as a new webhook.
#[derive(Debug, Clone)]
pub struct CreateWebhook {
    /// Where events are to be posted.
    pub url: String,
    /// What the tenant says of it.
    pub description: Option<String>,
    /// Which events it is to get.
    pub filter: WebhookFilter,
    /// In which order.
    pub mode: DeliveryMode,
    /// Further headers of each POST; names in lower case.
    pub headers: BTreeMap<String, String>,
    /// POSTs at most at the same time.
    pub max_concurrency: Option<u16>,
    /// POSTs at most per second.
    pub rate_per_second: Option<u32>,
    /// Shape of the payload; the latest unless told otherwise.
    pub api_version: Option<ApiVersion>,
    /// Whether each POST also carries `X-Hub-Signature-256`.
    pub legacy_signature: bool,
    /// The signing key, if the client brings its own: 24 to 64 bytes.
    pub secret: Option<Vec<u8>>,
    /// How many the tenant may have, where that is less than the node's own limit.
    pub webhooks_max: Option<u32>,
}

/// A tenant's own fact.
#[derive(Debug, Clone)]
pub struct PublishEvent {
    /// Its type.
    pub kind: CustomType,
    /// Instance it is about; must be the tenant's.
    pub instance_id: Option<InstanceId>,
    /// Chat it is about.
    pub chat: Option<Address>,
    /// The fact.
    pub data: Box<RawValue>,
}

/// Which deliveries to drive again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedriveRequest {
    /// By their events' places in the log.
    Seqs(Vec<i64>),
    /// By their events.
    Events(Vec<EventId>),
}

/// Which part of the log a webhook gets again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayRequest {
    /// Every event written in `[from, to)` that its filter lets pass.
    Range {
        /// Beginning.
        from: Timestamp,
        /// End.
        to: Timestamp,
    },
    /// These events.
    Events(Vec<EventId>),
    /// Every dead letter whose event was written since then.
    FailedSince(Timestamp),
}

/// What a replay or a redrive began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayStarted {
    /// First place in the log that is looked at; null when there is nothing to do.
    pub from_seq: Option<i64>,
    /// Last place.
    pub to_seq: Option<i64>,
    /// How many deliveries are due now, when that is known: a range is gone through step by step.
    pub deliveries: Option<u64>,
}

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestResult {
    /// Id of the event that was posted. It is not in the log.
    pub event_id: EventId,
    /// Whether the endpoint took it.
    pub delivered: bool,
    /// The POST.
    pub attempt: Attempt,
}

/// Where a webhook's circuit breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Events are posted.
    Closed,
    /// The endpoint fails: nothing is posted until the next probe.
    Open,
    /// A probe is under way.
    HalfOpen,
}

/// How a webhook does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WebhookStats {
    /// Every event up to here was delivered, parked, given up, or is not for the webhook.
    pub cursor: i64,
    /// The end of the log.
    pub last_seq: i64,
    /// Events between both.
    pub lag_events: u64,
    /// How long the first event after the cursor that is for the webhook has waited.
    pub lag_seconds: f64,
    /// Deliveries that wait for another attempt; counted up to 10,000.
    pub pending: u64,
    /// When the oldest event that waits was written.
    pub oldest_pending: Option<Timestamp>,
    /// Dead letters; counted up to 10,000.
    pub dead: u64,
    /// POSTs under way.
    pub in_flight: u64,
    /// Share of recent attempts that succeeded, from 0 to 1; null before the first.
    pub success_rate: Option<f64>,
    /// How many recent attempts the shares and times here are of.
    pub recent_attempts: u64,
    /// How long recent attempts took, in milliseconds.
    pub latency_ms: Option<Latency>,
    /// The breaker.
    pub breaker: BreakerState,
    /// When an open breaker is probed next.
    pub next_probe_at: Option<Timestamp>,
    /// Until when the endpoint has asked not to be called.
    pub paused_until: Option<Timestamp>,
    /// Since when nothing but failures came back.
    pub failing_since: Option<Timestamp>,
    /// Replays that are not done.
    pub replays: u64,
}

/// Percentiles of times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Latency {
    /// Half of them took at most this.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 of a hundred.
    pub p99: f64,
}

/// Numbers of all webhooks of this node since its start, for operators.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct WebhookNumbers {
    /// Attempts that the endpoint took.
    pub delivered: u64,
    /// Attempts that it refused, or that failed on the way.
    pub failed: u64,
    /// Attempts without an answer in time.
    pub timeout: u64,
    /// Attempts whose address may not be posted to.
    pub refused: u64,
    /// Deliveries that died.
    pub dead: u64,
    /// Deliveries that wait for another attempt now.
    pub pending: u64,
    /// POSTs under way now.
    pub in_flight: u64,
    /// How long the oldest event that is read and not delivered has waited, over all webhooks, in
    /// milliseconds.
    pub lag_max_ms: u64,
}
