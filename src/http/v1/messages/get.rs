//! `GET /v1/messages/{id}`

use axum::Json;
use axum::extract::State;
use roost_domain::MessageId;
use roost_domain::message::Message;

use crate::http::Http;
use crate::http::auth::{Allowed, scope};
use crate::http::params::{Id, NoParams};
use crate::http::problem::Answer;

/// Get a message.
///
/// One message as it is now.
#[utoipa::path(
    get, path = "/messages/{id}", operation_id = "get_message", tag = "messages",
    params(("id" = MessageId, Path, description = "The message")),
    responses((status = 200, description = "As it is now", body = Message)),
    extensions(("x-scope" = json!("messages:read")))
)]
pub async fn get(
    Allowed { tenant, caller, .. }: Allowed<scope::MessagesRead>,
    State(http): State<Http>,
    Id(id): Id<MessageId>,
    _: NoParams,
) -> Answer<Json<Message>> {
    let message = http.gateway()?.instances.message(tenant, id).await?;
    caller.finds(message.instance_id, "message")?;
    Ok(Json(message))
}
