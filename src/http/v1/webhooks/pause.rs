//! `POST /v1/webhooks/{id}/pause` and `POST /v1/webhooks/{id}/resume`

use crate::http::openapi::param::Repeatable;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_domain::ErrorCode;
use roost_domain::WebhookId;
use roost_domain::webhook::Webhook;
use serde::Deserialize;
use utoipa::ToSchema;

use super::spec;
use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::body::{Command, Nothing};
use crate::http::fault::Faults;
use crate::http::idempotency::once;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Why it is paused, for people.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PauseWebhook)]
pub struct Pause {
    /// Why.
    #[schema(
        max_length = 200,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*$",
        example = "maintenance"
    )]
    reason: Option<String>,
}

/// Pause a webhook.
///
/// Delivers nothing from now on; events wait in the log.
#[utoipa::path(
    post, path = "/webhooks/{id}/pause", operation_id = "pause_webhook", tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook"), Repeatable),
    request_body(content = Pause, description = "Why, or nothing"),
    responses((status = 200, description = "Paused", body = Webhook)),
    extensions(
        ("x-scope" = json!("webhooks:manage")), ("x-unbound" = json!(true)),
        ("x-errors" = json!([ErrorCode::WrongState, ErrorCode::IdempotencyInProgress])),
    )
)]
pub async fn pause(
    Unbound { tenant, .. }: Unbound<scope::WebhooksManage>,
    State(http): State<Http>,
    Id(id): Id<WebhookId>,
    _: NoParams,
    command: Command<Pause>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let reason = command.body.reason;
    let mut faults = Faults::default();
    if let Some(text) = &reason {
        spec::description(&mut faults, "/reason", text);
    }
    faults.finish()?;
    once(gateway, tenant, command.repeatable, StatusCode::OK, async {
        Ok(gateway.webhooks.pause(tenant, id, reason).await?)
    })
    .await
}

/// Resume a webhook.
///
/// Delivers again, from where it stopped, whether it was paused or disabled.
#[utoipa::path(
    post, path = "/webhooks/{id}/resume", operation_id = "resume_webhook", tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook"), Repeatable),
    request_body(content = Nothing, description = "None, or `{}`", example = json!({})),
    responses((status = 200, description = "Enabled", body = Webhook)),
    extensions(
        ("x-scope" = json!("webhooks:manage")), ("x-unbound" = json!(true)),
        ("x-errors" = json!([ErrorCode::IdempotencyInProgress])),
    )
)]
pub async fn resume(
    Unbound { tenant, .. }: Unbound<scope::WebhooksManage>,
    State(http): State<Http>,
    Id(id): Id<WebhookId>,
    _: NoParams,
    command: Command<Nothing>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    once(gateway, tenant, command.repeatable, StatusCode::OK, async {
        Ok(gateway.webhooks.resume(tenant, id).await?)
    })
    .await
}
