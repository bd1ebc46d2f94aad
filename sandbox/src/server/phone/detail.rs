//! Kinds of content besides text and media, in the form of the control API; what is sent and what is
//! received have the same form.

mod check;
mod read;
mod write;

use serde::{Deserialize, Serialize};

pub(in crate::server) use check::Unfit;
pub(super) use write::Sealed;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Detail {
    Poll {
        name: String,
        options: Vec<String>,
        /// How many options one voter may choose; 0 is any number.
        #[serde(default = "one")]
        selectable: u32,
    },
    Vote {
        poll_id: String,
        /// None at all takes the vote back.
        options: Vec<String>,
        /// Whether the phone could open a vote it received.
        #[serde(default = "yes")]
        readable: bool,
    },
    Event {
        name: String,
        description: Option<String>,
        /// Unix seconds.
        start_s: i64,
        end_s: Option<i64>,
        join_link: Option<String>,
        place: Option<String>,
        #[serde(default)]
        canceled: bool,
    },
    EventResponse {
        event_id: String,
        response: Response,
        #[serde(default = "yes")]
        readable: bool,
    },
    Contacts {
        contacts: Vec<Card>,
    },
    Location {
        latitude: f64,
        longitude: f64,
        name: Option<String>,
        address: Option<String>,
        url: Option<String>,
    },
    LiveLocation {
        latitude: f64,
        longitude: f64,
        accuracy_m: Option<u32>,
        caption: Option<String>,
        sequence: Option<i64>,
    },
    /// A text with the preview of a link in it.
    Link {
        text: String,
        url: String,
        title: Option<String>,
        description: Option<String>,
    },
    Pin {
        target_id: String,
        #[serde(default = "yes")]
        pinned: bool,
        #[serde(default = "a_week")]
        duration_s: u32,
    },
    Keep {
        target_id: String,
        #[serde(default = "yes")]
        kept: bool,
    },
    /// The timer of a chat; 0 turns disappearing messages off.
    Timer {
        seconds: u32,
    },
    Comment {
        target_id: String,
        text: String,
    },
    /// A reply to a button; only received.
    ButtonReply {
        button_id: String,
        text: String,
    },
    /// A choice from a list; only received.
    ListReply {
        row_id: String,
        title: String,
    },
}

/// A contact card: a vCard, or what makes one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    pub name: String,
    pub phone_number: Option<String>,
    pub vcard: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    Going,
    NotGoing,
    Maybe,
    /// What could not be opened.
    Unknown,
}

impl Response {
    pub(super) const ALL: [Self; 3] = [Self::Going, Self::NotGoing, Self::Maybe];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Going => "going",
            Self::NotGoing => "not_going",
            Self::Maybe => "maybe",
            Self::Unknown => "unknown",
        }
    }
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

fn a_week() -> u32 {
    604_800
}

impl Detail {
    /// The id of the message it is about.
    pub(super) fn target(&self) -> Option<&str> {
        match self {
            Self::Vote { poll_id: target, .. }
            | Self::EventResponse { event_id: target, .. }
            | Self::Pin {
                target_id: target, ..
            }
            | Self::Keep {
                target_id: target, ..
            }
            | Self::Comment {
                target_id: target, ..
            } => Some(target),
            _ => None,
        }
    }

    /// What it says in words.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Link { text, .. } | Self::Comment { text, .. } | Self::ButtonReply { text, .. } => {
                Some(text)
            }
            Self::Poll { name, .. } | Self::Event { name, .. } => Some(name),
            Self::ListReply { title, .. } => Some(title),
            Self::LiveLocation { caption, .. } => caption.as_deref(),
            _ => None,
        }
    }
}
