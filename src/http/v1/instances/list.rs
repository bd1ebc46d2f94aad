//! `GET /v1/instances`

use crate::http::openapi::param::Paging;
use axum::Json;
use axum::extract::State;
use roost_domain::instance::Instance;

use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::cursor::Scope;
use crate::http::page::PageBody;
use crate::http::params::Params;
use crate::http::problem::Answer;

/// List instances.
///
/// A tenant's instances, oldest first.
#[utoipa::path(
    get, path = "/instances", operation_id = "list_instances", tag = "instances",
    params(Paging),
    responses((status = 200, description = "A page", body = PageBody<Instance>)),
    extensions(("x-scope" = json!("instances:read")))
)]
pub async fn list(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    mut params: Params,
) -> Answer<Json<PageBody<Instance>>> {
    let scope = Scope::of(&["instances"]);
    let page = params.page(&scope)?;
    params.finish()?;
    let page = http.gateway()?.instances.list(tenant, &[], page).await?;
    Ok(Json(PageBody::new(page, &scope)))
}
