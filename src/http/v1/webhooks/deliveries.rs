//! `GET /v1/webhooks/{id}/deliveries`

use crate::http::openapi::param::{AddressText, Paging};
use axum::Json;
use axum::extract::State;
use roost_domain::event::EventType;
use roost_domain::webhook::store::DeliveryFilter;
use roost_domain::webhook::{Delivery, DeliveryStatus};
use roost_domain::{InstanceId, TenantId, Timestamp, WebhookId};
use utoipa::IntoParams;

use crate::http::Http;
use crate::http::auth::{Unbound, scope};
use crate::http::cursor::Scope;
use crate::http::page::PageBody;
use crate::http::params::{Id, Params, chat};
use crate::http::problem::Answer;

/// What became of them.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described")]
struct Status {
    /// Only those that this became of.
    #[param(inline)]
    status: Option<DeliveryStatus>,
}

/// Which deliveries.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described")]
pub(super) struct Filter {
    /// Only events of this type.
    event_type: Option<EventType>,
    /// Only events about this instance.
    instance_id: Option<InstanceId>,
    /// Only events about this chat.
    chat: Option<AddressText>,
    /// Only events written since then.
    since: Option<Timestamp>,
    /// Only events written before.
    until: Option<Timestamp>,
}

/// List deliveries.
///
/// What became of a webhook's events, newest event first.
#[utoipa::path(
    get, path = "/webhooks/{id}/deliveries", operation_id = "list_webhook_deliveries", tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook"), Status, Filter, Paging),
    responses((status = 200, description = "A page", body = PageBody<Delivery>)),
    extensions(("x-scope" = json!("webhooks:read")), ("x-unbound" = json!(true)))
)]
pub async fn deliveries(
    Unbound { tenant, .. }: Unbound<scope::WebhooksRead>,
    State(http): State<Http>,
    Id(id): Id<WebhookId>,
    mut params: Params,
) -> Answer<Json<PageBody<Delivery>>> {
    let status = params.parsed("status", |name| {
        let known: Vec<_> = DeliveryStatus::ALL.iter().map(|status| status.as_str()).collect();
        DeliveryStatus::from_name(name).ok_or_else(|| format!("expected one of {}", known.join(", ")))
    });
    page(&http, tenant, id, params, status).await
}

/// A page of the deliveries that pass the filters in the query, and have this status.
pub(super) async fn page(
    http: &Http,
    tenant: TenantId,
    id: WebhookId,
    mut params: Params,
    status: Option<DeliveryStatus>,
) -> Answer<Json<PageBody<Delivery>>> {
    let filter = DeliveryFilter {
        status,
        event_type: params.parsed("event_type", |name| {
            EventType::from_name(name).ok_or("expected an event type, such as message.received")
        }),
        instance: params.parsed("instance_id", str::parse::<InstanceId>),
        chat: params.parsed("chat", chat),
        since: params.parsed("since", str::parse::<Timestamp>),
        until: params.parsed("until", str::parse::<Timestamp>),
    };
    let scope = scope(id, &filter);
    let request = params.page(&scope)?;
    params.finish()?;
    let page = http
        .gateway()?
        .webhooks
        .deliveries(tenant, id, &filter, request)
        .await?;
    Ok(Json(PageBody::new(page, &scope)))
}

fn scope(id: WebhookId, filter: &DeliveryFilter) -> Scope {
    let DeliveryFilter {
        status,
        event_type,
        instance,
        chat,
        since,
        until,
    } = filter;
    let text = |part: Option<String>| part.unwrap_or_default();
    Scope::of(&[
        "deliveries",
        &id.to_string(),
        status.map_or("", DeliveryStatus::as_str),
        event_type.as_ref().map_or("", EventType::as_str),
        &text(instance.map(|instance| instance.to_string())),
        &text(chat.as_ref().map(ToString::to_string)),
        &text(since.map(|at| at.to_string())),
        &text(until.map(|at| at.to_string())),
    ])
}
