//! Every limit and time-out of buckets, with its default. The configuration fills it.

use std::time::Duration;

/// Limits and time-outs of buckets.
#[derive(Debug, Clone)]
pub struct BucketSettings {
    /// Live buckets on this node beyond which addresses that have none share one. Default 100,000.
    pub max: usize,
    /// Longest that a call waits for a bucket; then it is let through and counted. Default 50 ms.
    pub deadline: Duration,
    /// Longest that a call waits for a bucket that another node owns; then it is counted here, with this
    /// node's share of the quota. Default 250 ms.
    pub owner_deadline: Duration,
    /// How many are leased to callers at most, to be granted without asking the bucket. Default 256.
    pub lease_max: u32,
    /// How long a lease may be used. Default 1 s.
    pub lease_life: Duration,
    /// How long a full bucket stays in memory without a call. Default 60 s.
    pub passivate_after: Duration,
    /// How often leases that are over and idle buckets are looked for. Default 10 s.
    pub sweep_every: Duration,
}

impl Default for BucketSettings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            max: 100_000,
            deadline: Duration::from_millis(50),
            owner_deadline: Duration::from_millis(250),
            lease_max: 256,
            lease_life: seconds(1),
            passivate_after: seconds(60),
            sweep_every: seconds(10),
        }
    }
}
