//! `GET /v1/events/ws`: the log over a WebSocket, in JSON text frames.
//!
//! The client says `subscribe` first, and may say it again to change what it wants. A client that
//! breaks the rules is told why and disconnected; one that is too slow is told where it stands.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use roost_actors::{StreamError, Subscription};
use roost_domain::event::{Event, EventFilter};
use roost_domain::webhook::EventPattern;
use roost_domain::{ErrorCode, InstanceId, TenantId};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until, timeout};

use super::FILTER_MAX;
use crate::access::Hold;
use crate::http::auth::{Allowed, Caller, TOKEN, hold, scope};
use crate::http::params::Params;
use crate::http::problem::{Answer, Problem};
use crate::http::stream::StreamSlot;
use crate::http::{Http, body};

/// How long a client may take to subscribe.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(15);
const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Events read from the log at a time.
const BATCH_EVENTS: usize = 256;
const WRITE_BUFFER_BYTES: usize = 32 * 1024;

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Order {
    /// Sends events that pass, from a place in the log on.
    Subscribe {
        /// Only these types and families; none restricts.
        #[serde(default)]
        types: Vec<EventPattern>,
        /// Only these instances; none restricts.
        #[serde(default)]
        instance_ids: Vec<InstanceId>,
        /// The last event seen; without it a first subscription begins with the next event.
        resume_from: Option<i64>,
    },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Frame<'a> {
    Subscribed {
        after: i64,
        types: &'a [EventPattern],
        instance_ids: &'a [InstanceId],
    },
    Event {
        event: &'a Event,
    },
    Error {
        code: ErrorCode,
        detail: &'a str,
    },
    Closing {
        reason: &'a str,
        last_seq: i64,
    },
}

/// Why a connection ends.
enum End {
    /// The client left, or cannot be reached.
    Gone,
    /// The client broke the rules.
    Refused(Problem),
    /// The client did not read for too long.
    Slow,
    /// The client's key was revoked or changed, or has expired.
    Withdrawn,
    /// The gateway stops.
    Stopping,
    /// The log cannot be read.
    Log(StreamError),
}

struct Connection {
    http: Http,
    tenant: TenantId,
    caller: Caller,
    hold: Hold,
    socket: WebSocket,
    tail: Option<(Subscription, EventFilter)>,
    /// When the client was last heard, or asked.
    heard: Instant,
    asked: bool,
    _slot: StreamSlot,
}

/// Follow the log over a WebSocket.
///
/// JSON text frames. The client says `subscribe` first; docs/api.md has the frames.
#[utoipa::path(
    get, path = "/events/ws", operation_id = "open_event_socket", tag = "events",
    responses((status = 101, description = "The WebSocket is open")),
    extensions(("x-scope" = json!("events:read")), ("x-stream-token" = json!(true)))
)]
pub async fn ws(
    Allowed { tenant, caller, .. }: Allowed<scope::EventsRead>,
    State(http): State<Http>,
    mut params: Params,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Answer<Response> {
    // A stream token has been read.
    params.text(TOKEN);
    params.finish()?;
    let upgrade = upgrade.map_err(|rejection| {
        Problem::field(
            "/header/upgrade",
            "invalid",
            format!("this route is a WebSocket: {}", rejection.body_text()),
        )
    })?;
    let gateway = http.gateway()?;
    let slot = gateway.stream_slots.take(tenant, "ws")?;
    let hold = hold(gateway, &caller).await?;
    let tracker = http.clone();
    Ok(upgrade
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES + 4 * FRAME_BYTES_MAX.max(1 << 20))
        .on_upgrade(async move |socket| {
            let connection = Connection {
                http,
                tenant,
                caller,
                hold,
                socket,
                tail: None,
                heard: Instant::now(),
                asked: false,
                _slot: slot,
            };
            tracker.track(connection.run());
        }))
}

impl Connection {
    async fn run(mut self) {
        let end = loop {
            if let Err(end) = self.step().await {
                break end;
            }
        };
        self.close(end).await;
    }

    async fn step(&mut self) -> Result<(), End> {
        let quiet = self.http.config().stream_keep_alive;
        let patience = if self.tail.is_some() {
            quiet
        } else {
            SUBSCRIBE_TIMEOUT
        };
        let next_events = async {
            match &mut self.tail {
                Some((tail, _)) => tail.next(BATCH_EVENTS).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.hold.ended() => Err(End::Withdrawn),
            () = self.http.closing().cancelled() => Err(End::Stopping),
            incoming = self.socket.recv() => match incoming {
                Some(Ok(message)) => self.take(message).await,
                Some(Err(error)) => Err(broken(&error)),
                None => Err(End::Gone),
            },
            events = next_events => {
                let events = events.map_err(End::Log)?;
                self.write(&events).await
            }
            () = sleep_until(self.heard + patience) => self.probe().await,
        }
    }

    /// Nothing was heard for a while: whoever subscribed is asked once, whoever did not has had its
    /// time.
    async fn probe(&mut self) -> Result<(), End> {
        if self.tail.is_none() {
            return Err(End::Refused(Problem::new(
                ErrorCode::Timeout,
                "no subscribe came in time",
            )));
        }
        if self.asked {
            return Err(End::Gone);
        }
        self.asked = true;
        self.heard = Instant::now();
        self.send(Message::Ping(bytes::Bytes::new())).await
    }

    async fn take(&mut self, message: Message) -> Result<(), End> {
        self.heard = Instant::now();
        self.asked = false;
        match message {
            Message::Text(text) => {
                let order = body::parse::<Order>(text.as_bytes()).map_err(End::Refused)?;
                self.obey(order).await
            }
            Message::Binary(_) => Err(End::Refused(Problem::new(
                ErrorCode::InvalidBody,
                "send JSON in text frames",
            ))),
            Message::Ping(_) | Message::Pong(_) => Ok(()),
            Message::Close(_) => Err(End::Gone),
        }
    }

    async fn obey(&mut self, order: Order) -> Result<(), End> {
        let Order::Subscribe {
            types,
            instance_ids,
            resume_from,
        } = order;
        if types.len().max(instance_ids.len()) > FILTER_MAX {
            let detail = format!("at most {FILTER_MAX} types and {FILTER_MAX} instance_ids");
            return Err(End::Refused(Problem::new(ErrorCode::ValidationFailed, detail)));
        }
        let filter = EventFilter {
            types,
            instances: instance_ids,
        };
        let filter = self.caller.narrow(filter).map_err(End::Refused)?;
        let (tail, after) = self.tail_from(resume_from, &filter).await?;
        let subscribed = Frame::Subscribed {
            after,
            types: &filter.types,
            instance_ids: &filter.instances,
        };
        self.send(text(&subscribed)).await?;
        self.tail = Some((tail, filter));
        Ok(())
    }

    /// Where a subscription begins: where the client says, else where the one before it stands, else
    /// with the next event.
    async fn tail_from(
        &mut self,
        resume_from: Option<i64>,
        filter: &EventFilter,
    ) -> Result<(Subscription, i64), End> {
        let gateway = self.http.gateway().map_err(End::Refused)?;
        let stands_at = self.tail.as_ref().map(|(tail, _)| tail.cursor());
        let place = resume_from.or(stands_at).map(|seq| (seq, "/resume_from"));
        if place.is_some_and(|(seq, _)| seq < 0) {
            let detail = "expected the number of an event";
            return Err(End::Refused(Problem::field("/resume_from", "invalid", detail)));
        }
        let after = super::start(gateway, self.tenant, place)
            .await
            .map_err(End::Refused)?;
        let tail = gateway
            .streams
            .tail(self.tenant, after, filter.clone())
            .map_err(End::Log)?;
        Ok((tail, after))
    }

    async fn write(&mut self, events: &[Arc<Event>]) -> Result<(), End> {
        metrics::counter!("roost_http_stream_events_total", "kind" => "ws").increment(events.len() as u64);
        for event in events {
            self.send(text(&Frame::Event { event })).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        let send = timeout(self.http.config().stream_stall_timeout, self.socket.send(message));
        let sent = tokio::select! {
            biased;
            _ = self.hold.ended() => return Err(End::Withdrawn),
            sent = send => sent,
        };
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow),
        }
    }

    async fn close(mut self, end: End) {
        let last_seq = self.tail.as_ref().map_or(0, |(tail, _)| tail.cursor());
        let (frame, code, reason) = match &end {
            End::Gone => return,
            End::Refused(problem) => {
                let code = if problem.code() == ErrorCode::InvalidBody {
                    close_code::INVALID
                } else {
                    close_code::POLICY
                };
                (
                    Frame::Error {
                        code: problem.code(),
                        detail: problem.detail(),
                    },
                    code,
                    "refused",
                )
            }
            End::Slow => (
                Frame::Closing {
                    reason: "slow_consumer",
                    last_seq,
                },
                close_code::AGAIN,
                "slow_consumer",
            ),
            End::Withdrawn => (
                Frame::Closing {
                    reason: "unauthorized",
                    last_seq,
                },
                close_code::POLICY,
                "unauthorized",
            ),
            End::Stopping => (
                Frame::Closing {
                    reason: "stopping",
                    last_seq,
                },
                close_code::AWAY,
                "stopping",
            ),
            End::Log(error) => {
                tracing::warn!(%error, "an event stream ended because the log could not be read");
                (
                    Frame::Closing {
                        reason: "unavailable",
                        last_seq,
                    },
                    close_code::AGAIN,
                    "unavailable",
                )
            }
        };
        let goodbye = async {
            self.socket.send(text(&frame)).await?;
            let reason = Utf8Bytes::from_static(reason);
            self.socket
                .send(Message::Close(Some(CloseFrame { code, reason })))
                .await?;
            // The client answers a close with its own; cutting earlier could lose the frames above.
            while self.socket.recv().await.is_some_and(|message| message.is_ok()) {}
            Ok::<(), axum::Error>(())
        };
        // Whoever cannot be reached any more is left alone.
        let _ = timeout(Duration::from_secs(2), goodbye).await;
    }
}

/// A frame that is too long, or no WebSocket frame at all, is the client's fault; the rest is the
/// network's.
fn broken(error: &axum::Error) -> End {
    let text = error.to_string();
    if text.contains("too long") || text.contains("too big") {
        End::Refused(Problem::new(
            ErrorCode::PayloadTooLarge,
            format!("a frame may have at most {FRAME_BYTES_MAX} bytes"),
        ))
    } else {
        End::Gone
    }
}

fn text(frame: &Frame<'_>) -> Message {
    // Frames are structs of texts and numbers: JSON can always write them.
    Message::Text(serde_json::to_string(frame).unwrap_or_default().into())
}
