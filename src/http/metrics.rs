//! `/metrics` in Prometheus' text format. Labels are routes, methods, statuses and states: sets that
//! do not grow with use.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::IntoResponse;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use roost_actors::bucket::BucketNumbers;
use roost_actors::cluster::ClusterNumbers;
use roost_actors::webhook::WebhookNumbers;
use roost_domain::event::{Event, EventType};
use tokio::time::MissedTickBehavior;

use super::state::{Gateway, Http};

const REQUESTS: &str = "roost_http_requests_total";
const REQUEST_SECONDS: &str = "roost_http_request_duration_seconds";
const EVENTS: &str = "roost_events_total";
const SESSIONS: &str = "roost_sessions";
/// Kind of the actors that are sessions.
const SESSION_KIND: &str = "instance";
const WEBHOOK_ATTEMPTS: &str = "roost_webhook_attempts_total";
const WEBHOOK_DEAD: &str = "roost_webhook_dead_total";
const WEBHOOK_PENDING: &str = "roost_webhook_deliveries_pending";
const WEBHOOK_IN_FLIGHT: &str = "roost_webhook_in_flight";
const WEBHOOK_LAG: &str = "roost_webhook_lag_seconds";
const BUCKETS_LIVE: &str = "roost_buckets";
const BUCKET_CALLS: &str = "roost_bucket_calls_total";
const LEASE: &str = "roost_cluster_lease_seconds";
const LEASES_LOST: &str = "roost_cluster_leases_lost_total";
const SLOTS: &str = "roost_cluster_slots";
const NODES: &str = "roost_cluster_nodes";
const LINKS: &str = "roost_cluster_links";
const VIEW_AGE: &str = "roost_cluster_view_age_seconds";
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// The process's recorder; installed by the first call. `None` when somebody else's is installed.
pub fn recorder() -> Option<PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let handle = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), BUCKETS)
                .and_then(PrometheusBuilder::install_recorder)
                .ok()?;
            describe();
            Some(handle)
        })
        .clone()
}

fn describe() {
    metrics::describe_counter!(REQUESTS, "HTTP requests by route, method and status.");
    metrics::describe_histogram!(
        REQUEST_SECONDS,
        metrics::Unit::Seconds,
        "Time until the head of the answer, by route."
    );
    metrics::describe_gauge!("roost_http_streams_open", "Open event streams by kind.");
    metrics::describe_counter!(
        "roost_http_stream_events_total",
        "Events written to streams by kind."
    );
    metrics::describe_gauge!("roost_dials", "Dials of the start gate by state.");
    metrics::describe_gauge!(SESSIONS, "Live sessions by state.");
    metrics::describe_gauge!(
        "roost_stream_buffer_bytes",
        "Recent events kept in memory for streams."
    );
    metrics::describe_counter!(EVENTS, "Events committed to the log, by type.");
    metrics::describe_counter!(WEBHOOK_ATTEMPTS, "POSTs to webhooks by what came of them.");
    metrics::describe_counter!(
        super::audit::LOST,
        "Calls that could not be written into the audit log."
    );
    metrics::describe_counter!(WEBHOOK_DEAD, "Deliveries to webhooks that were given up.");
    metrics::describe_gauge!(WEBHOOK_PENDING, "Deliveries that wait for another attempt.");
    metrics::describe_gauge!(WEBHOOK_IN_FLIGHT, "POSTs to webhooks under way.");
    metrics::describe_gauge!(BUCKETS_LIVE, "Buckets of rate limits in memory.");
    metrics::describe_counter!(
        BUCKET_CALLS,
        "Calls that a rate limit was asked about, by limit and what it said."
    );
    describe_cluster();
    metrics::describe_gauge!(
        WEBHOOK_LAG,
        metrics::Unit::Seconds,
        "How long the oldest event that is read and not delivered has waited, over all webhooks."
    );
}

fn describe_cluster() {
    metrics::describe_gauge!(
        LEASE,
        metrics::Unit::Seconds,
        "For how long this node of a cluster may still act without renewing its lease."
    );
    metrics::describe_counter!(LEASES_LOST, "Leases that this node has lost.");
    metrics::describe_gauge!(
        SLOTS,
        "Slots that this node owns, and those that no live node owns."
    );
    metrics::describe_gauge!(NODES, "Live nodes of the cluster, this one among them.");
    metrics::describe_gauge!(LINKS, "Nodes that this one has a working link to.");
    metrics::describe_gauge!(
        VIEW_AGE,
        metrics::Unit::Seconds,
        "How long ago this node last read who owns what."
    );
}

/// Counts a request.
pub fn request(method: &Method, route: String, status: StatusCode, took: Duration) {
    let method = match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::PUT => "PUT",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    };
    metrics::counter!(REQUESTS, "route" => route.clone(), "method" => method, "status" => status.as_u16().to_string())
        .increment(1);
    metrics::histogram!(REQUEST_SECONDS, "route" => route).record(took.as_secs_f64());
}

/// Counts the events of a commit by type.
pub fn events(events: &[Arc<Event>]) {
    for event in events {
        // Tenants name their own types as they like: together they are one label.
        let kind = EventType::ALL.iter().find(|kind| **kind == event.kind);
        metrics::counter!(EVENTS, "type" => kind.map_or("custom", EventType::as_str)).increment(1);
    }
}

/// Folds what was recorded into its buckets from time to time: without it samples would pile up in
/// memory as long as nobody scrapes.
pub async fn upkeep(recorder: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        recorder.run_upkeep();
    }
}

/// Sets the gauges that are read rather than counted.
fn measure(gateway: &Gateway) {
    let gate = gateway.runtime.gate();
    metrics::gauge!("roost_dials", "state" => "dialing").set(gate.dialing as f64);
    metrics::gauge!("roost_dials", "state" => "waiting").set(gate.waiting as f64);
    metrics::gauge!("roost_stream_buffer_bytes").set(gateway.streams.buffered_bytes() as f64);
    measure_webhooks(&gateway.webhooks.numbers());
    measure_buckets(&gateway.runtime.buckets().numbers());
    if let Some(numbers) = gateway.runtime.cluster_numbers() {
        measure_cluster(&numbers);
    }
    let now = gateway.runtime.introspection().count(SESSION_KIND);
    // A state that no session is in any more has to fall to zero, so that it is remembered.
    static SEEN: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    seen.extend(now.keys());
    for state in seen.iter() {
        metrics::gauge!(SESSIONS, "state" => *state).set(now.get(state).copied().unwrap_or(0) as f64);
    }
}

/// No label names a webhook or a tenant: their number has no bound.
fn measure_webhooks(numbers: &WebhookNumbers) {
    for (result, count) in [
        ("delivered", numbers.delivered),
        ("failed", numbers.failed),
        ("timeout", numbers.timeout),
        ("refused", numbers.refused),
    ] {
        metrics::counter!(WEBHOOK_ATTEMPTS, "result" => result).absolute(count);
    }
    metrics::counter!(WEBHOOK_DEAD).absolute(numbers.dead);
    metrics::gauge!(WEBHOOK_PENDING).set(numbers.pending as f64);
    metrics::gauge!(WEBHOOK_IN_FLIGHT).set(numbers.in_flight as f64);
    metrics::gauge!(WEBHOOK_LAG).set(numbers.lag_max_ms as f64 / 1000.0);
}

/// By limit: no label names an address, a key or a tenant.
fn measure_buckets(numbers: &BucketNumbers) {
    metrics::gauge!(BUCKETS_LIVE).set(numbers.live as f64);
    for of in &numbers.limits {
        for (result, count) in [
            ("granted", of.granted),
            ("refused", of.refused),
            ("let_through", of.let_through),
        ] {
            metrics::counter!(BUCKET_CALLS, "limit" => of.limit, "result" => result).absolute(count);
        }
    }
}

fn measure_cluster(numbers: &ClusterNumbers) {
    metrics::gauge!(LEASE).set(numbers.lease_left.as_secs_f64());
    metrics::counter!(LEASES_LOST).absolute(numbers.leases_lost);
    metrics::gauge!(SLOTS, "owner" => "this").set(numbers.slots as f64);
    metrics::gauge!(SLOTS, "owner" => "nobody").set(numbers.slots_unowned as f64);
    metrics::gauge!(NODES).set(numbers.nodes as f64);
    metrics::gauge!(LINKS).set(numbers.links as f64);
    metrics::gauge!(VIEW_AGE).set(numbers.view_age.as_secs_f64());
}

/// Read the metrics.
#[utoipa::path(
    get, path = "/metrics", operation_id = "get_metrics", tag = "node",
    responses(
        (
            status = 200, description = "In Prometheus' text format", body = String,
            content_type = "text/plain",
        ),
    )
)]
pub async fn show(State(http): State<Http>) -> impl IntoResponse {
    if let Some(gateway) = http.started() {
        measure(gateway);
    }
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        http.metrics().render(),
    )
}
