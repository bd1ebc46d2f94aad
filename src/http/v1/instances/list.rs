//! `GET /v1/instances`

use crate::http::openapi::param::Paging;
use axum::Json;
use axum::extract::State;
use roost_domain::instance::Instance;

use crate::http::Http;
use crate::http::auth::{Allowed, scope};
use crate::http::cursor::Scope;
use crate::http::page::PageBody;
use crate::http::params::Params;
use crate::http::problem::Answer;

/// List instances.
///
/// A tenant's instances, oldest first; to a key that is bound to some, those.
#[utoipa::path(
    get, path = "/instances", operation_id = "list_instances", tag = "instances",
    params(Paging),
    responses((status = 200, description = "A page", body = PageBody<Instance>)),
    extensions(("x-scope" = json!("instances:read")))
)]
pub async fn list(
    Allowed { tenant, caller, .. }: Allowed<scope::InstancesRead>,
    State(http): State<Http>,
    mut params: Params,
) -> Answer<Json<PageBody<Instance>>> {
    let scope = Scope::of(&["instances", &tenant.to_string()]);
    let page = params.page(&scope)?;
    params.finish()?;
    let among = caller.instances();
    let page = http.gateway()?.instances.list(tenant, among, page).await?;
    Ok(Json(PageBody::new(page, &scope)))
}
