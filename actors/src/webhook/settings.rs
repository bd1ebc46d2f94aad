//! Every limit and time-out of webhooks, with its default. The configuration fills it.

use std::time::Duration;

/// Limits and time-outs of webhooks.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Webhooks a tenant may have. Default 100.
    pub per_tenant_max: u64,
    /// POSTs at the same time that a webhook has if its tenant asks for no number. Default 16.
    pub concurrency_default: u16,
    /// POSTs at the same time that a tenant may ask for. Default 256.
    pub concurrency_max: u16,
    /// POSTs in flight at most to one host and port, over all tenants of the node. Default 1,024.
    pub host_in_flight_max: usize,
    /// POSTs in flight at most on this node. Default 4,096.
    pub in_flight_max: usize,
    /// How long a POST may take: name, connection, TLS, head and body. Default 10 s.
    pub timeout: Duration,

    /// How long each attempt of a round waits after the one before; their number is the number of
    /// attempts. Default 0, 5 s, 30 s, 5 min, 30 min, 2 h, 5 h, 10 h, 10 h.
    pub schedule: Vec<Duration>,
    /// Share of a wait by which it is made shorter or longer at random, in percent. Default 20.
    pub jitter_percent: u32,
    /// Longest that an answer's `Retry-After` pauses a webhook. Default 1 h.
    pub retry_after_max: Duration,
    /// A webhook that has done nothing but fail for this long is disabled. Default 5 days.
    pub disable_after: Duration,

    /// Attempts failed in a row that open the breaker. Default 5.
    pub breaker_failures: u32,
    /// Recent attempts of which the failed share is taken. Default 20.
    pub breaker_window: usize,
    /// Failed share of the recent attempts that opens the breaker, in percent. Default 50.
    pub breaker_percent: u32,
    /// Shortest wait between two probes of an open breaker. Default 1 s.
    pub probe_first: Duration,
    /// Longest wait between two probes. Default 5 min.
    pub probe_max: Duration,
    /// Wait between two probes as a share of how long the breaker has been open, in percent: an endpoint
    /// that recovers is found after that share of its outage. Default 10.
    pub probe_percent: u32,
    /// Attempts of a round up to which a delivery is due at once when the breaker closes. Default 3.
    pub hurry_attempts_max: u32,

    /// Events read ahead of their first attempt at most. Default 256.
    pub read_ahead: usize,
    /// Deliveries that wait for another attempt at most: at the bound reading stops. Default 10,000.
    pub parked_max: usize,
    /// Outcomes that are not in the store yet at most: at the bound nothing more is posted. Default 1,024.
    pub unsettled_max: usize,
    /// Outcomes that are written at once without waiting for more. Default 256.
    pub settle_batch: usize,
    /// Longest that an outcome waits for others before it is written. Default 100 ms.
    pub settle_every: Duration,
    /// How often the cursor is written when only events pass by that are not for the webhook. Default 60 s.
    pub cursor_every: Duration,
    /// Bodies of parked events held in memory at most. Default 256.
    pub bodies_max: usize,
    /// Deliveries that one call may drive again. Default 1,000.
    pub redrive_max: usize,
    /// Replays of one webhook that are not done, at most. Default 16.
    pub replays_max: usize,

    /// How long a webhook that stops waits for the POSTs that are under way. Default 2 s.
    pub drain_timeout: Duration,
    /// How long a secret signs on after it was replaced. Default 24 h.
    pub secret_overlap: Duration,
    /// Longest overlap that a tenant may ask for. Default 7 days.
    pub secret_overlap_max: Duration,
}

impl Default for WebhookSettings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let hours = |count: u64| seconds(count * 3600);
        Self {
            per_tenant_max: 100,
            concurrency_default: 16,
            concurrency_max: 256,
            host_in_flight_max: 1_024,
            in_flight_max: 4_096,
            timeout: seconds(10),
            schedule: vec![
                Duration::ZERO,
                seconds(5),
                seconds(30),
                seconds(300),
                seconds(1_800),
                hours(2),
                hours(5),
                hours(10),
                hours(10),
            ],
            jitter_percent: 20,
            retry_after_max: hours(1),
            disable_after: hours(5 * 24),
            breaker_failures: 5,
            breaker_window: 20,
            breaker_percent: 50,
            probe_first: seconds(1),
            probe_max: seconds(300),
            probe_percent: 10,
            hurry_attempts_max: 3,
            read_ahead: 256,
            parked_max: 10_000,
            unsettled_max: 1_024,
            settle_batch: 256,
            settle_every: Duration::from_millis(100),
            cursor_every: seconds(60),
            bodies_max: 256,
            redrive_max: 1_000,
            replays_max: 16,
            drain_timeout: seconds(2),
            secret_overlap: hours(24),
            secret_overlap_max: hours(7 * 24),
        }
    }
}
