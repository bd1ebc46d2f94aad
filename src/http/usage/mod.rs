//! API calls per tenant and day, for bills.
//!
//! Counted in memory by the layer around `/v1`, written by [`write`](CallCounter::write) every few seconds
//! and when the node stops. A crash loses those since the last write. What else is used is counted by the
//! writes that make it.

mod count;

use std::sync::Arc;

use roost_domain::store::Store;
use roost_domain::{TenantId, Timestamp};

use count::Counts;

/// Counts API calls.
pub struct CallCounter {
    store: Arc<dyn Store>,
    counts: Counts,
}

impl CallCounter {
    /// Writes to this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            counts: Counts::default(),
        }
    }

    /// Counts a call with a valid key.
    pub fn call(&self, tenant: TenantId, at: Timestamp) {
        self.counts.call(tenant, at);
    }

    /// Writes what was counted. What cannot be written is counted on.
    pub async fn write(&self) {
        for (day, used) in self.counts.take() {
            if let Err(error) = self.store.add_usage(day, used.clone()).await {
                tracing::warn!(%error, "counted API calls could not be written; they wait");
                self.counts.put_back(day, used);
            }
        }
    }
}
