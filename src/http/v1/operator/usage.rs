//! `GET /v1/operator/tenants/{id}/usage`

use axum::Json;
use axum::extract::State;
use roost_domain::TenantId;

use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::params::{Id, Params};
use crate::http::problem::Answer;
use crate::http::v1::usage::get::{Days, UsageBody, of_tenant};

/// Show a tenant's usage.
///
/// By day in UTC, also of a tenant that was deleted; the last 30 days unless the call says which.
#[utoipa::path(
    get, path = "/operator/tenants/{id}/usage", operation_id = "get_tenant_usage", tag = "operator",
    params(("id" = TenantId, Path, description = "The tenant"), Days),
    responses((status = 200, description = "What was used", body = UsageBody))
)]
pub async fn get(
    State(http): State<Http>,
    _: Operator,
    Id(tenant): Id<TenantId>,
    params: Params,
) -> Answer<Json<UsageBody>> {
    let gateway = http.gateway()?;
    gateway.store.tenant(tenant).await?;
    of_tenant(gateway, tenant, params).await
}
