//! `DELETE /v1/api-keys/{id}`

use axum::extract::State;
use axum::http::StatusCode;
use roost_domain::ApiKeyId;
use roost_domain::api_key::Principal;

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Revoke an API key.
///
/// Revokes a key: it opens nothing any more, and the streams that it holds open end. A key can revoke
/// itself.
#[utoipa::path(
    delete, path = "/api-keys/{id}", operation_id = "delete_api_key", tag = "api-keys",
    params(("id" = ApiKeyId, Path, description = "The key")),
    responses((status = 204, description = "Revoked")),
    extensions(("x-scope" = json!("keys:manage")), ("x-unbound" = json!(true)))
)]
pub async fn delete(
    Unbound { tenant, caller, .. }: Unbound<scope::KeysManage>,
    State(http): State<Http>,
    Id(id): Id<ApiKeyId>,
    _: NoParams,
) -> Answer<StatusCode> {
    let access = &http.gateway()?.access;
    access
        .revoke_key(Some(caller.key()), Principal::Tenant(tenant), id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
