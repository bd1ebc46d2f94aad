//! What a phone does with a group message: learn the sender's key if it comes along, decrypt, note,
//! confirm, maybe echo. Without the key it asks the sender for the message, and reads on meanwhile.

use std::sync::Arc;

use super::send;
use crate::server::account::Account;
use crate::server::phone::receive::{address, phone_of, retry};
use crate::server::phone::record::{Kind, Recorded};
use crate::server::phone::{Content, State};
use crate::server::rule;
use crate::server::service::Service;
use crate::server::stanza::message::Sender;
use crate::server::stanza::receipt;
use crate::server::sync::lock;
use crate::signal::CiphertextKind;
use crate::signal::padding::unpad;
use crate::signal::proto::{Message, MessageContextInfo, ProtoMessage};
use crate::wire::jid::Jid;
use crate::wire::node::Node;

pub(in crate::server::phone) fn message(
    service: &Arc<Service>,
    account: &Arc<Account>,
    sender: &Sender,
    group: &Jid,
    node: &Node,
) {
    let Some(id) = node.get("id") else { return };
    let mut state = lock(&account.phone.state);
    let (content, failure) = open_all(&mut state, sender, group, node);
    let has_seen = state.notebook.has_seen(sender.account.raw_id, id);
    if let (None, Some(error), false) = (&content, failure, has_seen) {
        service.counters.phone_decrypt_failures.one();
        tracing::debug!(error, "a virtual phone could not decrypt a group message");
        let request = retry(&mut state, sender, node, id);
        drop(state);
        if let Some((to, request)) = request {
            receipt::forward(service, &phone_of(account), &to, &request);
        }
        return;
    }
    let note = content.and_then(|message| {
        if !state.notebook.see(sender.account.raw_id, id) {
            return None;
        }
        state.record(service, account, sender, node, id, &message, Some(group))
    });
    drop(state);
    confirm(service, account, sender, node, id);
    if let Some(note) = note {
        respond(service, account, sender, group, note);
    }
}

/// Decrypts all parts of a message, those that may carry a key first. Returns its content and what
/// went wrong.
fn open_all(
    state: &mut State,
    sender: &Sender,
    group: &Jid,
    node: &Node,
) -> (Option<Message>, Option<String>) {
    let (mut content, mut failure) = (None, None);
    let (shared, single): (Vec<_>, Vec<_>) = node.find_all("enc").partition(|enc| enc.is("type", "skmsg"));
    for enc in single.into_iter().chain(shared) {
        match open(state, sender, group, enc) {
            Ok(message) => {
                let inner = message.innermost();
                let told = inner.sender_key_distribution_message.as_ref();
                let told = told.and_then(|told| told.axolotl_sender_key_distribution_message.as_deref());
                if let Some(told) = told
                    && let Err(error) = state.signal.learn_sender_key(&group.user, &address(sender), told)
                {
                    failure = Some(error.to_string());
                }
                if has_content(inner) {
                    content = Some(message);
                }
            }
            Err(error) => failure = Some(error),
        }
    }
    (content, failure)
}

fn open(state: &mut State, sender: &Sender, group: &Jid, enc: &Node) -> Result<Message, String> {
    let bytes = enc.data().unwrap_or_default();
    let address = address(sender);
    let plain = match enc.get("type") {
        Some("skmsg") => state
            .signal
            .decrypt_from_group(&group.user, &address, bytes)
            .map_err(|error| error.to_string()),
        kind => {
            let kind = kind.and_then(CiphertextKind::from_name);
            let kind = kind.ok_or("an unknown kind of ciphertext")?;
            let opened = state.signal.decrypt(&address, kind, bytes);
            opened.map_err(|error| error.to_string())
        }
    }?;
    let message = unpad(&plain).map_err(|error| error.to_string())?;
    Message::decode(message).map_err(|error| error.to_string())
}

/// Whether a message says more than a sender key.
fn has_content(message: &Message) -> bool {
    let rest = Message {
        sender_key_distribution_message: None,
        message_context_info: None::<Box<MessageContextInfo>>,
        ..message.clone()
    };
    rest != Message::default()
}

fn confirm(service: &Arc<Service>, account: &Arc<Account>, sender: &Sender, node: &Node, id: &str) {
    // Copies from own companions need no word to anyone.
    if sender.account.raw_id == account.raw_id {
        return;
    }
    let Some(to) = node.get("from").and_then(Jid::parse) else {
        return;
    };
    let delivered = Node::new("receipt")
        .attr("id", id.to_owned())
        .attr("to", to.to_string())
        .attrs_from(node, &["participant"]);
    receipt::forward(service, &phone_of(account), &to, &delivered);
}

/// Answers by a rule, or sends a text back to the group: unless it is the own account's, or of
/// another phone that answers by itself.
fn respond(service: &Arc<Service>, account: &Arc<Account>, sender: &Sender, group: &Jid, note: Recorded) {
    let is_answer = sender.device == 0 && sender.account.phone.answers_by_itself();
    let is_own = sender.account.raw_id == account.raw_id;
    if is_answer || is_own || rule::respond(service, account, &note) {
        return;
    }
    if !account.phone.echoes() || note.kind != Kind::Text {
        return;
    }
    let (Some(text), Some(group)) = (note.text, service.groups.get(&group.user)) else {
        return;
    };
    if let Err(error) = send::send(service, account, &group, &Content::Text { text, quote: None }) {
        tracing::debug!(
            error = error.to_string(),
            "a virtual phone could not echo in a group"
        );
    }
}
