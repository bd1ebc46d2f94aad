//! `GET /v1/operator/tenants/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::TenantId;

use super::TenantBody;
use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// One tenant as it is now. While it is being deleted, `deletion` says how far that has come; once it is
/// deleted, `deleted_at` says when the last of its rows was gone.
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
