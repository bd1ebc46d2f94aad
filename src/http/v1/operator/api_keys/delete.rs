//! `DELETE /v1/operator/api-keys/{id}`

use axum::extract::State;
use axum::http::StatusCode;
use roost_domain::ApiKeyId;
use roost_domain::api_key::Principal;

use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Revoke an operator's key.
///
/// Revokes an operator's key. When it was the last one, the command line makes another.
#[utoipa::path(
    delete, path = "/operator/api-keys/{id}", operation_id = "delete_operator_api_key", tag = "operator",
    params(("id" = ApiKeyId, Path, description = "The key")),
    responses((status = 204, description = "Revoked"))
)]
pub async fn delete(
    _: Operator,
    State(http): State<Http>,
    Id(id): Id<ApiKeyId>,
    _: NoParams,
) -> Answer<StatusCode> {
    let access = &http.gateway()?.access;
    access.revoke_key(None, Principal::Operator, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
