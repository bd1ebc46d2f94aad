//! `PATCH /v1/operator/tenants/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::TenantId;
use roost_domain::limit::Limits;
use roost_domain::tenant::TenantPatch;
use serde::Deserialize;

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
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    #[serde(default, deserialize_with = "nullable")]
    name: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    plan: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    limits: Option<Option<Limits>>,
    #[serde(default, deserialize_with = "nullable")]
    retention_days: Option<Option<u32>>,
    #[serde(default, deserialize_with = "nullable")]
    suspended: Option<Option<bool>>,
}

/// Changes a tenant. `limits` replaces all limits of its own. While it is suspended its keys are refused
/// and its sessions and webhooks rest; what they would do waits for them.
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
