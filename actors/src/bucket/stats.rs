//! What buckets have granted and refused, over all of them: no number is kept per tenant or address.

use std::sync::atomic::{AtomicU64, Ordering};

use roost_domain::limit::{BucketKey, Taken};

/// What calls came to that took from buckets of one limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitNumbers {
    /// Name of the limit.
    pub limit: &'static str,
    /// Calls granted.
    pub granted: u64,
    /// Calls refused.
    pub refused: u64,
    /// Calls let through because the bucket did not answer in time.
    pub let_through: u64,
}

/// Numbers of the buckets of a node since its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketNumbers {
    /// Live buckets.
    pub live: usize,
    /// By limit.
    pub limits: Vec<LimitNumbers>,
}

#[derive(Debug, Default)]
struct Counter {
    granted: AtomicU64,
    refused: AtomicU64,
    let_through: AtomicU64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Counters {
    address: Counter,
    key: Counter,
    calls: Counter,
    messages: Counter,
    session_operations: Counter,
}

impl Counters {
    fn of(&self, key: BucketKey) -> &Counter {
        match key {
            BucketKey::Address(_) | BucketKey::OtherAddresses => &self.address,
            BucketKey::Key(_) => &self.key,
            BucketKey::Calls(_) => &self.calls,
            BucketKey::Messages(_) => &self.messages,
            BucketKey::SessionOperations(_) => &self.session_operations,
        }
    }

    pub fn count(&self, key: BucketKey, taken: &Taken) {
        let counter = self.of(key);
        let counter = match taken {
            Taken::Granted(_) => &counter.granted,
            Taken::Refused { .. } => &counter.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn let_through(&self, key: BucketKey) {
        self.of(key).let_through.fetch_add(1, Ordering::Relaxed);
    }

    pub fn numbers(&self) -> Vec<LimitNumbers> {
        let numbers = |limit, counter: &Counter| LimitNumbers {
            limit,
            granted: counter.granted.load(Ordering::Relaxed),
            refused: counter.refused.load(Ordering::Relaxed),
            let_through: counter.let_through.load(Ordering::Relaxed),
        };
        vec![
            numbers("address", &self.address),
            numbers("key", &self.key),
            numbers("calls_per_hour", &self.calls),
            numbers("messages_per_hour", &self.messages),
            numbers("session_operations_per_minute", &self.session_operations),
        ]
    }
}
