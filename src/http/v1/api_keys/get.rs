//! `GET /v1/api-keys/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::ApiKeyId;
use roost_domain::api_key::{ApiKey, Principal};

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Get an API key.
///
/// One key as it is now, without its text.
#[utoipa::path(
    get, path = "/api-keys/{id}", operation_id = "get_api_key", tag = "api-keys",
    params(("id" = ApiKeyId, Path, description = "The key")),
    responses((status = 200, description = "As it is now", body = ApiKey)),
    extensions(("x-scope" = json!("keys:manage")), ("x-unbound" = json!(true)))
)]
pub async fn get(
    Unbound { tenant, .. }: Unbound<scope::KeysManage>,
    State(http): State<Http>,
    Id(id): Id<ApiKeyId>,
    _: NoParams,
) -> Answer<Json<ApiKey>> {
    let store = &http.gateway()?.store;
    Ok(Json(store.key(Principal::Tenant(tenant), id).await?))
}
