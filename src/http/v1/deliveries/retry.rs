//! `POST /v1/deliveries/{id}/retry`

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_domain::webhook::DeliveryId;

use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::body::{Command, Nothing};
use crate::http::idempotency::once;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Tries a delivery again, whatever became of it, with a new round of attempts.
pub async fn retry(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    Id(id): Id<DeliveryId>,
    _: NoParams,
    command: Command<Nothing>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    once(gateway, tenant, command.repeatable, StatusCode::ACCEPTED, async {
        Ok(gateway.webhooks.retry(tenant, id).await?)
    })
    .await
}
