//! `GET /v1/webhooks/{id}/stats`

use axum::Json;
use axum::extract::State;
use roost_actors::webhook::WebhookStats;
use roost_domain::WebhookId;

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Show how a webhook does.
///
/// How a webhook is doing: lag, what waits, success rate, latency, breaker.
#[utoipa::path(
    get, path = "/webhooks/{id}/stats", operation_id = "get_webhook_stats", tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook")),
    responses((status = 200, description = "As it is now", body = WebhookStats)),
    extensions(("x-scope" = json!("webhooks:read")), ("x-unbound" = json!(true)))
)]
pub async fn stats(
    Unbound { tenant, .. }: Unbound<scope::WebhooksRead>,
    State(http): State<Http>,
    Id(id): Id<WebhookId>,
    _: NoParams,
) -> Answer<Json<WebhookStats>> {
    Ok(Json(http.gateway()?.webhooks.stats(tenant, id).await?))
}
