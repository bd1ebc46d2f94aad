//! Messages: what was sent or received, and how far each has come.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::address::{Address, PhoneNumber};
use crate::{InstanceId, MessageId, TenantId, Timestamp};

/// Longest text, in bytes of UTF-8: WhatsApp cuts at 65,536 characters.
pub const TEXT_BYTES_MAX: usize = 65_536;

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// To the instance.
    Inbound,
    /// From the instance's account: through Roost, or from another device of the account.
    Outbound,
}

impl Direction {
    /// The name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }

    /// The direction with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Inbound, Self::Outbound]
            .into_iter()
            .find(|direction| direction.as_str() == name)
    }
}

/// How far a message has come. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MessageStatus {
    /// Outbound: durable here, not yet acknowledged by WhatsApp's server.
    Accepted,
    /// Outbound: WhatsApp's server has it.
    Sent,
    /// Outbound: a device of the recipient has it.
    Delivered,
    /// The reader has seen it: the recipient when outbound, the instance when inbound.
    Read,
    /// Outbound: it will not be sent; the reason says why.
    Failed,
    /// Outbound: its deadline passed before WhatsApp's server had it.
    Expired,
    /// Inbound: durable here.
    Received,
}

impl MessageStatus {
    /// Every status.
    pub const ALL: &'static [Self] = &[
        Self::Accepted,
        Self::Sent,
        Self::Delivered,
        Self::Read,
        Self::Failed,
        Self::Expired,
        Self::Received,
    ];

    /// The name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Received => "received",
        }
    }

    /// The status with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|status| status.as_str() == name)
    }

    /// Whether a message may move on from this status to `next`. Receipts come late, twice and out
    /// of order; whatever is not a step forward is dropped. A receipt proves that a message given up
    /// as failed or expired arrived after all, so it wins over both.
    pub fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (Self::Received, Self::Read) => true,
            (Self::Received, _) | (_, Self::Received | Self::Accepted) => false,
            (Self::Accepted, _) => true,
            (Self::Failed | Self::Expired, Self::Delivered | Self::Read) => true,
            (Self::Sent, Self::Delivered | Self::Read | Self::Failed) => true,
            (Self::Delivered, Self::Read) => true,
            _ => false,
        }
    }
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Plain text.
    Text {
        /// The text.
        text: TextBody,
    },
    /// A kind of message that this release cannot show.
    Unsupported {
        /// WhatsApp's name for the kind, for example `image`.
        kind: String,
    },
}

/// The text of a text message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextBody {
    /// UTF-8, at most 65,536 bytes.
    #[schema(min_length = 1, max_length = 65_536, example = "Hello")]
    pub body: String,
}

impl Content {
    /// A text message.
    pub fn text(body: impl Into<String>) -> Self {
        Self::Text {
            text: TextBody { body: body.into() },
        }
    }

    /// Name of the kind in the API and the database.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text { .. } => "text",
            Self::Unsupported { .. } => "unsupported",
        }
    }
}

/// The message that a message answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quoted {
    /// Its id here, when it is known here.
    pub message_id: Option<MessageId>,
    /// Its id on WhatsApp.
    pub whatsapp_id: String,
    /// Who wrote it; null when the instance itself did.
    pub sender: Option<Address>,
    /// Its text, when it had one.
    pub text: Option<String>,
}

/// A chat under every name known for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Chat {
    /// The name used as its key: the phone number's address where known, else the LID's; a group's
    /// own.
    pub id: Address,
    /// Phone number of the other party, where known.
    pub phone_number: Option<PhoneNumber>,
    /// LID of the other party, where known.
    pub lid: Option<Address>,
}

impl Chat {
    /// The chat with this address, when nothing more is known.
    pub fn of(address: Address) -> Self {
        let phone_number = address.phone_number().cloned();
        let lid = matches!(address, Address::Lid(_)).then(|| address.clone());
        Self {
            id: address,
            phone_number,
            lid,
        }
    }
}

/// Who wrote an inbound message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sender {
    /// The name used as its key, as of a chat.
    pub id: Address,
    /// Its phone number, where known.
    pub phone_number: Option<PhoneNumber>,
    /// Its LID, where known.
    pub lid: Option<Address>,
    /// The name the sender gave itself.
    pub push_name: Option<String>,
}

/// Where an outbound message was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Through this API.
    Api,
    /// On the phone, or on another device of the account.
    Device,
}

impl Origin {
    /// The name in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Device => "device",
        }
    }

    /// The origin with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Api, Self::Device]
            .into_iter()
            .find(|origin| origin.as_str() == name)
    }
}

/// One WhatsApp message as it is stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// Identity.
    pub id: MessageId,
    /// Tenant it belongs to.
    #[serde(skip, default = "unset_tenant")]
    pub tenant_id: TenantId,
    /// Instance it went through.
    pub instance_id: InstanceId,
    /// Which way it went.
    pub direction: Direction,
    /// Where it was written, when outbound.
    pub origin: Option<Origin>,
    /// The chat it belongs to.
    pub chat: Chat,
    /// Who wrote it, when inbound.
    pub sender: Option<Sender>,
    /// Its id on WhatsApp: fixed when accepted, the same on every attempt.
    pub whatsapp_id: String,
    /// How far it has come.
    pub status: MessageStatus,
    /// Why it failed or expired.
    pub failure: Option<FailureReason>,
    /// What it says.
    #[serde(flatten)]
    pub content: Content,
    /// The message it answers.
    pub reply_to: Option<Quoted>,
    /// When it was accepted here, or, when not sent through Roost, when its sender sent it.
    pub created_at: Timestamp,
    /// When WhatsApp's server acknowledged it.
    pub sent_at: Option<Timestamp>,
    /// When a device of the recipient had it.
    pub delivered_at: Option<Timestamp>,
    /// When it was read.
    pub read_at: Option<Timestamp>,
    /// When it failed or expired.
    pub failed_at: Option<Timestamp>,
    /// When its text was last changed by its author.
    pub edited_at: Option<Timestamp>,
    /// When its author deleted it for everyone.
    pub revoked_at: Option<Timestamp>,
    /// When an accepted message is given up.
    pub expires_at: Option<Timestamp>,
}

/// Makes a message id as WhatsApp's web clients make them, from random bits.
pub fn new_whatsapp_id(random: u128) -> String {
    format!("3EB0{:018X}", random & ((1 << 72) - 1))
}

fn unset_tenant() -> TenantId {
    TenantId::from_parts(0, 0)
}

/// Why a message failed, for machines.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum FailureReason {
    /// WhatsApp's server refused it with this number.
    Rejected {
        /// WhatsApp's error number.
        whatsapp_error: u16,
    },
    /// The recipient is not on WhatsApp.
    RecipientNotOnWhatsapp,
    /// WhatsApp's server never acknowledged it before its deadline.
    NotAcknowledged,
    /// The deadline passed while the instance could not send.
    DeadlinePassed,
    /// The instance was logged out, restricted or deleted before it could be sent.
    InstanceGone,
    /// The engine could not build or encrypt it.
    Engine {
        /// What it said.
        detail: String,
    },
}

/// What a tenant asks to be sent. Ids and times are fixed by the session that accepts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// Identity.
    pub id: MessageId,
    /// The recipient.
    pub chat: Chat,
    /// Id on WhatsApp, fixed now.
    pub whatsapp_id: String,
    /// What it says.
    pub content: Content,
    /// The message it answers.
    pub reply_to: Option<Quoted>,
    /// When it is accepted.
    pub created_at: Timestamp,
    /// When it is given up.
    pub expires_at: Timestamp,
}

/// One inbound fact of a chat, as the engine hands it over before WhatsApp is told that we have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The chat it belongs to.
    pub chat: Chat,
    /// Who wrote it.
    pub sender: Sender,
    /// Whether the account itself wrote it, on another device.
    pub from_me: bool,
    /// Its id on WhatsApp, unique within chat and sender.
    pub whatsapp_id: String,
    /// What it is.
    pub body: InboundBody,
    /// When its sender sent it.
    pub sent_at: Timestamp,
}

/// What tells an inbound fact from all others: who said it, where, and under which id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboundKey {
    /// The chat it belongs to.
    pub chat: Chat,
    /// Who wrote it.
    pub sender: Sender,
    /// Whether the account itself wrote it, on another device.
    pub from_me: bool,
    /// Its id on WhatsApp.
    pub whatsapp_id: String,
}

/// What an inbound fact says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InboundBody {
    /// A message.
    Message {
        /// What it says.
        content: Content,
        /// The message it answers.
        reply_to: Option<Quoted>,
    },
    /// An earlier message has a new text.
    Edit {
        /// WhatsApp id of the earlier message.
        target: String,
        /// Its new content.
        content: Content,
    },
    /// An earlier message was deleted for everyone.
    Revoke {
        /// WhatsApp id of the earlier message.
        target: String,
    },
    /// A reaction to an earlier message.
    Reaction {
        /// WhatsApp id of the earlier message.
        target: String,
        /// The emoji; `None` when the reaction was taken back.
        emoji: Option<String>,
    },
}

/// A step of messages that WhatsApp reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// WhatsApp id of the message.
    pub whatsapp_id: String,
    /// Which way the message went; WhatsApp ids are unique per direction and chat only.
    pub direction: Direction,
    /// The status it enters, if it may.
    pub status: MessageStatus,
    /// Why, when it fails.
    pub failure: Option<FailureReason>,
    /// When it happened.
    pub at: Timestamp,
}

/// What messages to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// Only this chat.
    pub chat: Option<Address>,
    /// Only this direction.
    pub direction: Option<Direction>,
    /// Only this status.
    pub status: Option<MessageStatus>,
}

#[cfg(test)]
mod tests;
