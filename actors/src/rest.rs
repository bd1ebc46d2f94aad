//! Tenants whose actors rest: nothing of theirs is started on this node, whatever their rows want.
//!
//! What a tenant wants stays in its rows, so that everything comes back when it may run again. The set
//! lives in memory and is read from the tenants' states at the start of the node, and when slots come to it.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use roost_domain::TenantId;
use roost_domain::tenant::TenantState;
use serde::{Deserialize, Serialize};

/// Why a tenant's actors rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// The operator has suspended the tenant.
    Suspended,
    /// The tenant is deleted: its rows are on their way out.
    Deleted,
}

impl Rest {
    /// Whether actors of a tenant in this state rest.
    pub fn of(state: TenantState) -> Option<Self> {
        match state {
            TenantState::Active => None,
            TenantState::Suspended => Some(Self::Suspended),
            TenantState::Deleting | TenantState::Deleted => Some(Self::Deleted),
        }
    }
}

/// The tenants whose actors rest, and whether what ran of them has ended here.
#[derive(Debug, Default)]
pub(crate) struct Resting(RwLock<HashMap<TenantId, (Rest, bool)>>);

impl Resting {
    pub fn get(&self, tenant: TenantId) -> Option<Rest> {
        let resting = self.0.read().unwrap_or_else(PoisonError::into_inner);
        resting.get(&tenant).map(|(rest, _)| *rest)
    }

    /// Every tenant that rests, and whether nothing of it runs here.
    pub fn all(&self) -> HashMap<TenantId, (Rest, bool)> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on nothing of the tenant is started.
    pub fn begin(&self, tenant: TenantId, rest: Rest) {
        self.change(|resting| {
            let known = resting.entry(tenant).or_insert((rest, false));
            // A suspended tenant that is deleted.
            known.0 = rest;
        });
    }

    /// Nothing of the tenant runs here any more.
    pub fn complete(&self, tenant: TenantId) {
        self.change(|resting| {
            if let Some(known) = resting.get_mut(&tenant) {
                known.1 = true;
            }
        });
    }

    pub fn end(&self, tenant: TenantId) {
        self.change(|resting| {
            resting.remove(&tenant);
        });
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<TenantId, (Rest, bool)>)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }
}
