//! What goes around content: who is mentioned, that it was forwarded, that it is for one look, that
//! it disappears.

use serde::{Deserialize, Serialize};

use crate::server::sync::now_s;
use crate::signal::proto::{ContextInfo, ExtendedTextMessage, FutureProofMessage, Message};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Frame {
    /// JIDs.
    pub mentions: Vec<String>,
    pub forwarded: bool,
    /// How often it was forwarded.
    pub forward_score: u32,
    pub view_once: bool,
    /// After how many seconds it disappears; 0 is never.
    pub timer_s: u32,
}

impl Frame {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Puts content into the frame.
    pub(super) fn around(&self, mut message: Message) -> Message {
        let needs_context = !self.mentions.is_empty() || self.forwarded || self.timer_s != 0;
        if needs_context && let Some(context) = context_mut(&mut message) {
            context.mentioned_jid.clone_from(&self.mentions);
            if self.forwarded {
                context.is_forwarded = Some(true);
                context.forwarding_score = Some(self.forward_score);
            }
            if self.timer_s != 0 {
                context.expiration = Some(self.timer_s);
                context.ephemeral_setting_timestamp = i64::try_from(now_s()).ok();
            }
        }
        if self.view_once {
            message = wrapped(message, |outer, inner| outer.view_once_message_v2 = inner);
        }
        if self.timer_s != 0 {
            message = wrapped(message, |outer, inner| outer.ephemeral_message = inner);
        }
        message
    }

    /// The frame of a received message, whatever wrappers it came in.
    pub(super) fn read(message: &Message) -> Self {
        let mut frame = Self::default();
        let mut current = message;
        loop {
            frame.view_once |= current.view_once_message.is_some()
                || current.view_once_message_v2.is_some()
                || current.view_once_message_v2_extension.is_some();
            match current.wrapped() {
                Some(inner) => current = inner,
                None => break,
            }
        }
        if let Some(context) = context_of(current) {
            frame.mentions.clone_from(&context.mentioned_jid);
            frame.forwarded = context.is_forwarded.unwrap_or_default();
            frame.forward_score = context.forwarding_score.unwrap_or_default();
            frame.timer_s = context.expiration.unwrap_or_default();
        }
        frame
    }
}

fn wrapped(mut message: Message, put: impl FnOnce(&mut Message, Option<Box<FutureProofMessage>>)) -> Message {
    // What belongs to the message as a whole stays outside.
    let mut outer = Message {
        message_context_info: message.message_context_info.take(),
        ..Message::default()
    };
    let inner = FutureProofMessage {
        message: Some(Box::new(message)),
    };
    put(&mut outer, Some(Box::new(inner)));
    outer
}

/// Finds the kind of content a message has, of those with a context, and its context.
macro_rules! find_context {
    ($message:ident, $borrow:ident; $($kind:ident)*) => {
        $(if let Some(content) = $message.$kind.$borrow() {
            return found!(content, $borrow);
        })*
    };
}

macro_rules! found {
    ($content:ident, as_ref) => {
        $content.context_info.as_deref()
    };
    ($content:ident, as_mut) => {
        Some($content.context_info.get_or_insert_default())
    };
}

/// The context of content, made if there is none; a plain text becomes an extended one.
fn context_mut(message: &mut Message) -> Option<&mut ContextInfo> {
    if let Some(text) = message.conversation.take() {
        message.extended_text_message = Some(Box::new(ExtendedTextMessage {
            text: Some(text),
            ..ExtendedTextMessage::default()
        }));
    }
    find_context!(message, as_mut; extended_text_message image_message video_message audio_message
        document_message sticker_message contact_message contacts_array_message location_message
        live_location_message poll_creation_message poll_creation_message_v3 event_message);
    None
}

/// The context of content, wherever it is.
pub(super) fn context_of(message: &Message) -> Option<&ContextInfo> {
    find_context!(message, as_ref; extended_text_message image_message video_message audio_message
        document_message sticker_message contact_message contacts_array_message location_message
        live_location_message poll_creation_message poll_creation_message_v2 poll_creation_message_v3
        event_message buttons_response_message list_response_message template_button_reply_message);
    None
}
