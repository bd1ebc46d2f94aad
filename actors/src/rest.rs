//! Tenants whose actors rest: nothing of theirs is started on this node, whatever their rows want.
//!
//! What a tenant wants stays in its rows, so that everything comes back when it may run again. The set
//! lives in memory and is read from the tenants' states at the start of the node.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use roost_domain::TenantId;
use roost_domain::tenant::TenantState;

/// Why a tenant's actors rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// The tenants whose actors rest.
#[derive(Debug, Default)]
pub(crate) struct Resting(RwLock<HashMap<TenantId, Rest>>);

impl Resting {
    pub fn get(&self, tenant: TenantId) -> Option<Rest> {
        let resting = self.0.read().unwrap_or_else(PoisonError::into_inner);
        resting.get(&tenant).copied()
    }

    pub fn set(&self, tenant: TenantId, rest: Option<Rest>) {
        let mut resting = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match rest {
            Some(rest) => resting.insert(tenant, rest),
            None => resting.remove(&tenant),
        };
    }
}
