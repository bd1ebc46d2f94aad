//! `GET /v1/instances/{id}/history`

use axum::Json;
use axum::extract::State;
use roost_domain::InstanceId;
use roost_domain::instance::HistoryEntry;

use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::cursor::Scope;
use crate::http::page::PageBody;
use crate::http::params::{Id, Params};
use crate::http::problem::Answer;

/// The states that the instance has been in, newest first, with the reasons.
pub async fn history(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<InstanceId>,
    mut params: Params,
) -> Answer<Json<PageBody<HistoryEntry>>> {
    let scope = Scope::of(&["history", &id.to_string()]);
    let page = params.page(&scope)?;
    params.finish()?;
    let page = http.gateway()?.instances.history(tenant, id, page).await?;
    Ok(Json(PageBody::new(page, &scope)))
}
