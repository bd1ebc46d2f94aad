//! `GET /v1/webhooks/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::WebhookId;
use roost_domain::webhook::Webhook;

use super::WebhookBody;
use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Get a webhook.
///
/// One webhook as it is now, without its secrets.
#[utoipa::path(
    get, path = "/webhooks/{id}", operation_id = "get_webhook", tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook")),
    responses((status = 200, description = "As it is now", body = Webhook)),
    extensions(("x-scope" = json!("webhooks:read")), ("x-unbound" = json!(true)))
)]
pub async fn get(
    Unbound { tenant, .. }: Unbound<scope::WebhooksRead>,
    State(http): State<Http>,
    Id(id): Id<WebhookId>,
    _: NoParams,
) -> Answer<WebhookBody> {
    Ok(Json(http.gateway()?.webhooks.get(tenant, id).await?))
}
