//! `GET /v1/instances/{id}/messages`

use crate::http::openapi::param::{AddressText, Paging};
use axum::Json;
use axum::extract::State;
use roost_domain::InstanceId;
use roost_domain::message::{Direction, Message, MessageFilter, MessageStatus};
use utoipa::IntoParams;

use crate::http::Http;
use crate::http::auth::{Allowed, scope};
use crate::http::cursor::Scope;
use crate::http::page::PageBody;
use crate::http::params::{Id, Params, chat};
use crate::http::problem::Answer;

/// Which messages.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described")]
struct Filter {
    /// Only this chat.
    chat: Option<AddressText>,
    /// Only this direction.
    #[param(inline)]
    direction: Option<Direction>,
    /// Only this status.
    #[param(inline)]
    status: Option<MessageStatus>,
}

/// List messages.
///
/// An instance's messages, newest first, optionally of one chat, direction or status.
#[utoipa::path(
    get, path = "/instances/{id}/messages", operation_id = "list_messages", tag = "messages",
    params(("id" = InstanceId, Path, description = "The instance"), Filter, Paging),
    responses((status = 200, description = "A page", body = PageBody<Message>)),
    extensions(("x-scope" = json!("messages:read")))
)]
pub async fn list(
    Allowed { tenant, .. }: Allowed<scope::MessagesRead>,
    State(http): State<Http>,
    Id(id): Id<InstanceId>,
    mut params: Params,
) -> Answer<Json<PageBody<Message>>> {
    let filter = MessageFilter {
        chat: params.parsed("chat", chat),
        direction: params.parsed("direction", |name| {
            Direction::from_name(name).ok_or("expected inbound or outbound")
        }),
        status: params.parsed("status", |name| {
            MessageStatus::from_name(name).ok_or_else(|| format!("expected one of {}", statuses()))
        }),
    };
    let scope = scope(id, &filter);
    let page = params.page(&scope)?;
    params.finish()?;
    let page = http
        .gateway()?
        .instances
        .messages(tenant, id, filter, page)
        .await?;
    Ok(Json(PageBody::new(page, &scope)))
}

fn statuses() -> String {
    MessageStatus::ALL
        .iter()
        .map(|status| status.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn scope(id: InstanceId, filter: &MessageFilter) -> Scope {
    let chat = filter.chat.as_ref().map(ToString::to_string).unwrap_or_default();
    let direction = filter.direction.map(Direction::as_str).unwrap_or_default();
    let status = filter.status.map(MessageStatus::as_str).unwrap_or_default();
    Scope::of(&["messages", &id.to_string(), &chat, direction, status])
}
