//! The tenant's event stream as a consumer sees it: SSE that resumes after a loss.
//!
//! [`Tail`] never skips an event: on any loss of the connection it comes back with the id of the
//! last event it returned.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;

use crate::error::{LoadError, Result, chain};
use crate::http::{Call, Connection, Endpoint};

/// Longest event that is read.
const EVENT_BYTES_MAX: usize = 1 << 20;
/// Losses in a row, without an event in between, before it is an error.
const RECONNECTS_MAX: u32 = 50;
const RECONNECT_DELAY: Duration = Duration::from_millis(100);

/// One event of the log, as far as measuring needs it.
#[derive(Debug, Deserialize)]
pub struct Event {
    pub seq: i64,
    pub timestamp: jiff::Timestamp,
    #[serde(rename = "type")]
    pub kind: String,
    pub instance_id: Option<String>,
    #[serde(default)]
    pub data: EventData,
}

/// The data of all event types in one shape.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct EventData {
    pub message: Option<EventMessage>,
    pub instance: Option<EventInstance>,
}

/// A message in an event.
#[derive(Debug, Deserialize)]
pub struct EventMessage {
    pub id: String,
    #[serde(default)]
    pub text: Option<EventText>,
}

/// The text of a text message.
#[derive(Debug, Deserialize)]
pub struct EventText {
    pub body: String,
}

/// An instance in an event.
#[derive(Debug, Deserialize)]
pub struct EventInstance {
    pub state: String,
}

/// An event that was read.
#[derive(Debug)]
pub struct Arrival {
    /// When its last byte was read.
    pub at: Instant,
    pub event: Event,
    /// Whether it comes after every event before it in the log as well.
    pub in_order: bool,
    /// How often the stream was lost and resumed so far.
    pub reconnects: u32,
}

/// A stream of events of some types.
#[derive(Debug)]
pub struct Tail {
    endpoint: Endpoint,
    path: String,
    last_id: Option<String>,
    last_seq: i64,
    open: Option<(Connection, Incoming)>,
    parser: SseParser,
    arrived: VecDeque<(Instant, SseEvent)>,
    losses: u32,
    reconnects: u32,
}

impl Tail {
    /// Opens the stream after the event `after`, or at its live end, and returns once the server
    /// has answered.
    pub async fn open(endpoint: Endpoint, types: &[&str], after: Option<i64>) -> Result<Self> {
        let mut tail = Self {
            endpoint,
            path: format!("/v1/events?types={}", types.join(",")),
            last_id: after.map(|seq| seq.to_string()),
            last_seq: after.unwrap_or(0),
            open: None,
            parser: SseParser::default(),
            arrived: VecDeque::new(),
            losses: 0,
            reconnects: 0,
        };
        tail.connect().await?;
        Ok(tail)
    }

    /// The next event. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Result<Arrival> {
        loop {
            if let Some((at, raw)) = self.arrived.pop_front() {
                let event: Event = serde_json::from_str(&raw.data).map_err(LoadError::Event)?;
                let in_order = event.seq > self.last_seq;
                self.last_seq = self.last_seq.max(event.seq);
                self.last_id = raw.id.or(self.last_id.take());
                self.losses = 0;
                return Ok(Arrival {
                    at,
                    event,
                    in_order,
                    reconnects: self.reconnects,
                });
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<()> {
        let Some((_, body)) = &mut self.open else {
            return self.connect().await;
        };
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    let at = Instant::now();
                    let arrived = &mut self.arrived;
                    let kept = self.parser.push(&bytes, |event| arrived.push_back((at, event)));
                    if !kept {
                        return self.lost("an event longer than 1 MiB".to_owned()).await;
                    }
                }
                Ok(())
            }
            Some(Err(error)) => self.lost(chain(&error)).await,
            None => self.lost("the server ended it".to_owned()).await,
        }
    }

    async fn lost(&mut self, why: String) -> Result<()> {
        self.open = None;
        self.losses += 1;
        self.reconnects += 1;
        if self.losses > RECONNECTS_MAX {
            return Err(LoadError::StreamLost {
                reconnects: self.losses,
                last: why,
            });
        }
        tokio::time::sleep(RECONNECT_DELAY).await;
        Ok(())
    }

    async fn connect(&mut self) -> Result<()> {
        let mut call = Call::get(self.path.as_str());
        call.accept = Some("text/event-stream");
        if let Some(id) = &self.last_id {
            call.headers.push(("last-event-id", id.clone()));
        }
        let mut connection = Connection::new(self.endpoint.clone());
        let response = match connection.open(&call).await {
            Ok(response) => response,
            Err(error) => return self.lost(chain(&error)).await,
        };
        let status = response.status().as_u16();
        if status != 200 {
            let body = response.into_body().collect().await;
            let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
            return Err(LoadError::Refused {
                call: format!("GET {}", self.path),
                status,
                body: body.unwrap_or_default(),
            });
        }
        self.parser = SseParser::default();
        self.open = Some((connection, response.into_body()));
        Ok(())
    }
}

/// One server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
struct SseEvent {
    id: Option<String>,
    data: String,
}

/// Cuts a byte stream into server-sent events, wherever its frames begin and end.
#[derive(Debug, Default)]
struct SseParser {
    line: Vec<u8>,
    event: SseEvent,
}

impl SseParser {
    /// Takes bytes and hands out each event they complete; false when an event is too long.
    fn push(&mut self, bytes: &[u8], mut each: impl FnMut(SseEvent)) -> bool {
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
            self.line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            if let Some(event) = self.end_of_line() {
                each(event);
            }
            if self.event.data.len() > EVENT_BYTES_MAX {
                return false;
            }
        }
        self.line.extend_from_slice(rest);
        self.line.len() <= EVENT_BYTES_MAX
    }

    fn end_of_line(&mut self) -> Option<SseEvent> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return (!event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            // A comment keeps the connection alive; the event's name is in its data as well.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests;
