//! `GET /v1/operator/tenants`

use axum::Json;
use axum::extract::State;
use roost_domain::page::Page;

use super::TenantBody;
use crate::http::Http;
use crate::http::auth::Operator;
use crate::http::cursor::Scope;
use crate::http::openapi::param::Paging;
use crate::http::page::PageBody;
use crate::http::params::Params;
use crate::http::problem::Answer;

/// List tenants.
///
/// Tenants in every state, oldest first.
#[utoipa::path(
    get, path = "/operator/tenants", operation_id = "list_tenants", tag = "operator",
    params(Paging),
    responses((status = 200, description = "A page", body = PageBody<TenantBody>))
)]
pub async fn list(
    _: Operator,
    State(http): State<Http>,
    mut params: Params,
) -> Answer<Json<PageBody<TenantBody>>> {
    let scope = Scope::of(&["tenants"]);
    let page = params.page(&scope)?;
    params.finish()?;
    let gateway = http.gateway()?;
    let Page { rows, next } = gateway.store.tenants(page).await?;
    let body = |tenant| TenantBody::new(tenant, &gateway.access);
    let rows = rows.into_iter().map(body).collect();
    Ok(Json(PageBody::new(Page { rows, next }, &scope)))
}
