//! `GET /v1/events` as server-sent events.
//!
//! Each stream has a task that reads on from its place in the log and a short queue to the
//! connection. A client that does not read stops the task, not the gateway; after a while it is
//! disconnected, and comes back with `Last-Event-ID`.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use roost_actors::Subscription;
use roost_domain::TenantId;
use roost_domain::event::{Event, EventFilter};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use crate::access::Hold;
use crate::http::Http;
use crate::http::auth::{Caller, hold};
use crate::http::params::Params;
use crate::http::problem::{Answer, Problem};
use crate::http::stream::StreamSlot;

/// Chunks between the task and the connection.
const QUEUE_CHUNKS: usize = 4;
/// Events written in one chunk.
const CHUNK_EVENTS: usize = 256;
/// What a client waits before it connects again.
const HELLO: &[u8] = b"retry: 2000\n: connected\n\n";

pub(super) async fn sse(
    http: &Http,
    (tenant, caller): (TenantId, &Caller),
    filter: EventFilter,
    seen: Option<i64>,
    mut params: Params,
) -> Answer<Response> {
    let gateway = http.gateway()?;
    let after = params.number("after", 0..=i64::MAX);
    params.finish()?;
    // What the client saw last is newer than the URL it was opened with.
    let place = match seen {
        Some(seen) => Some((seen, "/header/last-event-id")),
        None => after.map(|after| (after, "/query/after")),
    };
    let after = super::start(gateway, tenant, place).await?;
    let slot = gateway.stream_slots.take(tenant, "sse")?;
    let tail = gateway.streams.tail(tenant, after, filter)?;
    let hold = hold(gateway, caller).await?;
    let (chunks, queue) = mpsc::channel(QUEUE_CHUNKS);
    http.track(pump(http.clone(), tail, chunks, (slot, hold)));
    let body = futures::stream::unfold(queue, |mut queue| async move {
        let chunk: Bytes = queue.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), queue))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // Proxies of the nginx kind would hold the events back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

/// The place that the client saw last.
pub(super) fn last_event_id(headers: &HeaderMap) -> Answer<Option<i64>> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or("not text");
    // A browser that has seen no event yet sends an empty one.
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse() {
        Ok(seq) if seq >= 0 => Ok(Some(seq)),
        _ => Err(Problem::field(
            "/header/last-event-id",
            "invalid",
            "expected the number of an event",
        )),
    }
}

async fn pump(
    http: Http,
    mut tail: Subscription,
    chunks: mpsc::Sender<Bytes>,
    (slot, hold): (StreamSlot, Hold),
) {
    let stall = http.config().stream_stall_timeout;
    let quiet = http.config().stream_keep_alive;
    let mut keep_alive = Instant::now() + quiet;
    let mut chunk = Bytes::from_static(HELLO);
    loop {
        let sent = tokio::select! {
            biased;
            _ = hold.ended() => break,
            sent = timeout(stall, chunks.send(chunk)) => sent,
        };
        match sent {
            Ok(Ok(())) => {}
            // The client left, or has not read for so long that it holds room for nothing.
            Ok(Err(_)) | Err(_) => break,
        }
        chunk = tokio::select! {
            biased;
            _ = hold.ended() => break,
            () = chunks.closed() => break,
            () = http.closing().cancelled() => break,
            () = sleep_until(keep_alive) => Bytes::from_static(b": keep-alive\n\n"),
            events = tail.next(CHUNK_EVENTS) => match events {
                Ok(events) => {
                    metrics::counter!("roost_http_stream_events_total", "kind" => "sse").increment(events.len() as u64);
                    frames(&events)
                }
                Err(error) => {
                    tracing::warn!(%error, "an event stream ended because the log could not be read");
                    break;
                }
            },
        };
        keep_alive = Instant::now() + quiet;
    }
    drop(slot);
}

/// Events as frames. JSON has no line breaks in it, so that one `data` line holds it.
pub(super) fn frames(events: &[Arc<Event>]) -> Bytes {
    let mut text = Vec::with_capacity(events.len() * 512);
    for event in events {
        // Writing to memory does not fail, and an event is a struct of texts and numbers.
        let _ = write!(text, "id: {}\nevent: {}\ndata: ", event.seq, event.kind);
        let _ = serde_json::to_writer(&mut text, event.as_ref());
        text.extend_from_slice(b"\n\n");
    }
    text.into()
}
