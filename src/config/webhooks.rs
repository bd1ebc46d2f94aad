//! `[webhooks]`: how events are delivered to the tenants' endpoints.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::value::{duration, durations, size};
use super::{Config, WebhookClient};

/// Entries of the retry schedule.
const SCHEDULE_MAX: usize = 32;

/// `[webhooks]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhooks {
    /// Webhooks of one tenant.
    pub per_tenant_max: u64,
    /// Largest `data` of an event that a tenant publishes.
    #[serde(with = "size")]
    pub event_data_bytes_max: usize,
    /// Time for one POST in all.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// POSTs at the same time for a webhook that does not say how many.
    pub concurrency_default: u16,
    /// What a webhook may ask for.
    pub concurrency_max: u16,
    /// POSTs at the same time to one host and port, over all tenants.
    pub host_in_flight_max: usize,
    /// POSTs at the same time in all.
    pub in_flight_max: usize,
    /// Waits before each attempt of a delivery.
    #[serde(with = "durations")]
    pub retry_schedule: Vec<Duration>,
    /// By how much of itself a wait is longer or shorter, at random.
    pub jitter_percent: u32,
    /// Longest pause that an endpoint may ask for.
    #[serde(with = "duration")]
    pub retry_after_max: Duration,
    /// Failing so long disables a webhook.
    #[serde(with = "duration")]
    pub disable_after: Duration,
    /// Failures in a row that open the breaker.
    pub breaker_failures: u32,
    /// Attempts of which the failed share is taken.
    pub breaker_window: usize,
    /// Failed share that opens the breaker.
    pub breaker_percent: u32,
    /// Shortest wait between probes.
    #[serde(with = "duration")]
    pub probe_first: Duration,
    /// Longest wait between probes.
    #[serde(with = "duration")]
    pub probe_max: Duration,
    /// The wait as a share of the outage so far.
    pub probe_percent: u32,
    /// Attempts up to which a delivery is due at once when the breaker closes.
    pub hurry_attempts_max: u32,
    /// Events read ahead.
    pub read_ahead: usize,
    /// Deliveries of one webhook that may wait for another attempt.
    pub parked_max: usize,
    /// Bodies of these in memory.
    pub bodies_max: usize,
    /// Outcomes of one webhook that may be unrecorded.
    pub unsettled_max: usize,
    /// How many of these are recorded together.
    pub settle_batch: usize,
    /// How long they may wait for it.
    #[serde(with = "duration")]
    pub settle_every: Duration,
    /// How often the cursor is recorded while nothing is delivered.
    #[serde(with = "duration")]
    pub cursor_every: Duration,
    /// Deliveries that one call may drive again.
    pub redrive_max: usize,
    /// Replays of one webhook under way.
    pub replays_max: usize,
    /// Time for POSTs under way when a webhook stops.
    #[serde(with = "duration")]
    pub drain_timeout: Duration,
    /// How long a secret signs on after it was replaced.
    #[serde(with = "duration")]
    pub secret_overlap: Duration,
    /// What a call may ask for.
    #[serde(with = "duration")]
    pub secret_overlap_max: Duration,
    /// How they are posted.
    pub client: WebhookClient,
}

/// What has to hold between keys.
pub(super) fn relations(config: &Config, need: &mut impl FnMut(bool, &str, &str)) {
    let webhooks = &config.webhooks;
    need(
        !webhooks.timeout.is_zero()
            && webhooks.timeout + Duration::from_secs(5) <= config.http.request_timeout,
        "webhooks.timeout",
        "must be longer than zero and 5s shorter than http.request_timeout: a test waits for its answer",
    );
    need(
        webhooks.concurrency_default >= 1 && webhooks.concurrency_default <= webhooks.concurrency_max,
        "webhooks.concurrency_default",
        "must be at least 1 and not more than webhooks.concurrency_max",
    );
    need(
        usize::from(webhooks.concurrency_max) <= webhooks.host_in_flight_max
            && webhooks.host_in_flight_max <= webhooks.in_flight_max,
        "webhooks.host_in_flight_max",
        "must be at least webhooks.concurrency_max and not more than webhooks.in_flight_max",
    );
    need(
        (1..=SCHEDULE_MAX).contains(&webhooks.retry_schedule.len()),
        "webhooks.retry_schedule",
        "must have 1 to 32 entries",
    );
    need(
        webhooks.jitter_percent <= 90 && webhooks.probe_percent <= 100 && webhooks.breaker_percent <= 100,
        "webhooks.jitter_percent",
        "must be at most 90; probe_percent and breaker_percent at most 100",
    );
    need(
        webhooks.breaker_failures >= 1 && webhooks.breaker_window >= 1 && webhooks.breaker_percent >= 1,
        "webhooks.breaker_failures",
        "this, breaker_window and breaker_percent must be at least 1",
    );
    need(
        !webhooks.probe_first.is_zero() && webhooks.probe_first <= webhooks.probe_max,
        "webhooks.probe_first",
        "must be longer than zero and not longer than webhooks.probe_max",
    );
    need(
        !webhooks.settle_every.is_zero() && !webhooks.cursor_every.is_zero(),
        "webhooks.settle_every",
        "this and cursor_every must be longer than zero",
    );
    let counts = [
        webhooks.read_ahead,
        webhooks.parked_max,
        webhooks.bodies_max,
        webhooks.unsettled_max,
        webhooks.settle_batch,
        webhooks.redrive_max,
        webhooks.replays_max,
    ];
    need(
        counts.iter().all(|&count| count >= 1),
        "webhooks.read_ahead",
        "this, parked_max, bodies_max, unsettled_max, settle_batch, redrive_max and replays_max must be at least 1",
    );
    need(
        webhooks.secret_overlap <= webhooks.secret_overlap_max,
        "webhooks.secret_overlap",
        "must not be longer than webhooks.secret_overlap_max",
    );
}
