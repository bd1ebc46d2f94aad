//! `GET /v1/instances/{id}/messages`

use axum::Json;
use axum::extract::State;
use roost_domain::InstanceId;
use roost_domain::message::{Direction, Message, MessageFilter, MessageStatus};

use crate::http::Http;
use crate::http::auth::Tenant;
use crate::http::cursor::Scope;
use crate::http::page::PageBody;
use crate::http::params::{Id, Params, chat};
use crate::http::problem::Answer;

/// An instance's messages, newest first, optionally of one chat, direction or status.
pub async fn list(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
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
