//! `DELETE /v1/webhooks/{id}`

use axum::extract::State;
use axum::http::StatusCode;
use roost_domain::WebhookId;

use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Removes a webhook with everything that is known of its deliveries.
pub async fn delete(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<WebhookId>,
    _: NoParams,
) -> Answer<StatusCode> {
    http.gateway()?.webhooks.delete(tenant, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
