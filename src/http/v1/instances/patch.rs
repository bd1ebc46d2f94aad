//! `PATCH /v1/instances/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::InstanceId;
use roost_domain::instance::Instance;
use roost_domain::instance::InstancePatch;
use serde::Deserialize;
use utoipa::ToSchema;

use super::pacing::{PacingBody, PolicyBody, given};
use super::{InstanceBody, check_proxy};
use crate::http::Http;
use crate::http::auth::{Allowed, scope};
use crate::http::body::{Body, nullable};
use crate::http::fault::Faults;
use crate::http::params::{Id, NoParams};
use crate::http::problem::{Answer, Problem};

/// What can be changed; a field that is absent stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PatchInstance)]
pub struct Patch {
    /// Name for humans.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(
        value_type = String,
        required = false,
        max_length = 100,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]+$",
        example = "demo"
    )]
    name: Option<Option<String>>,
    /// Proxy through which it connects; null removes it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<String>, max_length = 1024, example = "http://127.0.0.1:3128")]
    proxy: Option<Option<String>>,
    /// How fast it sends; a field of it that is absent stays as it is, and null removes it.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<PacingBody>)]
    pacing: Option<Option<PacingBody>>,
    /// What it may not do; a field of it that is absent stays as it is.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = PolicyBody, required = false)]
    policy: Option<Option<PolicyBody>>,
}

/// Change an instance.
///
/// Changes an instance. A new proxy is used from the next connection on; null removes it. A pace holds
/// for what is not on its way yet, and null removes it; a policy holds for what is accepted from now on.
#[utoipa::path(
    patch, path = "/instances/{id}", operation_id = "update_instance", tag = "instances",
    params(("id" = InstanceId, Path, description = "The instance")),
    request_body(content = Patch, description = "What changes"),
    responses((status = 200, description = "As it is from now on", body = Instance)),
    extensions(("x-scope" = json!("instances:manage")))
)]
pub async fn patch(
    Allowed { tenant, .. }: Allowed<scope::InstancesManage>,
    State(http): State<Http>,
    Id(id): Id<InstanceId>,
    _: NoParams,
    Body(patch): Body<Patch>,
) -> Answer<InstanceBody> {
    let name = match patch.name {
        Some(None) => return Err(Problem::field("/name", "invalid", "a name cannot be removed")),
        Some(name) => name,
        None => None,
    };
    check_proxy(patch.proxy.as_ref().and_then(Option::as_deref))?;
    let mut faults = Faults::default();
    let pacing = patch
        .pacing
        .map(|pacing| pacing.map(|pacing| pacing.check(&mut faults)));
    let policy = given(&mut faults, "/policy", patch.policy).and_then(|policy| policy.check(&mut faults));
    faults.finish()?;
    let patch = InstancePatch {
        name,
        proxy: patch.proxy,
        pacing,
        policy,
    };
    Ok(Json(http.gateway()?.instances.patch(tenant, id, patch).await?))
}
