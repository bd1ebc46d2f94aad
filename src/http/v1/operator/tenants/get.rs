//! `GET /v1/operator/tenants/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::TenantId;

use super::TenantBody;
use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Get a tenant.
///
/// One tenant as it is now. While it is being deleted, `deletion` says how far that has come; once it is
/// deleted, `deleted_at` says when the last of its rows was gone.
#[utoipa::path(
    get, path = "/operator/tenants/{id}", operation_id = "get_tenant", tag = "operator",
    params(("id" = TenantId, Path, description = "The tenant")),
    responses((status = 200, description = "As it is now", body = TenantBody))
)]
pub async fn get(
    _: Operator,
    State(http): State<Http>,
    Id(id): Id<TenantId>,
    _: NoParams,
) -> Answer<Json<TenantBody>> {
    let gateway = http.gateway()?;
    let tenant = gateway.store.tenant(id).await?;
    Ok(Json(TenantBody::new(tenant, &gateway.access)))
}
