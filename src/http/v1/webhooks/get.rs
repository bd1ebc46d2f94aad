//! `GET /v1/webhooks/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::WebhookId;

use super::WebhookBody;
use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// One webhook as it is now, without its secrets.
pub async fn get(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<WebhookId>,
    _: NoParams,
) -> Answer<WebhookBody> {
    Ok(Json(http.gateway()?.webhooks.get(tenant, id).await?))
}
