//! Events: the facts in a tenant's log. The log is the heart of Roost; webhooks and streams are
//! cursors over it.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::instance::{Instance, InstanceState};
use crate::message::{Content, Message, Sender};
use crate::schema::{self, schema};
use crate::webhook::EventPattern;
use crate::{Address, EventId, InstanceId, MessageId, TenantId, Timestamp};

/// Longest name of a custom type, in characters.
pub const CUSTOM_TYPE_CHARS_MAX: usize = 100;

/// [`CustomType::from_name`] as a regular expression, its length aside.
const CUSTOM_TYPE_PATTERN: &str = r"^custom(\.[a-z0-9_-]+)+$";

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// What kind of fact an event is, in JSON its dotted name.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventType {
            $($(#[$doc])* $name,)*
            /// A tenant's own fact.
            Custom(CustomType),
        }

        impl EventType {
            /// Every type of Roost's own.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The type's name in the API and the database.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)*
                    Self::Custom(custom) => &custom.0,
                }
            }
        }
    };
}

/// Name of a tenant's own type: `custom.` and a name of small letters, digits, `_`, `-` and `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustomType(Arc<str>);

impl CustomType {
    /// The type with this name, if it may be one.
    pub fn from_name(name: &str) -> Option<Self> {
        let rest = name.strip_prefix("custom.")?;
        let valid = !rest.is_empty()
            && name.len() <= CUSTOM_TYPE_CHARS_MAX
            && rest
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.'))
            && rest.split('.').all(|part| !part.is_empty());
        valid.then(|| Self(name.into()))
    }
}

event_types! {
    /// An instance was made.
    InstanceCreated => "instance.created",
    /// An instance was deleted.
    InstanceDeleted => "instance.deleted",
    /// A session entered another state.
    InstanceStateChanged => "instance.state_changed",
    /// A new QR code is ready to be scanned.
    InstanceQr => "instance.qr",
    /// A new pairing code is ready to be entered.
    InstancePairingCode => "instance.pairing_code",
    /// A message came in.
    MessageReceived => "message.received",
    /// WhatsApp's server has an outbound message.
    MessageSent => "message.sent",
    /// A device of the recipient has an outbound message.
    MessageDelivered => "message.delivered",
    /// A message was read.
    MessageRead => "message.read",
    /// An outbound message failed or expired; the reason says why.
    MessageFailed => "message.failed",
    /// An earlier message has a new text.
    MessageEdited => "message.edited",
    /// An earlier message was deleted for everyone.
    MessageRevoked => "message.revoked",
    /// Somebody reacted to a message, or took the reaction back.
    MessageReaction => "message.reaction",
    /// A webhook was made.
    WebhookCreated => "webhook.created",
    /// Roost disabled a webhook; the reason says why.
    WebhookDisabled => "webhook.disabled",
    /// A webhook was deleted.
    WebhookDeleted => "webhook.deleted",
    /// A tenant tries whether a webhook works.
    WebhookTest => "webhook.test",
}

impl EventType {
    /// First parts of the names of all types.
    pub const FAMILIES: &'static [&'static str] = &["instance", "message", "webhook", "custom"];

    /// The type with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|kind| kind.as_str() == name)
            .cloned()
            .or_else(|| CustomType::from_name(name).map(Self::Custom))
    }

    /// The first part of its name.
    pub fn family(&self) -> &str {
        let name = self.as_str();
        name.split_once('.').map_or(name, |(family, _)| family)
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for EventType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_name(&name)
            .ok_or_else(|| serde::de::Error::custom(format!("{name:?} is not an event type")))
    }
}

schema!(
    EventType,
    schema::one_of_or(
        "What kind of fact it is. Later releases have more types.",
        EventType::ALL.iter().map(EventType::as_str),
        CUSTOM_TYPE_PATTERN,
        "message.received",
    )
);

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One fact in a tenant's log.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Event {
    /// Identity; the same wherever and however often the event is seen.
    pub id: EventId,
    /// What kind of fact it is.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Place in the tenant's log: from 1, without gaps, in the order of commits.
    #[schema(minimum = 1, example = 9)]
    pub seq: i64,
    /// When it was written.
    pub timestamp: Timestamp,
    /// Tenant whose log it is in.
    pub tenant_id: TenantId,
    /// Instance it is about.
    pub instance_id: Option<InstanceId>,
    /// Chat it is about.
    pub chat: Option<Address>,
    /// The fact, shaped by the type.
    #[schema(value_type = Value)]
    pub data: Box<RawValue>,
}

/// A fact to be appended; the log gives it its id, time and place.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// What kind of fact it is.
    pub kind: EventType,
    /// Instance it is about.
    pub instance_id: Option<InstanceId>,
    /// Chat it is about.
    pub chat: Option<Address>,
    /// The fact, shaped by the type.
    pub data: Box<RawValue>,
}

#[derive(Serialize)]
struct InstanceData<'a> {
    instance: &'a Instance,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_state: Option<InstanceState>,
}

#[derive(Serialize)]
struct CodeData<'a> {
    code: &'a str,
    expires_at: Timestamp,
}

#[derive(Serialize)]
struct MessageData<'a> {
    message: &'a Message,
}

/// What `message.edited`, `message.revoked` and `message.reaction` say.
#[derive(Debug, Clone, Serialize)]
pub struct Amendment<'a> {
    /// The amended message's id here; `None` when it was never seen here.
    pub message_id: Option<MessageId>,
    /// The amended message's id on WhatsApp.
    pub whatsapp_id: &'a str,
    /// Chat of the amended message.
    pub chat: &'a crate::message::Chat,
    /// Who amended it.
    pub sender: &'a Sender,
    /// Whether the account itself amended it, on another device.
    pub from_me: bool,
    /// The new content, for an edit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<&'a Content>,
    /// The emoji, for a reaction; JSON null when it was taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emoji: Option<Option<&'a str>>,
    /// When its sender sent it.
    pub sent_at: Timestamp,
}

impl NewEvent {
    /// `instance.created` and `instance.deleted`.
    pub fn instance(kind: EventType, instance: &Instance) -> Self {
        Self::about_instance(
            kind,
            instance.id,
            &InstanceData {
                instance,
                previous_state: None,
            },
        )
    }

    /// `instance.state_changed`.
    pub fn state_changed(instance: &Instance, previous_state: InstanceState) -> Self {
        let data = InstanceData {
            instance,
            previous_state: Some(previous_state),
        };
        Self::about_instance(EventType::InstanceStateChanged, instance.id, &data)
    }

    /// `instance.qr` and `instance.pairing_code`.
    pub fn code(kind: EventType, instance: InstanceId, code: &str, expires_at: Timestamp) -> Self {
        Self::about_instance(kind, instance, &CodeData { code, expires_at })
    }

    /// Every event that shows a message as it now is.
    pub fn message(kind: EventType, message: &Message) -> Self {
        Self {
            chat: Some(message.chat.id.clone()),
            ..Self::about_instance(kind, message.instance_id, &MessageData { message })
        }
    }

    /// `message.edited`, `message.revoked` and `message.reaction`.
    pub fn amendment(kind: EventType, instance: InstanceId, amendment: &Amendment<'_>) -> Self {
        Self {
            chat: Some(amendment.chat.id.clone()),
            ..Self::about_instance(kind, instance, amendment)
        }
    }

    fn about_instance(kind: EventType, instance: InstanceId, data: &impl Serialize) -> Self {
        Self {
            kind,
            instance_id: Some(instance),
            chat: None,
            data: raw(data),
        }
    }
}

fn raw(data: &impl Serialize) -> Box<RawValue> {
    // The shapes above are structs with text keys: JSON can always write them.
    serde_json::value::to_raw_value(data).unwrap_or_default()
}

/// Which events to read; an empty list does not restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only these types and families.
    pub types: Vec<EventPattern>,
    /// Only these instances.
    pub instances: Vec<InstanceId>,
}

impl EventFilter {
    /// Whether the event passes.
    pub fn matches(&self, event: &Event) -> bool {
        (self.types.is_empty() || self.types.iter().any(|pattern| pattern.matches(&event.kind)))
            && (self.instances.is_empty()
                || event
                    .instance_id
                    .is_some_and(|instance| self.instances.contains(&instance)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_written_as_it_is_serialised() {
        for kind in EventType::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(EventType::from_name(kind.as_str()).as_ref(), Some(kind));
            assert!(EventType::FAMILIES.contains(&kind.family()), "{kind}");
        }
    }

    #[test]
    fn a_custom_type_has_a_plain_name() {
        let kind = EventType::from_name("custom.order.paid").unwrap();
        assert_eq!((kind.family(), kind.as_str()), ("custom", "custom.order.paid"));
        let long = format!("custom.{}", "a".repeat(CUSTOM_TYPE_CHARS_MAX));
        for bad in [
            "custom",
            "custom.",
            "custom.A",
            "custom.a..b",
            "custom.a ",
            "custom.\u{e9}",
            "order.paid",
            &long,
        ] {
            assert_eq!(EventType::from_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_empty_filter_passes_everything_and_a_set_one_only_its_own() {
        let instance = InstanceId::from_parts(1, 1);
        let new = NewEvent::code(
            EventType::InstanceQr,
            instance,
            "code",
            Timestamp::from_unix_ms(0),
        );
        let event = Event {
            id: EventId::from_parts(1, 1),
            kind: new.kind,
            seq: 1,
            timestamp: Timestamp::from_unix_ms(0),
            tenant_id: TenantId::from_parts(1, 1),
            instance_id: new.instance_id,
            chat: new.chat,
            data: new.data,
        };
        assert!(EventFilter::default().matches(&event));
        let other = EventFilter {
            instances: vec![InstanceId::from_parts(1, 2)],
            ..EventFilter::default()
        };
        assert!(!other.matches(&event));
        for pattern in ["instance.qr", "instance.*", "*"] {
            let wanted = EventFilter {
                types: vec![pattern.parse().unwrap()],
                instances: vec![instance],
            };
            assert!(wanted.matches(&event), "{pattern}");
        }
        assert_eq!(
            serde_json::to_value(&event).unwrap()["data"],
            serde_json::json!({"code": "code", "expires_at": "1970-01-01T00:00:00.000Z"})
        );
    }
}
