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
use roost_domain::event::{EventFilter, EventType};
use roost_domain::webhook::EventPattern;
use roost_domain::{InstanceId, TenantId};

use crate::http::auth::Tenant;
use crate::http::params::Params;
use crate::http::problem::{Answer, Problem};
use crate::http::state::Gateway;
use crate::http::{Http, accept};

const SSE: &str = "text/event-stream";
const JSON: &str = "application/json";
/// Entries of `types` and of `instance_id`.
const FILTER_MAX: usize = 100;

/// `GET /v1/events`
pub async fn read(
    State(http): State<Http>,
    Tenant(tenant): Tenant,
    headers: HeaderMap,
    mut params: Params,
) -> Answer<Response> {
    let filter = EventFilter {
        types: params.list("types", FILTER_MAX, pattern),
        instances: params.list("instance_id", FILTER_MAX, str::parse::<InstanceId>),
    };
    match accept::choose(&headers, &[SSE, JSON])? {
        JSON => page::page(&http, tenant, filter, params).await,
        _ => sse::sse(&http, tenant, filter, &headers, params).await,
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
