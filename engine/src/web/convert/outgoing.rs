//! Messages to be sent.

use roost_domain::engine::{Outgoing, SendError};
use roost_domain::message::{Content, Quoted};
use whatsapp_rust::Jid;
use whatsapp_rust::waproto::buffa::MessageField;
use whatsapp_rust::waproto::whatsapp as wa;

use super::address::jid_of;

/// The message as WhatsApp's clients write it. `own` is who the account is in the chat.
pub(in crate::web) fn message(outgoing: &Outgoing, own: &Jid) -> Result<wa::Message, SendError> {
    let Content::Text { text } = &outgoing.content else {
        return Err(SendError::Permanent(format!(
            "{} messages cannot be sent",
            outgoing.content.kind()
        )));
    };
    Ok(match &outgoing.reply_to {
        None => plain(&text.body),
        Some(quoted) => wa::Message {
            extended_text_message: MessageField::some(wa::message::ExtendedTextMessage {
                text: Some(text.body.clone()),
                context_info: MessageField::some(context(quoted, own)),
                ..Default::default()
            }),
            ..Default::default()
        },
    })
}

fn plain(text: &str) -> wa::Message {
    wa::Message {
        conversation: Some(text.to_owned()),
        ..Default::default()
    }
}

fn context(quoted: &Quoted, own: &Jid) -> wa::ContextInfo {
    wa::ContextInfo {
        stanza_id: Some(quoted.whatsapp_id.clone()),
        participant: Some(quoted_participant(quoted, own)),
        // Clients show a quote only when it comes with a body.
        quoted_message: MessageField::some(plain(quoted.text.as_deref().unwrap_or_default())),
        ..Default::default()
    }
}

/// Who wrote the quoted message, as a JID without a device.
fn quoted_participant(quoted: &Quoted, own: &Jid) -> String {
    quoted
        .sender
        .as_ref()
        .map_or_else(|| own.to_non_ad(), jid_of)
        .to_string()
}
