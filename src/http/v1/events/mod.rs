//! `/v1/events`: a tenant's log, as a stream of server-sent events, as pages, and over a WebSocket.
//!
//! All three are cursors over the log: whoever leaves can come back and misses nothing.

mod page;
pub mod publish;
mod sse;
pub mod ws;

#[cfg(test)]
mod tests;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use roost_domain::ErrorCode;
use roost_domain::event::{EventFilter, EventType};
use roost_domain::webhook::EventPattern;
use roost_domain::{InstanceId, TenantId};
use utoipa::{IntoParams, ToSchema};

use crate::http::auth::{Allowed, TOKEN, scope};
use crate::http::params::Params;
use crate::http::problem::{Answer, Problem};
use crate::http::state::Gateway;
use crate::http::{Http, accept};

const SSE: &str = "text/event-stream";
const JSON: &str = "application/json";
/// Entries of `types` and of `instance_id`.
const FILTER_MAX: usize = 100;

/// Which events, and from where on.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "only described")]
struct Read {
    /// Only these types and families, separated by commas.
    #[param(style = Form, explode = false, min_items = 1, max_items = 100)]
    types: Option<Vec<EventPattern>>,
    /// Only these instances, separated by commas.
    #[param(style = Form, explode = false, min_items = 1, max_items = 100)]
    instance_id: Option<Vec<InstanceId>>,
    /// The `seq` of the last event that was seen: a page begins with 0, a stream with the next event.
    #[param(minimum = 0, example = 0)]
    after: Option<i64>,
    /// Of a page: how many events it has at most.
    #[param(minimum = 1, maximum = 500, default = 100, example = 100)]
    limit: Option<u32>,
    /// Of a page: for how many milliseconds an empty one waits for an event.
    #[param(minimum = 0, default = 0)]
    wait_ms: Option<u64>,
}

/// Where a stream goes on.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "only described")]
struct Resume {
    /// Of a stream: the `seq` of the last event that was seen; empty when there is none. It wins over
    /// `after`.
    #[param(rename = "Last-Event-ID", pattern = "^([0-9]{1,19})?$", example = "9")]
    last_event_id: Option<String>,
}

/// Server-sent events: `id` is the `seq`, `event` the type, `data` the event.
#[derive(ToSchema)]
#[schema(value_type = String)]
struct EventStream(#[allow(dead_code, reason = "only described")] String);

/// Read the log.
///
/// As server-sent events it begins after `Last-Event-ID`, else after `after`, else with the next event,
/// and goes on until the client leaves. With `Accept: application/json` it is a page of what is there.
#[utoipa::path(
    get, path = "/events", operation_id = "read_events", tag = "events",
    params(Read, Resume),
    responses(
        (
            status = 200,
            description = "A stream of server-sent events, or with `Accept: application/json` a page",
            content((EventStream = "text/event-stream"), (page::EventsPage<'_> = "application/json")),
        ),
    ),
    extensions(
        ("x-scope" = json!("events:read")),
        ("x-stream-token" = json!(true)),
        ("x-errors" = json!([ErrorCode::NotAcceptable])),
    )
)]
pub async fn read(
    Allowed { tenant, caller, .. }: Allowed<scope::EventsRead>,
    State(http): State<Http>,
    headers: HeaderMap,
    mut params: Params,
) -> Answer<Response> {
    // A stream token has been read.
    params.text(TOKEN);
    let filter = EventFilter {
        types: params.list("types", FILTER_MAX, pattern),
        instances: params.list("instance_id", FILTER_MAX, str::parse::<InstanceId>),
    };
    let filter = caller.narrow(filter)?;
    let media = accept::choose(&headers, &[SSE, JSON])?;
    // A page has no use for it, and takes no nonsense either.
    let seen = sse::last_event_id(&headers)?;
    match media {
        JSON => page::page(&http, (tenant, &caller), filter, params).await,
        _ => sse::sse(&http, (tenant, &caller), filter, seen, params).await,
    }
}

fn pattern(text: &str) -> Result<EventPattern, String> {
    text.parse().map_err(|_| {
        let known: Vec<_> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
        format!(
            "expected custom.<name>, a family such as message.*, or some of {}",
            known.join(", ")
        )
    })
}

/// Where a stream starts: after a given event, or with the next one. A place beyond the log's end
/// would wait in silence for events that may never come, so it is refused.
async fn start(gateway: &Gateway, tenant: TenantId, after: Option<(i64, &str)>) -> Answer<i64> {
    let last = gateway.store.last_seq(tenant).await?;
    match after {
        None => Ok(last),
        Some((after, _)) if after <= last => Ok(after),
        Some((_, pointer)) => Err(Problem::field(
            pointer,
            "out_of_range",
            format!("the last event has the number {last}"),
        )),
    }
}
