//! `GET /v1/webhooks`

use axum::Json;
use axum::extract::State;
use roost_domain::webhook::Webhook;

use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::cursor::Scope;
use crate::http::page::PageBody;
use crate::http::params::Params;
use crate::http::problem::Answer;

/// A tenant's webhooks, oldest first.
pub async fn list(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    mut params: Params,
) -> Answer<Json<PageBody<Webhook>>> {
    let scope = Scope::of(&["webhooks"]);
    let page = params.page(&scope)?;
    params.finish()?;
    let page = http.gateway()?.webhooks.list(tenant, page).await?;
    Ok(Json(PageBody::new(page, &scope)))
}
