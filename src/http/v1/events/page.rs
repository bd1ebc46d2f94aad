//! `GET /v1/events` with `Accept: application/json`: a page of the log.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use roost_domain::TenantId;
use roost_domain::event::{Event, EventFilter};
use roost_domain::page::PAGE_ROWS_MAX;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Http;
use crate::http::auth::{Caller, hold, withdrawn};
use crate::http::params::Params;
use crate::http::problem::Answer;

const LIMIT_DEFAULT: u32 = 100;

/// A page of the log.
#[derive(Serialize, ToSchema)]
#[schema(as = EventsPage)]
pub(super) struct EventsPage<'a> {
    /// Events, oldest first.
    data: Vec<&'a Event>,
    /// Pass it as `after` to read on; it also moves when the filter let nothing pass.
    next_after: i64,
}

pub(super) async fn page(
    http: &Http,
    (tenant, caller): (TenantId, &Caller),
    filter: EventFilter,
    mut params: Params,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let wait_max_ms = u64::try_from(http.config().wait_max.as_millis()).unwrap_or(u64::MAX);
    let after = params.number("after", 0..=i64::MAX);
    let limit = params.number("limit", 1..=PAGE_ROWS_MAX).unwrap_or(LIMIT_DEFAULT);
    let wait = params
        .number("wait_ms", 0..=wait_max_ms)
        .map(Duration::from_millis)
        .filter(|wait| !wait.is_zero());
    params.finish()?;
    let after = super::start(gateway, tenant, Some((after.unwrap_or(0), "/query/after"))).await?;
    let batch = gateway.store.events(tenant, after, limit, &filter).await?;
    let (mut data, mut next_after) = (batch.events, batch.scanned_to.max(after));
    if let (true, Some(wait)) = (data.is_empty(), wait) {
        let _slot = gateway.stream_slots.take(tenant, "poll")?;
        let hold = hold(gateway, caller).await?;
        let mut tail = gateway.streams.tail(tenant, next_after, filter)?;
        tokio::select! {
            biased;
            _ = hold.ended() => return Err(withdrawn()),
            events = tail.next(limit as usize) => data = events?,
            () = tokio::time::sleep(wait) => {}
            () = http.closing().cancelled() => {}
        }
        next_after = tail.cursor();
    }
    let data = data.iter().map(Arc::as_ref).collect();
    Ok(Json(EventsPage { data, next_after }).into_response())
}
