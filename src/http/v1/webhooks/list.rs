//! `GET /v1/webhooks`

use crate::http::openapi::param::Paging;
use axum::Json;
use axum::extract::State;
use roost_domain::webhook::Webhook;

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::cursor::Scope;
use crate::http::page::PageBody;
use crate::http::params::Params;
use crate::http::problem::Answer;

/// List webhooks.
///
/// A tenant's webhooks, oldest first.
#[utoipa::path(
    get, path = "/webhooks", operation_id = "list_webhooks", tag = "webhooks",
    params(Paging),
    responses((status = 200, description = "A page", body = PageBody<Webhook>)),
    extensions(("x-scope" = json!("webhooks:read")), ("x-unbound" = json!(true)))
)]
pub async fn list(
    Unbound { tenant, .. }: Unbound<scope::WebhooksRead>,
    State(http): State<Http>,
    mut params: Params,
) -> Answer<Json<PageBody<Webhook>>> {
    let scope = Scope::of(&["webhooks", &tenant.to_string()]);
    let page = params.page(&scope)?;
    params.finish()?;
    let page = http.gateway()?.webhooks.list(tenant, page).await?;
    Ok(Json(PageBody::new(page, &scope)))
}
