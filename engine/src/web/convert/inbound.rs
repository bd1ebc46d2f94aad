//! Received messages.

use async_trait::async_trait;
use roost_domain::message::{
    Chat, Content, Inbound, InboundBody, InboundKey, Quoted, Sender, TEXT_BYTES_MAX,
};
use roost_domain::{Address, PhoneNumber, Timestamp};
use whatsapp_rust::Jid;
use whatsapp_rust::types::message::{EditAttribute, MessageInfo};
use whatsapp_rust::waproto::whatsapp as wa;

use super::address::{address_of, lid_of, phone_of};
use wa::message::protocol_message::Type as ProtocolType;

/// Wrappers around the message proper that are opened at most: strangers can nest them.
const WRAPPERS_MAX: usize = 8;
/// Longest push name that is kept, in characters.
const PUSH_NAME_CHARS_MAX: usize = 100;

/// Knows users under their other name.
#[async_trait]
pub(in crate::web) trait Names: Send + Sync {
    /// The LID of a phone number's JID, or the phone number of a LID's, where known.
    async fn other_name(&self, jid: &Jid) -> anyhow::Result<Option<Jid>>;
    /// Whether the account itself has this JID.
    fn is_own(&self, jid: &Jid) -> bool;
}

/// What a received message says to us; `None` when it is not for people: protocol business,
/// broadcasts, and chats that Roost does not serve.
pub(in crate::web) async fn inbound(
    names: &dyn Names,
    message: &wa::Message,
    info: &MessageInfo,
) -> anyhow::Result<Option<Inbound>> {
    let Some(mut body) = body(message, info) else {
        return Ok(None);
    };
    let source = &info.source;
    let (chat_alt, sender_alt) = match (source.is_group, source.is_from_me) {
        (true, _) => (None, source.sender_alt.as_ref()),
        (false, true) => (source.recipient_alt.as_ref(), source.sender_alt.as_ref()),
        (false, false) => (source.sender_alt.as_ref(), source.sender_alt.as_ref()),
    };
    let Some(chat) = user(names, &source.chat, chat_alt).await? else {
        return Ok(None);
    };
    let Some(sender) = user(names, &source.sender, sender_alt).await? else {
        return Ok(None);
    };
    if let InboundBody::Message {
        reply_to: Some(quoted),
        ..
    } = &mut body
    {
        quoted.sender = author(names, unwrapped(message)).await?;
    }
    let push_name: String = info.push_name.chars().take(PUSH_NAME_CHARS_MAX).collect();
    Ok(Some(Inbound {
        chat: chat.into_chat(),
        sender: sender.into_sender(Some(push_name).filter(|name| !name.is_empty())),
        from_me: source.is_from_me,
        whatsapp_id: info.id.clone(),
        body,
        sent_at: Timestamp::from_unix_seconds(info.timestamp.timestamp()),
    }))
}

/// What a received message would be known by; `None` when it is of a chat that Roost does not serve.
pub(in crate::web) async fn key(
    names: &dyn Names,
    chat: &Jid,
    sender: &Jid,
    id: &str,
) -> anyhow::Result<Option<InboundKey>> {
    let Some(chat) = user(names, chat, None).await? else {
        return Ok(None);
    };
    let from_me = names.is_own(sender);
    let Some(sender) = user(names, sender, None).await? else {
        return Ok(None);
    };
    Ok(Some(InboundKey {
        chat: chat.into_chat(),
        sender: sender.into_sender(None),
        from_me,
        whatsapp_id: id.to_owned(),
    }))
}

/// One user or group under every known name.
struct User {
    id: Address,
    phone_number: Option<PhoneNumber>,
    lid: Option<Address>,
}

impl User {
    fn into_chat(self) -> Chat {
        Chat {
            id: self.id,
            phone_number: self.phone_number,
            lid: self.lid,
        }
    }

    fn into_sender(self, push_name: Option<String>) -> Sender {
        Sender {
            id: self.id,
            phone_number: self.phone_number,
            lid: self.lid,
            push_name,
        }
    }
}

async fn user(names: &dyn Names, jid: &Jid, alt: Option<&Jid>) -> anyhow::Result<Option<User>> {
    let Some(address) = address_of(jid) else {
        return Ok(None);
    };
    if matches!(address, Address::Group(_)) {
        return Ok(Some(User {
            id: address,
            phone_number: None,
            lid: None,
        }));
    }
    let found;
    let alt = match alt {
        Some(alt) => Some(alt),
        None => {
            found = names.other_name(&jid.to_non_ad()).await?;
            found.as_ref()
        }
    };
    let phone_number = phone_of(jid).or_else(|| alt.and_then(phone_of));
    let lid = lid_of(jid).or_else(|| alt.and_then(lid_of));
    Ok(Some(User {
        id: phone_number.clone().map_or(address, Address::Phone),
        phone_number,
        lid,
    }))
}

fn body(message: &wa::Message, info: &MessageInfo) -> Option<InboundBody> {
    let message = unwrapped(message);
    if let Some(protocol) = message.protocol_message.as_option() {
        return of_protocol(protocol);
    }
    if let Some(reaction) = message.reaction_message.as_option() {
        return Some(InboundBody::Reaction {
            target: key_id(reaction.key.as_option())?,
            emoji: reaction.text.clone().filter(|emoji| !emoji.is_empty()),
        });
    }
    // An edit whose new text comes bare: the stanza says that it is one, and of what.
    if let Some(target) = info.meta_info.target_id.clone()
        && info.edit == EditAttribute::MessageEdit
    {
        return Some(InboundBody::Edit {
            target,
            content: content(message)?,
        });
    }
    Some(InboundBody::Message {
        content: content(message)?,
        reply_to: quoted(message),
    })
}

fn of_protocol(protocol: &wa::message::ProtocolMessage) -> Option<InboundBody> {
    match protocol.r#type? {
        ProtocolType::REVOKE => Some(InboundBody::Revoke {
            target: key_id(protocol.key.as_option())?,
        }),
        ProtocolType::MESSAGE_EDIT => Some(InboundBody::Edit {
            target: key_id(protocol.key.as_option())?,
            content: content(unwrapped(protocol.edited_message.as_option()?))?,
        }),
        _ => None,
    }
}

fn key_id(key: Option<&wa::MessageKey>) -> Option<String> {
    key?.id.clone().filter(|id| !id.is_empty())
}

/// Opens the wrappers that say how a message is kept or shown, not what it says.
fn unwrapped(mut message: &wa::Message) -> &wa::Message {
    for _ in 0..WRAPPERS_MAX {
        let sent = message
            .device_sent_message
            .as_option()
            .and_then(|sent| sent.message.as_option());
        let wrapped = [
            &message.ephemeral_message,
            &message.view_once_message,
            &message.view_once_message_v2,
            &message.view_once_message_v2_extension,
            &message.document_with_caption_message,
            &message.edited_message,
            &message.group_mentioned_message,
            &message.bot_invoke_message,
            &message.spoiler_message,
        ]
        .into_iter()
        .find_map(|wrapper| wrapper.as_option()?.message.as_option());
        match sent.or(wrapped) {
            Some(inner) => message = inner,
            None => break,
        }
    }
    message
}

fn content(message: &wa::Message) -> Option<Content> {
    let text = message
        .conversation
        .as_deref()
        .or_else(|| message.extended_text_message.as_option()?.text.as_deref())
        .filter(|text| !text.is_empty());
    match text {
        Some(text) => Some(Content::text(cut(text, TEXT_BYTES_MAX))),
        None => kind(message).map(|kind| Content::Unsupported {
            kind: kind.to_owned(),
        }),
    }
}

/// The text, cut at a character's border.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// WhatsApp's name for what a message carries; `None` when that is nothing for people, such as keys.
fn kind(message: &wa::Message) -> Option<&'static str> {
    macro_rules! first_of {
        ($($field:ident => $kind:literal,)*) => {
            $(if message.$field.is_set() { return Some($kind); })*
        };
    }
    first_of! {
        image_message => "image",
        video_message => "video",
        ptv_message => "video_note",
        audio_message => "audio",
        document_message => "document",
        sticker_message => "sticker",
        lottie_sticker_message => "sticker",
        sticker_pack_message => "sticker_pack",
        contact_message => "contact",
        contacts_array_message => "contacts",
        location_message => "location",
        live_location_message => "live_location",
        poll_creation_message => "poll",
        poll_creation_message_v2 => "poll",
        poll_creation_message_v3 => "poll",
        poll_creation_message_v4 => "poll",
        poll_creation_message_v5 => "poll",
        poll_creation_message_v6 => "poll",
        poll_update_message => "poll_vote",
        event_message => "event",
        enc_event_response_message => "event_response",
        event_invite_message => "event_invite",
        list_message => "list",
        list_response_message => "list_response",
        buttons_message => "buttons",
        buttons_response_message => "buttons_response",
        template_message => "template",
        template_button_reply_message => "template_button_reply",
        interactive_message => "interactive",
        interactive_response_message => "interactive_response",
        group_invite_message => "group_invite",
        product_message => "product",
        order_message => "order",
        invoice_message => "invoice",
        send_payment_message => "payment",
        request_payment_message => "payment_request",
        payment_invite_message => "payment_invite",
        album_message => "album",
        pin_in_chat_message => "pin",
        keep_in_chat_message => "keep",
        enc_reaction_message => "encrypted_reaction",
        secret_encrypted_message => "encrypted_edit",
        comment_message => "comment",
        enc_comment_message => "encrypted_comment",
        call_log_messsage => "call_log",
        scheduled_call_creation_message => "scheduled_call",
        request_phone_number_message => "phone_number_request",
        newsletter_admin_invite_message => "newsletter_admin_invite",
        highly_structured_message => "highly_structured",
        placeholder_message => "placeholder",
    }
    None
}

/// The quoted message; its sender is looked up later, by [`author`].
fn quoted(message: &wa::Message) -> Option<Quoted> {
    let context = context(message)?;
    let whatsapp_id = context.stanza_id.clone().filter(|id| !id.is_empty())?;
    let text = context
        .quoted_message
        .as_option()
        .map(unwrapped)
        .and_then(content)
        .and_then(|content| match content {
            Content::Text { text } => Some(text.body),
            Content::Unsupported { .. } => None,
        });
    Some(Quoted {
        message_id: None,
        whatsapp_id,
        sender: None,
        text,
    })
}

/// Who wrote the quoted message; `None` when the account itself did.
async fn author(names: &dyn Names, message: &wa::Message) -> anyhow::Result<Option<Address>> {
    let participant = context(message).and_then(|context| context.participant.as_deref());
    let Some(Ok(jid)) = participant.map(str::parse::<Jid>) else {
        return Ok(None);
    };
    if names.is_own(&jid) {
        return Ok(None);
    }
    Ok(user(names, &jid, None).await?.map(|user| user.id))
}

fn context(message: &wa::Message) -> Option<&wa::ContextInfo> {
    message
        .extended_text_message
        .as_option()?
        .context_info
        .as_option()
}
