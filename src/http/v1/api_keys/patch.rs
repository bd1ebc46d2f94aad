//! `PATCH /v1/api-keys/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::api_key::{ApiKey, KeyPatch, Principal, Scopes};
use roost_domain::{ApiKeyId, InstanceId, Timestamp};
use serde::Deserialize;
use utoipa::ToSchema;

use super::spec;
use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::body::{Body, nullable};
use crate::http::fault::Faults;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;
use crate::http::v1::instances::exist;

/// What can be changed; a field that is absent stays as it is. Null removes a restriction.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UpdateApiKey)]
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
    /// What it may do; `*` is everything.
    #[schema(value_type = Scopes, required = false)]
    #[serde(default, deserialize_with = "nullable")]
    scopes: Option<Option<Vec<String>>>,
    /// The only instances that it reaches; null for all.
    #[schema(value_type = Option<Vec<InstanceId>>, max_items = 100)]
    #[serde(default, deserialize_with = "nullable")]
    instances: Option<Option<Vec<String>>>,
    /// The only networks from which it may be used, or addresses; null for everywhere.
    #[schema(value_type = Option<Vec<String>>, max_items = 50, example = json!(["203.0.113.0/24"]))]
    #[serde(default, deserialize_with = "nullable")]
    allowed_networks: Option<Option<Vec<String>>>,
    /// Calls at most per minute; null for no limit of its own.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    #[serde(default, deserialize_with = "nullable")]
    calls_per_minute: Option<Option<u32>>,
    /// From when on it is refused, a time to come; null for never.
    #[schema(value_type = Option<Timestamp>)]
    #[serde(default, deserialize_with = "nullable")]
    expires_at: Option<Option<String>>,
}

/// Change an API key.
///
/// Changes a key, from the next call on. Streams that it holds open end, and can be opened again if they
/// still may, unless only the name or the rate changes.
#[utoipa::path(
    patch, path = "/api-keys/{id}", operation_id = "update_api_key", tag = "api-keys",
    params(("id" = ApiKeyId, Path, description = "The key")),
    request_body(content = Patch, description = "What changes"),
    responses((status = 200, description = "Changed", body = ApiKey)),
    extensions(("x-scope" = json!("keys:manage")), ("x-unbound" = json!(true)))
)]
pub async fn patch(
    Unbound { tenant, caller, .. }: Unbound<scope::KeysManage>,
    State(http): State<Http>,
    Id(id): Id<ApiKeyId>,
    _: NoParams,
    Body(patch): Body<Patch>,
) -> Answer<Json<ApiKey>> {
    let gateway = http.gateway()?;
    let patch = patch.check(gateway.clock.now())?;
    if let Some(instances) = &patch.instances {
        exist::check(gateway, tenant, instances).await?;
    }
    let (by, of) = (Some(caller.key()), Principal::Tenant(tenant));
    Ok(Json(gateway.access.patch_key(by, of, id, patch).await?))
}

impl Patch {
    fn check(self, now: Timestamp) -> Answer<KeyPatch> {
        let mut faults = Faults::default();
        let name = faults.set("/name", self.name);
        if let Some(name) = &name {
            spec::name(&mut faults, name);
        }
        let scopes = faults.set("/scopes", self.scopes);
        let scopes = scopes.map(|texts| spec::scopes(&mut faults, &texts));
        let instances = self
            .instances
            .map(|texts| spec::instances(&mut faults, &texts.unwrap_or_default()));
        let allowed_networks = self
            .allowed_networks
            .map(|texts| spec::networks(&mut faults, &texts.unwrap_or_default()));
        if let Some(Some(number)) = self.calls_per_minute {
            spec::calls_per_minute(&mut faults, number);
        }
        let expires_at = self
            .expires_at
            .map(|text| text.and_then(|text| spec::expires_at(&mut faults, &text, now)));
        faults.finish()?;
        Ok(KeyPatch {
            name,
            scopes,
            instances,
            allowed_networks,
            calls_per_minute: self.calls_per_minute,
            expires_at,
        })
    }
}
