//! `/v1/operator/tenants`: tenants, for whoever runs the nodes.

pub mod api_keys;
pub mod create;
pub mod delete;
pub mod get;
pub mod list;
pub mod patch;
mod spec;

use roost_domain::tenant::{Tenant, TenantState};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Access, RemovalView};

/// A tenant as the operator sees it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TenantWithDeletion)]
pub struct TenantBody {
    #[serde(flatten)]
    tenant: Tenant,
    /// How far its removal has come; null when this node does not work on it.
    deletion: Option<RemovalView>,
}

impl TenantBody {
    fn new(tenant: Tenant, access: &Access) -> Self {
        // The last row goes a moment before the work on it ends.
        let deletion = match tenant.state {
            TenantState::Deleting => access.removal(tenant.id),
            TenantState::Active | TenantState::Suspended | TenantState::Deleted => None,
        };
        Self { tenant, deletion }
    }
}
