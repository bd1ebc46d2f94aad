//! `DELETE /v1/operator/tenants/{id}`

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use roost_domain::TenantId;

use super::TenantBody;
use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Delete a tenant.
///
/// Destroys the tenant's encryption key and its API keys, at once and for good, then ends its sessions
/// and webhooks and removes its rows in the background. Phones stay linked until their owners unlink
/// them: log the instances out first where that matters. Done again, it changes nothing.
#[utoipa::path(
    delete, path = "/operator/tenants/{id}", operation_id = "delete_tenant", tag = "operator",
    params(("id" = TenantId, Path, description = "The tenant")),
    responses((status = 202, description = "Its keys are destroyed; the rest is under way", body = TenantBody))
)]
pub async fn delete(
    _: Operator,
    State(http): State<Http>,
    Id(id): Id<TenantId>,
    _: NoParams,
) -> Answer<impl IntoResponse> {
    let access = &http.gateway()?.access;
    let tenant = access.delete_tenant(id).await?;
    Ok((StatusCode::ACCEPTED, Json(TenantBody::new(tenant, access))))
}
