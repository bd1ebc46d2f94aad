//! `[keys]`: API keys and stream tokens.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Config;
use super::value::duration;

/// `[keys]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Keys of one tenant, and of the operator.
    pub per_tenant_max: u32,
    /// How long a key that was looked up is believed.
    #[serde(with = "duration")]
    pub cache_for: Duration,
    /// Keys remembered.
    pub cache_max: usize,
    /// Texts remembered that open nothing.
    pub unknown_max: usize,
    /// Keys being looked up at once.
    pub lookups_max: usize,
    /// How often at most a use of a key is noted.
    #[serde(with = "duration")]
    pub last_used_every: Duration,
    /// How often what is noted is written.
    #[serde(with = "duration")]
    pub last_used_flush: Duration,
    /// How long the text before a rotation is taken.
    #[serde(with = "duration")]
    pub rotation_overlap: Duration,
    /// What a call may ask for.
    #[serde(with = "duration")]
    pub rotation_overlap_max: Duration,
    /// How long a stream token opens streams.
    #[serde(with = "duration")]
    pub stream_token_ttl: Duration,
    /// What a call may ask for.
    #[serde(with = "duration")]
    pub stream_token_ttl_max: Duration,
    /// Rows of a deleted tenant removed in one transaction.
    pub removal_batch: u32,
}

/// What has to hold between keys.
pub(super) fn relations(config: &Config, need: &mut impl FnMut(bool, &str, &str)) {
    let keys = &config.keys;
    let second = Duration::from_secs(1);
    need(
        keys.per_tenant_max >= 1,
        "keys.per_tenant_max",
        "must be at least 1",
    );
    need(
        keys.cache_max >= 1 && keys.unknown_max >= 1 && keys.lookups_max >= 1,
        "keys.cache_max",
        "this, keys.unknown_max and keys.lookups_max must be at least 1",
    );
    need(
        keys.last_used_every >= 60 * second,
        "keys.last_used_every",
        "must be at least 1m",
    );
    need(
        keys.last_used_flush >= second,
        "keys.last_used_flush",
        "must be at least 1s",
    );
    need(
        keys.rotation_overlap <= keys.rotation_overlap_max,
        "keys.rotation_overlap",
        "must not be longer than keys.rotation_overlap_max",
    );
    need(
        keys.stream_token_ttl >= second && keys.stream_token_ttl <= keys.stream_token_ttl_max,
        "keys.stream_token_ttl",
        "must be at least 1s and not longer than keys.stream_token_ttl_max",
    );
    need(
        (1..=10_000).contains(&keys.removal_batch),
        "keys.removal_batch",
        "must be from 1 to 10000",
    );
}
