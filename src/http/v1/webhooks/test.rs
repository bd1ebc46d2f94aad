//! `POST /v1/webhooks/{id}/test`

use crate::http::openapi::param::Repeatable;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_actors::webhook::TestResult;
use roost_domain::ErrorCode;
use roost_domain::webhook::Attempt;
use roost_domain::{EventId, WebhookId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::body::{Command, Nothing};
use crate::http::idempotency::once;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// What came of a test. Its event is not in the log.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookTest)]
struct Tested {
    event_id: EventId,
    /// Whether the endpoint took it.
    delivered: bool,
    /// The POST.
    attempt: Attempt,
}

/// Test a webhook.
///
/// Posts one `webhook.test`, once, and tells what came of it.
#[utoipa::path(
    post, path = "/webhooks/{id}/test", operation_id = "test_webhook", tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook"), Repeatable),
    request_body(content = Nothing, description = "None, or `{}`", example = json!({})),
    responses((status = 200, description = "What came of it", body = Tested)),
    extensions(
        ("x-scope" = json!("webhooks:manage")), ("x-unbound" = json!(true)),
        ("x-errors" = json!([ErrorCode::IdempotencyInProgress])),
    )
)]
pub async fn test(
    Unbound { tenant, .. }: Unbound<scope::WebhooksManage>,
    State(http): State<Http>,
    Id(id): Id<WebhookId>,
    _: NoParams,
    command: Command<Nothing>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    once(gateway, tenant, command.repeatable, StatusCode::OK, async {
        let TestResult {
            event_id,
            delivered,
            attempt,
        } = gateway.webhooks.test(tenant, id).await?;
        Ok(Tested {
            event_id,
            delivered,
            attempt,
        })
    })
    .await
}
