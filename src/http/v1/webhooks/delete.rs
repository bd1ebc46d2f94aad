//! `DELETE /v1/webhooks/{id}`

use axum::extract::State;
use axum::http::StatusCode;
use roost_domain::WebhookId;

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Delete a webhook.
///
/// Removes a webhook with everything that is known of its deliveries.
#[utoipa::path(
    delete, path = "/webhooks/{id}", operation_id = "delete_webhook", tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook")),
    responses((status = 204, description = "It is gone")),
    extensions(("x-scope" = json!("webhooks:manage")), ("x-unbound" = json!(true)))
)]
pub async fn delete(
    Unbound { tenant, .. }: Unbound<scope::WebhooksManage>,
    State(http): State<Http>,
    Id(id): Id<WebhookId>,
    _: NoParams,
) -> Answer<StatusCode> {
    http.gateway()?.webhooks.delete(tenant, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
