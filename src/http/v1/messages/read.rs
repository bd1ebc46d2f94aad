//! `POST /v1/messages/{id}/read`

use crate::http::openapi::param::Repeatable;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use roost_domain::ErrorCode;
use roost_domain::MessageId;
use roost_domain::message::Message;

use crate::http::Http;
use crate::http::auth::{Allowed, scope};
use crate::http::body::{Command, Nothing};
use crate::http::idempotency::once;
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Mark a message as read.
///
/// Tells the sender of an inbound message that it was read.
#[utoipa::path(
    post, path = "/messages/{id}/read", operation_id = "mark_message_read", tag = "messages",
    params(("id" = MessageId, Path, description = "The message"), Repeatable),
    request_body(content = Nothing, description = "None, or `{}`", example = json!({})),
    responses((status = 200, description = "Read", body = Message)),
    extensions(
        ("x-scope" = json!("messages:send")),
        ("x-errors" = json!([ErrorCode::WrongState, ErrorCode::NotConnected, ErrorCode::UpstreamFailed, ErrorCode::IdempotencyInProgress])),
    )
)]
pub async fn read(
    Allowed { tenant, caller, .. }: Allowed<scope::MessagesSend>,
    State(http): State<Http>,
    Id(id): Id<MessageId>,
    _: NoParams,
    command: Command<Nothing>,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    once(gateway, tenant, command.repeatable, StatusCode::OK, async {
        if !caller.instances().is_empty() {
            let message = gateway.instances.message(tenant, id).await?;
            caller.finds(message.instance_id, "message")?;
        }
        Ok(gateway.instances.mark_read(tenant, id).await?)
    })
    .await
}
