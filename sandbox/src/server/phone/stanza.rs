//! What the stanza of a message tells of its content: the server reads it, and so do notifications.

use super::detail::Detail;
use super::medium::Medium;
use crate::signal::proto::Message;
use crate::wire::node::Node;

/// The `type` of the stanza.
pub(super) fn kind(message: &Message) -> &'static str {
    let inner = message.innermost();
    let is_link = || {
        let extended = inner.extended_text_message.as_ref();
        extended.is_some_and(|extended| extended.matched_text.is_some())
    };
    if inner.reaction_message.is_some() {
        "reaction"
    } else if inner.event_message.is_some() || inner.enc_event_response_message.is_some() {
        "event"
    } else if Detail::poll_of(inner).is_some() || inner.poll_update_message.is_some() {
        "poll"
    } else if is_link() || media_kind(message).is_some() {
        "media"
    } else {
        "text"
    }
}

/// The `mediatype` of the ciphertext.
pub(super) fn media_kind(message: &Message) -> Option<&'static str> {
    let inner = message.innermost();
    if inner.contact_message.is_some() {
        return Some("vcard");
    }
    if inner.contacts_array_message.is_some() {
        return Some("contact_array");
    }
    if inner.location_message.is_some() {
        return Some("location");
    }
    if inner.live_location_message.is_some() {
        return Some("livelocation");
    }
    if let Some(kind) = Medium::of(inner).and_then(|medium| medium.kind) {
        return Some(kind.stanza_kind());
    }
    let extended = inner.extended_text_message.as_ref()?;
    extended.matched_text.as_ref().map(|_| "url")
}

/// Whether a device that cannot read it shows nothing at all.
pub(super) fn hides_failure(message: &Message) -> bool {
    let inner = message.innermost();
    inner.poll_update_message.is_some()
        || inner.enc_event_response_message.is_some()
        || inner.pin_in_chat_message.is_some()
        || inner.keep_in_chat_message.is_some()
}

/// The node that tells polls and events from their answers.
pub(super) fn meta(message: &Message) -> Option<Node> {
    let inner = message.innermost();
    let meta = |key: &'static str, value: &'static str| Some(Node::new("meta").attr(key, value));
    if Detail::poll_of(inner).is_some() {
        meta("polltype", "creation")
    } else if inner.poll_update_message.is_some() {
        meta("polltype", "vote")
    } else if inner.event_message.is_some() {
        meta("event_type", "creation")
    } else if inner.enc_event_response_message.is_some() {
        meta("event_type", "response")
    } else {
        None
    }
}
