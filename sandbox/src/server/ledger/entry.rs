//! What is written down of a login and of a frame: small to keep, plain to show.

use std::net::SocketAddr;

use serde::Serialize;

use crate::server::link::Link;

/// What happened to a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum FrameEvent {
    /// Read from the client.
    In,
    /// Written to the client.
    Out,
    /// A fault kept it from the client.
    Lost,
    /// A fault changed it on its way to the client.
    Corrupted,
    /// Read from the client, and no stanza.
    Unreadable,
}

/// A frame, in as little memory as is reasonable.
#[derive(Debug)]
pub(super) struct Frame {
    pub order: u64,
    pub at_us: u64,
    connection: u64,
    /// Tag, type and id, one after the other.
    names: Box<str>,
    bytes: u32,
    tag_bytes: u8,
    kind_bytes: u8,
    event: FrameEvent,
}

/// Longest text kept of one attribute; a client chooses them.
const NAME_BYTES_MAX: usize = 128;

fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(NAME_BYTES_MAX)]
}

impl Frame {
    pub fn new(
        connection: u64,
        event: FrameEvent,
        (tag, kind, id): (&str, &str, &str),
        bytes: usize,
    ) -> Self {
        let (tag, kind, id) = (short(tag), short(kind), short(id));
        Self {
            order: 0,
            at_us: 0,
            connection,
            names: [tag, kind, id].concat().into(),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            // At most `NAME_BYTES_MAX`, see `short`.
            tag_bytes: tag.len() as u8,
            kind_bytes: kind.len() as u8,
            event,
        }
    }

    pub fn event(&self) -> Event {
        let (tag, rest) = self.names.split_at(self.tag_bytes.into());
        let (kind, id) = rest.split_at(self.kind_bytes.into());
        let name = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Event {
            order: self.order,
            at_us: self.at_us,
            connection: self.connection,
            what: What::Frame {
                event: self.event,
                tag: name(tag),
                r#type: name(kind),
                id: name(id),
                bytes: self.bytes,
            },
        }
    }
}

/// A login, or the attempt.
#[derive(Debug)]
pub(super) struct Login {
    pub order: u64,
    pub at_us: u64,
    pub connection: u64,
    /// When that was opened.
    opened_us: u64,
    remote: Option<SocketAddr>,
    /// Why it was refused.
    refused: Option<Box<str>>,
    end: Option<Box<End>>,
}

#[derive(Debug)]
struct End {
    order: u64,
    at_us: u64,
    reason: Box<str>,
}

impl Login {
    pub fn accepted(link: &Link) -> Self {
        Self {
            order: 0,
            at_us: 0,
            connection: link.id,
            opened_us: link.opened_us,
            remote: link.remote,
            refused: None,
            end: None,
        }
    }

    pub fn refused(link: &Link, reason: &str) -> Self {
        Self {
            refused: Some(reason.into()),
            ..Self::accepted(link)
        }
    }

    pub fn end(&mut self, order: u64, at_us: u64, reason: &str) {
        self.end = Some(Box::new(End {
            order,
            at_us,
            reason: reason.into(),
        }));
    }

    pub fn is_accepted(&self) -> bool {
        self.refused.is_none()
    }

    fn result(&self) -> LoginResult {
        match &self.refused {
            None => LoginResult::Accepted,
            Some(_) => LoginResult::Refused,
        }
    }

    fn reason(&self) -> Option<String> {
        self.refused.as_deref().map(str::to_owned)
    }

    pub fn view(&self, device: u16) -> LoginView {
        LoginView {
            device,
            order: self.order,
            at_us: self.at_us,
            connection: self.connection,
            opened_at_us: self.opened_us,
            remote_address: self.remote.map(|remote| remote.to_string()),
            result: self.result(),
            refused_for: self.reason(),
            ended_order: self.end.as_ref().map(|end| end.order),
            ended_at_us: self.end.as_ref().map(|end| end.at_us),
            ended_for: self.end.as_ref().map(|end| end.reason.to_string()),
        }
    }

    /// The login and, when it is over, its end.
    pub fn events(&self) -> impl Iterator<Item = Event> {
        let login = Event {
            order: self.order,
            at_us: self.at_us,
            connection: self.connection,
            what: What::Login {
                event: LoginEvent::Login,
                result: self.result(),
                refused_for: self.reason(),
                remote_address: self.remote.map(|remote| remote.to_string()),
            },
        };
        let end = self.end.as_ref().map(|end| Event {
            order: end.order,
            at_us: end.at_us,
            connection: self.connection,
            what: What::End {
                event: EndEvent::End,
                reason: end.reason.to_string(),
            },
        });
        std::iter::once(login).chain(end)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum LoginResult {
    Accepted,
    Refused,
}

/// A login as the API shows it.
#[derive(Debug, Serialize)]
pub(in crate::server) struct LoginView {
    pub device: u16,
    /// Its place in the order of everything the sandbox wrote down.
    pub order: u64,
    /// Unix time in microseconds.
    at_us: u64,
    connection: u64,
    /// When the client came, before it had said who it is.
    opened_at_us: u64,
    remote_address: Option<String>,
    result: LoginResult,
    refused_for: Option<String>,
    ended_order: Option<u64>,
    ended_at_us: Option<u64>,
    ended_for: Option<String>,
}

/// One line of a ledger.
#[derive(Debug, Serialize)]
pub(in crate::server) struct Event {
    pub order: u64,
    at_us: u64,
    connection: u64,
    #[serde(flatten)]
    what: What,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum What {
    Frame {
        event: FrameEvent,
        tag: Option<String>,
        r#type: Option<String>,
        id: Option<String>,
        bytes: u32,
    },
    Login {
        event: LoginEvent,
        result: LoginResult,
        refused_for: Option<String>,
        remote_address: Option<String>,
    },
    End {
        event: EndEvent,
        reason: String,
    },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum LoginEvent {
    Login,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum EndEvent {
    End,
}
