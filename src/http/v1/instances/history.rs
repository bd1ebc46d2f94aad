//! `GET /v1/instances/{id}/history`

use crate::http::openapi::param::Paging;
use axum::Json;
use axum::extract::State;
use roost_domain::InstanceId;
use roost_domain::instance::HistoryEntry;

use crate::http::Http;
use crate::http::auth::{Allowed, scope};
use crate::http::cursor::Scope;
use crate::http::page::PageBody;
use crate::http::params::{Id, Params};
use crate::http::problem::Answer;

/// List the states of an instance.
///
/// The states that the instance has been in, newest first, with the reasons.
#[utoipa::path(
    get, path = "/instances/{id}/history", operation_id = "list_instance_history", tag = "instances",
    params(("id" = InstanceId, Path, description = "The instance"), Paging),
    responses((status = 200, description = "A page", body = PageBody<HistoryEntry>)),
    extensions(("x-scope" = json!("instances:read")))
)]
pub async fn history(
    Allowed { tenant, .. }: Allowed<scope::InstancesRead>,
    State(http): State<Http>,
    Id(id): Id<InstanceId>,
    mut params: Params,
) -> Answer<Json<PageBody<HistoryEntry>>> {
    let scope = Scope::of(&["history", &id.to_string()]);
    let page = params.page(&scope)?;
    params.finish()?;
    let page = http.gateway()?.instances.history(tenant, id, page).await?;
    Ok(Json(PageBody::new(page, &scope)))
}
