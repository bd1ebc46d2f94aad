//! `POST /v1/deliveries/{id}/retry`

use crate::http::openapi::param::Repeatable;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_domain::ErrorCode;
use roost_domain::webhook::Delivery;
use roost_domain::webhook::DeliveryId;

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::body::{Command, Nothing};
use crate::http::idempotency::once;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Retry a delivery.
///
/// Tries a delivery again, whatever became of it, with a new round of attempts.
#[utoipa::path(
    post, path = "/deliveries/{id}/retry", operation_id = "retry_delivery", tag = "deliveries",
    params(("id" = DeliveryId, Path, description = "The delivery"), Repeatable),
    request_body(content = Nothing, description = "None, or `{}`", example = json!({})),
    responses((status = 202, description = "Due now", body = Delivery)),
    extensions(
        ("x-scope" = json!("webhooks:manage")), ("x-unbound" = json!(true)),
        ("x-errors" = json!([ErrorCode::WrongState, ErrorCode::IdempotencyInProgress])),
    )
)]
pub async fn retry(
    Unbound { tenant, .. }: Unbound<scope::WebhooksManage>,
    State(http): State<Http>,
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
