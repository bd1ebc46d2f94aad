//! What both kinds of event streams share: a tenant's share of open streams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use roost_domain::{ErrorCode, TenantId};

use super::problem::{Answer, Problem};

/// Open streams of each tenant, at most so many.
#[derive(Debug, Clone)]
pub struct StreamSlots {
    open: Arc<Mutex<HashMap<TenantId, usize>>>,
    most: usize,
}

/// One open stream; dropped when it ends.
#[derive(Debug)]
pub struct StreamSlot {
    slots: StreamSlots,
    tenant: TenantId,
    kind: &'static str,
}

impl StreamSlots {
    /// Slots for at most `most` streams of each tenant.
    pub fn new(most: usize) -> Self {
        Self {
            open: Arc::default(),
            most,
        }
    }

    /// Takes a slot.
    pub fn take(&self, tenant: TenantId, kind: &'static str) -> Answer<StreamSlot> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(tenant).or_default();
        if *count >= self.most {
            return Err(Problem::new(
                ErrorCode::Overloaded,
                format!(
                    "this tenant has {} open event streams, as many as it may have",
                    self.most
                ),
            ));
        }
        *count += 1;
        metrics::gauge!("roost_http_streams_open", "kind" => kind).increment(1.0);
        Ok(StreamSlot {
            slots: self.clone(),
            tenant,
            kind,
        })
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        metrics::gauge!("roost_http_streams_open", "kind" => self.kind).decrement(1.0);
        let mut open = self.slots.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.tenant) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_its_share_and_gets_it_back() {
        let slots = StreamSlots::new(1);
        let (one, two) = (TenantId::from_parts(1, 1), TenantId::from_parts(1, 2));
        let first = slots.take(one, "sse").unwrap();
        assert_eq!(slots.take(one, "sse").unwrap_err().code(), ErrorCode::Overloaded);
        let _other = slots.take(two, "sse").unwrap();
        drop(first);
        assert!(slots.take(one, "ws").is_ok());
        assert_eq!(slots.open.lock().unwrap().len(), 1);
    }
}
