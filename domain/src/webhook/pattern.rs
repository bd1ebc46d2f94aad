//! Which types of events a webhook wants.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::event::EventType;
use crate::schema::{self, schema};

/// An exact type, every type of a family (`message.*`), or every type (`*`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EventPattern {
    /// Every type.
    All,
    /// Every type whose name begins with this family and a dot.
    Family(String),
    /// This type.
    Exact(EventType),
}

/// A text is neither a type, nor a family, nor `*`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an event type, a family such as message.*, or *")]
pub struct PatternError;

impl EventPattern {
    /// Whether the type is wanted.
    pub fn matches(&self, kind: &EventType) -> bool {
        match self {
            Self::All => true,
            Self::Family(family) => kind.family() == family,
            Self::Exact(wanted) => wanted == kind,
        }
    }
}

/// This type.
impl From<EventType> for EventPattern {
    fn from(kind: EventType) -> Self {
        Self::Exact(kind)
    }
}

impl FromStr for EventPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some(family) = text.strip_suffix(".*") {
            let known = EventType::FAMILIES.contains(&family);
            return known.then(|| Self::Family(family.to_owned())).ok_or(PatternError);
        }
        EventType::from_name(text).map(Self::Exact).ok_or(PatternError)
    }
}

impl fmt::Display for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Family(family) => write!(f, "{family}.*"),
            Self::Exact(kind) => kind.fmt(f),
        }
    }
}

schema!(
    EventPattern,
    schema::one_of_or(
        "An exact type, a family such as `message.*`, or `*` for every type.",
        EventType::ALL.iter().map(EventType::as_str),
        r"^(\*|(instance|message|webhook|custom)\.\*|custom(\.[a-z0-9_-]+)+)$",
        "message.*",
    )
);

impl Serialize for EventPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
