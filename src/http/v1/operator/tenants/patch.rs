//! `PATCH /v1/operator/tenants/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::ErrorCode;
use roost_domain::TenantId;
use roost_domain::limit::Limits;
use roost_domain::tenant::TenantPatch;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{TenantBody, spec};
use crate::access::Access;
use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::body::{Body, nullable};
use crate::http::fault::Faults;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;
use crate::http::v1::api_keys;

/// What can be changed; a field that is absent stays as it is. Null takes a plan, all own limits or an
/// own retention away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpdateTenant)]
pub struct Patch {
    /// Name for humans.
    #[schema(
        value_type = String,
        required = false,
        min_length = 1,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$"
    )]
    #[serde(default, deserialize_with = "nullable")]
    name: Option<Option<String>>,
    /// Name of a plan of the configuration; null for none.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 40, pattern = "^[a-z0-9_-]+$")]
    #[serde(default, deserialize_with = "nullable")]
    plan: Option<Option<String>>,
    /// All limits of its own anew; null for none.
    #[schema(value_type = Option<Limits>)]
    #[serde(default, deserialize_with = "nullable")]
    limits: Option<Option<Limits>>,
    /// For how many days its events and messages are kept; null for as configured.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 3650)]
    #[serde(default, deserialize_with = "nullable")]
    retention_days: Option<Option<u32>>,
    /// Whether its keys are refused and its actors rest.
    #[schema(value_type = bool, required = false)]
    #[serde(default, deserialize_with = "nullable")]
    suspended: Option<Option<bool>>,
}

/// Change a tenant.
///
/// Changes a tenant. `limits` replaces all limits of its own. While it is suspended its keys are refused
/// and its sessions and webhooks rest; what they would do waits for them.
#[utoipa::path(
    patch, path = "/operator/tenants/{id}", operation_id = "update_tenant", tag = "operator",
    params(("id" = TenantId, Path, description = "The tenant")),
    request_body(content = Patch, description = "What changes"),
    responses((status = 200, description = "Changed", body = TenantBody)),
    extensions(("x-errors" = json!([ErrorCode::WrongState])))
)]
pub async fn patch(
    _: Operator,
    State(http): State<Http>,
    Id(id): Id<TenantId>,
    _: NoParams,
    Body(patch): Body<Patch>,
) -> Answer<Json<TenantBody>> {
    let access = &http.gateway()?.access;
    let tenant = access.patch_tenant(id, patch.check(access)?).await?;
    Ok(Json(TenantBody::new(tenant, access)))
}

impl Patch {
    fn check(self, access: &Access) -> Answer<TenantPatch> {
        let mut faults = Faults::default();
        let name = faults.set("/name", self.name);
        if let Some(name) = &name {
            api_keys::spec::name(&mut faults, name);
        }
        if let Some(Some(plan)) = &self.plan {
            spec::plan(&mut faults, access, plan);
        }
        if let Some(Some(days)) = self.retention_days {
            spec::retention_days(&mut faults, access, days);
        }
        let suspended = faults.set("/suspended", self.suspended);
        faults.finish()?;
        Ok(TenantPatch {
            name,
            plan: self.plan,
            limits: self.limits.map(Option::unwrap_or_default),
            retention_days: self.retention_days,
            suspended,
        })
    }
}
