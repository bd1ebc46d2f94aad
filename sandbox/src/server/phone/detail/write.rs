//! The protobuf that content becomes.

use super::{Card, Detail, Response};
use crate::server::sync::now_s;
use crate::signal::proto::{
    CommentMessage, ContactMessage, ContactsArrayMessage, DisappearingMode, EncEventResponseMessage,
    EventMessage, EventResponseType, ExtendedTextMessage, KeepInChatMessage, LiveLocationMessage,
    LocationMessage, Message, MessageContextInfo, MessageKey, PinInChatMessage, PollCreationMessage,
    PollEncValue, PollOption, PollUpdateMessage, ProtocolMessage, ProtocolType,
};

/// An answer to a poll or an event: the ciphertext and its initialisation vector.
pub(in crate::server::phone) struct Sealed {
    pub payload: Vec<u8>,
    pub iv: Vec<u8>,
}

impl From<Response> for EventResponseType {
    fn from(response: Response) -> Self {
        match response {
            Response::Going => Self::Going,
            Response::NotGoing => Self::NotGoing,
            Response::Maybe => Self::Maybe,
            Response::Unknown => Self::Unknown,
        }
    }
}

impl Detail {
    /// `key` names the message it is about; `sealed` is the answer, for those that are one.
    pub(in crate::server::phone) fn message(
        &self,
        key: Option<MessageKey>,
        sealed: Option<Sealed>,
    ) -> Message {
        let mut message = Message::default();
        let now_ms = i64::try_from(now_s() * 1_000).ok();
        match self {
            Self::Poll {
                name,
                options,
                selectable,
            } => {
                let poll = Some(Box::new(poll(name, options, *selectable)));
                if *selectable == 1 {
                    message.poll_creation_message_v3 = poll;
                } else {
                    message.poll_creation_message = poll;
                }
                message.message_context_info = Some(Box::new(secret()));
            }
            Self::Vote { .. } => {
                let vote = sealed.map(|sealed| PollEncValue {
                    enc_payload: Some(sealed.payload),
                    enc_iv: Some(sealed.iv),
                });
                message.poll_update_message = Some(Box::new(PollUpdateMessage {
                    poll_creation_message_key: key,
                    vote,
                    sender_timestamp_ms: now_ms,
                }));
            }
            Self::EventResponse { .. } => {
                let (enc_payload, enc_iv) = sealed.map(|sealed| (sealed.payload, sealed.iv)).unzip();
                message.enc_event_response_message = Some(Box::new(EncEventResponseMessage {
                    event_creation_message_key: key,
                    enc_payload,
                    enc_iv,
                }));
            }
            Self::Event { .. } => {
                message.event_message = self.event().map(Box::new);
                message.message_context_info = Some(Box::new(secret()));
            }
            Self::Pin {
                pinned, duration_s, ..
            } => {
                message.pin_in_chat_message = Some(Box::new(PinInChatMessage {
                    key,
                    r#type: Some(if *pinned { 1 } else { 2 }),
                    sender_timestamp_ms: now_ms,
                }));
                message.message_context_info = Some(Box::new(MessageContextInfo {
                    message_add_on_duration_in_secs: pinned.then_some(*duration_s),
                    ..MessageContextInfo::default()
                }));
            }
            Self::Keep { kept, .. } => {
                message.keep_in_chat_message = Some(Box::new(KeepInChatMessage {
                    key,
                    keep_type: Some(if *kept { 1 } else { 2 }),
                    timestamp_ms: now_ms,
                }));
            }
            Self::Comment { text, .. } => {
                message.comment_message = Some(Box::new(CommentMessage {
                    message: Some(Box::new(Message::of_text(text))),
                    target_message_key: key,
                }));
            }
            Self::Timer { seconds } => return timer(*seconds),
            Self::Link { .. } => {
                message.extended_text_message = self.link().map(Box::new);
            }
            other => return other.thing(),
        }
        message
    }

    /// The kinds that stand for themselves.
    fn thing(&self) -> Message {
        let mut message = Message::default();
        match self {
            Self::Contacts { contacts } => match contacts.as_slice() {
                [card] => message.contact_message = Some(Box::new(contact(card))),
                cards => {
                    message.contacts_array_message = Some(Box::new(ContactsArrayMessage {
                        display_name: Some(format!("{} contacts", cards.len())),
                        contacts: cards.iter().map(contact).collect(),
                        context_info: None,
                    }));
                }
            },
            Self::Location {
                latitude,
                longitude,
                name,
                address,
                url,
            } => {
                message.location_message = Some(Box::new(LocationMessage {
                    degrees_latitude: Some(*latitude),
                    degrees_longitude: Some(*longitude),
                    name: name.clone(),
                    address: address.clone(),
                    url: url.clone(),
                    context_info: None,
                }));
            }
            Self::LiveLocation {
                latitude,
                longitude,
                accuracy_m,
                caption,
                sequence,
            } => {
                message.live_location_message = Some(Box::new(LiveLocationMessage {
                    degrees_latitude: Some(*latitude),
                    degrees_longitude: Some(*longitude),
                    accuracy_in_meters: *accuracy_m,
                    caption: caption.clone(),
                    sequence_number: *sequence,
                    context_info: None,
                }));
            }
            // The others are about another message, or phones do not send them.
            _ => {}
        }
        message
    }

    fn event(&self) -> Option<EventMessage> {
        let Self::Event {
            name,
            description,
            start_s,
            end_s,
            join_link,
            place,
            canceled,
        } = self
        else {
            return None;
        };
        let location = place.clone().map(|place| {
            Box::new(LocationMessage {
                name: Some(place),
                ..LocationMessage::default()
            })
        });
        Some(EventMessage {
            is_canceled: Some(*canceled),
            name: Some(name.clone()),
            description: description.clone(),
            location,
            join_link: join_link.clone(),
            start_time: Some(*start_s),
            end_time: *end_s,
            context_info: None,
        })
    }

    fn link(&self) -> Option<ExtendedTextMessage> {
        let Self::Link {
            text,
            url,
            title,
            description,
        } = self
        else {
            return None;
        };
        Some(ExtendedTextMessage {
            text: Some(text.clone()),
            matched_text: Some(url.clone()),
            title: title.clone(),
            description: description.clone(),
            ..ExtendedTextMessage::default()
        })
    }
}

fn poll(name: &str, options: &[String], selectable: u32) -> PollCreationMessage {
    let options = options.iter().map(|option| PollOption {
        option_name: Some(option.clone()),
    });
    PollCreationMessage {
        name: Some(name.to_owned()),
        options: options.collect(),
        selectable_options_count: Some(selectable),
        context_info: None,
    }
}

/// The secret that answers to a message are sealed with.
fn secret() -> MessageContextInfo {
    MessageContextInfo {
        message_secret: Some(rand::random::<[u8; 32]>().to_vec()),
        ..MessageContextInfo::default()
    }
}

fn timer(seconds: u32) -> Message {
    Message::of_protocol(ProtocolMessage {
        r#type: Some(ProtocolType::EphemeralSetting.into()),
        ephemeral_expiration: Some(seconds),
        ephemeral_setting_timestamp: i64::try_from(now_s()).ok(),
        disappearing_mode: Some(DisappearingMode {
            initiator: Some(0),
            trigger: Some(1),
        }),
        ..ProtocolMessage::default()
    })
}

fn contact(card: &Card) -> ContactMessage {
    let vcard = card.vcard.clone().unwrap_or_else(|| {
        let name = &card.name;
        let number = card.phone_number.as_deref().unwrap_or_default();
        let digits = number.trim_start_matches('+');
        format!(
            "BEGIN:VCARD\nVERSION:3.0\nN:;{name};;;\nFN:{name}\n\
             item1.TEL;waid={digits}:+{digits}\nitem1.X-ABLabel:Mobile\nEND:VCARD"
        )
    });
    ContactMessage {
        display_name: Some(card.name.clone()),
        vcard: Some(vcard),
        context_info: None,
    }
}
