//! `PATCH /v1/instances/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::InstanceId;
use roost_domain::instance::InstancePatch;
use serde::Deserialize;

use super::{InstanceBody, check_proxy};
use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::body::{Body, nullable};
use crate::http::params::{Id, NoParams};
use crate::http::problem::{Answer, Problem};

/// What can be changed; a field that is absent stays as it is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    #[serde(default, deserialize_with = "nullable")]
    name: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    proxy: Option<Option<String>>,
}

/// Changes an instance. A new proxy is used from the next connection on; null removes it.
pub async fn patch(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
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
    let patch = InstancePatch {
        name,
        proxy: patch.proxy,
    };
    Ok(Json(http.gateway()?.instances.patch(tenant, id, patch).await?))
}
