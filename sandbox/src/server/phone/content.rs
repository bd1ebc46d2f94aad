//! What a phone is told to send, and the protobuf it becomes.

use serde::{Deserialize, Serialize};

use super::detail::Sealed;
use super::{Detail, Frame, UploadedMedium, stanza};
use crate::server::account::Account;
use crate::server::sync::now_s;
use crate::signal::proto::{
    ContextInfo, ExtendedTextMessage, Message, MessageKey, ProtocolMessage, ProtocolType, ReactionMessage,
};
use crate::wire::jid::Domain;
use crate::wire::node::Text;

/// Something a phone can send.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Content {
    Text {
        text: String,
        /// The id of a message of the other side that is answered.
        quote: Option<String>,
    },
    Edit {
        target: String,
        text: String,
    },
    Revoke {
        target: String,
    },
    /// An empty emoji takes a reaction back.
    Reaction {
        target: String,
        emoji: String,
    },
    Media(Box<UploadedMedium>),
    /// One of the other kinds.
    Detail(Box<Detail>),
    /// Content with something around it.
    Framed(Box<Content>, Frame),
}

/// Where content is sent.
pub(in crate::server) struct Place {
    /// The address of the chat.
    pub chat: String,
    /// In a group, who wrote the message the content is about.
    pub author: Option<String>,
}

impl Place {
    /// The chat with one other account.
    pub(super) fn of(peer: &Account, domain: Domain) -> Self {
        Self {
            chat: peer.jid(0, domain).to_string(),
            author: None,
        }
    }
}

/// A message ready to be encrypted.
#[derive(Debug, Clone)]
pub(in crate::server) struct Outgoing {
    pub message: Message,
    /// The `type` of the stanza.
    pub kind: Text,
    /// The `edit` of the stanza.
    pub edit: Option<Text>,
}

impl Content {
    /// `is_ours` tells whether the phone's account wrote the target; `sealed` is the answer, for content
    /// that answers a poll or an event.
    pub(super) fn build(&self, place: &Place, is_ours: bool, sealed: Option<Sealed>) -> Outgoing {
        let chat = place.chat.clone();
        let key = |target: &str, from_me: bool| MessageKey {
            remote_jid: Some(chat.clone()),
            from_me: Some(from_me),
            id: Some(target.to_owned()),
            participant: place.author.clone().filter(|_| !from_me),
        };
        let now_ms = i64::try_from(now_s() * 1_000).ok();
        match self {
            Self::Media(medium) => Outgoing::new(medium.message(), "media", None),
            Self::Framed(content, frame) => {
                let built = content.build(place, is_ours, sealed);
                Outgoing {
                    message: frame.around(built.message),
                    ..built
                }
            }
            Self::Detail(detail) => {
                let key = detail.target().map(|target| key(target, is_ours));
                let edit = matches!(**detail, Detail::Pin { .. }).then_some("2");
                let message = detail.message(key, sealed);
                let kind = stanza::kind(&message);
                Outgoing::new(message, kind, edit)
            }
            Self::Text { text, quote: None } => Outgoing::new(Message::of_text(text), "text", None),
            Self::Text {
                text,
                quote: Some(quote),
            } => {
                let context = ContextInfo {
                    stanza_id: Some(quote.clone()),
                    participant: Some(place.author.clone().unwrap_or(chat)),
                    quoted_message: Some(Box::new(Message::of_text(""))),
                    ..ContextInfo::default()
                };
                let extended = ExtendedTextMessage {
                    text: Some(text.clone()),
                    context_info: Some(Box::new(context)),
                    ..ExtendedTextMessage::default()
                };
                let message = Message {
                    extended_text_message: Some(Box::new(extended)),
                    ..Message::default()
                };
                Outgoing::new(message, "text", None)
            }
            Self::Edit { target, text } => {
                let edit = ProtocolMessage {
                    key: Some(key(target, true)),
                    r#type: Some(ProtocolType::MessageEdit.into()),
                    edited_message: Some(Box::new(Message::of_text(text))),
                    timestamp_ms: now_ms,
                    ..ProtocolMessage::default()
                };
                Outgoing::new(Message::of_protocol(edit), "text", Some("1"))
            }
            Self::Revoke { target } => {
                let revoke = ProtocolMessage {
                    key: Some(key(target, true)),
                    r#type: Some(ProtocolType::Revoke.into()),
                    ..ProtocolMessage::default()
                };
                Outgoing::new(Message::of_protocol(revoke), "text", Some("7"))
            }
            Self::Reaction { target, emoji } => {
                let reaction = ReactionMessage {
                    key: Some(key(target, is_ours)),
                    text: Some(emoji.clone()),
                    sender_timestamp_ms: now_ms,
                };
                let message = Message {
                    reaction_message: Some(Box::new(reaction)),
                    ..Message::default()
                };
                Outgoing::new(message, "reaction", emoji.is_empty().then_some("7"))
            }
        }
    }

    /// The kind of content inside, if it is one of the other kinds.
    pub(super) fn detail(&self) -> Option<&Detail> {
        match self {
            Self::Detail(detail) => Some(detail),
            Self::Framed(content, _) => content.detail(),
            _ => None,
        }
    }

    /// The id of the message this one quotes or is about.
    pub(super) fn about(&self) -> Option<&str> {
        match self {
            Self::Text { quote, .. } => quote.as_deref(),
            Self::Framed(content, _) => content.about(),
            _ => self.target(),
        }
    }

    /// The id of the message this one changes.
    pub(super) fn target(&self) -> Option<&str> {
        match self {
            Self::Text { .. } | Self::Media(_) => None,
            Self::Detail(detail) => detail.target(),
            Self::Framed(content, _) => content.target(),
            Self::Edit { target, .. } | Self::Revoke { target } | Self::Reaction { target, .. } => {
                Some(target)
            }
        }
    }
}

impl Outgoing {
    fn new(message: Message, kind: &'static str, edit: Option<&'static str>) -> Self {
        Self {
            message,
            kind: kind.into(),
            edit: edit.map(Into::into),
        }
    }
}
