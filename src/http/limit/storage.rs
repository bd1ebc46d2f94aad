//! How much each tenant keeps, as it was a moment ago.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use roost_domain::TenantId;
use roost_domain::store::{Store, StoreError};
use tokio::time::Instant;

/// Sizes that were read a moment ago. Only tenants whose storage is limited are asked for.
pub struct Storage {
    store: Arc<dyn Store>,
    read: Mutex<HashMap<TenantId, Read>>,
    age_max: Duration,
    tenants_max: usize,
}

#[derive(Clone, Copy)]
struct Read {
    bytes: u64,
    at: Instant,
}

impl Storage {
    /// Reads sizes anew when they are older than `age_max`, and remembers those of `tenants_max`.
    pub fn new(store: Arc<dyn Store>, age_max: Duration, tenants_max: usize) -> Self {
        Self {
            store,
            read: Mutex::default(),
            age_max,
            tenants_max,
        }
    }

    /// How many bytes a tenant keeps.
    pub async fn bytes(&self, tenant: TenantId) -> Result<u64, StoreError> {
        if let Some(bytes) = self.remembered(tenant) {
            return Ok(bytes);
        }
        let bytes = self.store.storage_bytes(tenant).await?;
        self.remember(tenant, bytes);
        Ok(bytes)
    }

    /// What is remembered. The first who finds that it is old goes to read it anew, the others go on
    /// with what there is.
    fn remembered(&self, tenant: TenantId) -> Option<u64> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let known = read.get_mut(&tenant)?;
        if known.at.elapsed() < self.age_max {
            return Some(known.bytes);
        }
        known.at = Instant::now();
        None
    }

    fn remember(&self, tenant: TenantId, bytes: u64) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.len() >= self.tenants_max && !read.contains_key(&tenant) {
            let age_max = self.age_max;
            read.retain(|_, known| known.at.elapsed() < age_max);
            if read.len() >= self.tenants_max {
                read.clear();
            }
        }
        let at = Instant::now();
        read.insert(tenant, Read { bytes, at });
    }
}
