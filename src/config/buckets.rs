//! `[buckets]`: what rate limits count in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Config;
use super::value::duration;

/// `[buckets]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Buckets {
    /// Live buckets beyond which addresses that have none share one.
    pub max: usize,
    /// How long a call waits for its bucket before it is let through.
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How long a call waits for a bucket that another node of the cluster owns.
    #[serde(with = "duration")]
    pub owner_timeout: Duration,
    /// Largest lease.
    pub lease_max: u32,
    /// How long a lease may be used.
    #[serde(with = "duration")]
    pub lease_life: Duration,
    /// How long a full bucket stays in memory without a call.
    #[serde(with = "duration")]
    pub passivate_after: Duration,
    /// How often such are looked for.
    #[serde(with = "duration")]
    pub sweep_every: Duration,
}

/// What has to hold between keys.
pub(super) fn relations(config: &Config, need: &mut impl FnMut(bool, &str, &str)) {
    let buckets = &config.buckets;
    need(
        (1..=10_000_000).contains(&buckets.max),
        "buckets.max",
        "must be 1 to 10000000",
    );
    need(
        !buckets.timeout.is_zero() && buckets.timeout < config.http.request_timeout,
        "buckets.timeout",
        "must be longer than zero and shorter than http.request_timeout",
    );
    need(
        !buckets.owner_timeout.is_zero() && buckets.owner_timeout < config.http.request_timeout,
        "buckets.owner_timeout",
        "must be longer than zero and shorter than http.request_timeout",
    );
    need(buckets.lease_max >= 1, "buckets.lease_max", "must be at least 1");
    need(
        !buckets.lease_life.is_zero() && buckets.lease_life <= Duration::from_secs(60),
        "buckets.lease_life",
        "must be longer than zero and not longer than 60s",
    );
    need(
        !buckets.sweep_every.is_zero(),
        "buckets.sweep_every",
        "must be longer than zero",
    );
}
