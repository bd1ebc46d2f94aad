//! What a phone does with a message: decrypt it, note it once, confirm it, maybe echo it.

use std::sync::Arc;

use super::frame::context_of;
use super::medium::Medium;
use super::record::{Direction, Kind, Recorded};
use super::{Content, Detail, Frame, State, group, peer_data, send};
use crate::server::account::Account;
use crate::server::rule;
use crate::server::service::Service;
use crate::server::stanza::message::Sender;
use crate::server::stanza::receipt;
use crate::server::sync::{lock, now_s};
use crate::signal::padding::unpad;
use crate::signal::proto::{Message, MessageKey, ProtoMessage, ProtocolType};
use crate::signal::{Address, Bundle, CiphertextKind};
use crate::wire::jid::{Domain, Jid};
use crate::wire::node::Node;

/// How often a phone asks for a resend of one message.
const RETRIES_MAX: u32 = 5;

pub(super) fn message(service: &Arc<Service>, account: &Arc<Account>, sender: &Sender, node: &Node) {
    let from = node.get("from").and_then(Jid::parse);
    if let Some(from) = from.filter(|from| from.domain == Domain::Group) {
        return group::message(service, account, sender, &from, node);
    }
    let (Some(id), Some(enc)) = (node.get("id"), node.find("enc")) else {
        return;
    };
    let Some(kind) = enc.get("type").and_then(CiphertextKind::from_name) else {
        return;
    };
    let address = address(sender);
    let mut state = lock(&account.phone.state);
    let plain = state
        .signal
        .decrypt(&address, kind, enc.data().unwrap_or_default());
    let message = plain.map_err(|error| error.to_string()).and_then(|plain| {
        let message = unpad(&plain).map_err(|error| error.to_string())?;
        Message::decode(message).map_err(|error| error.to_string())
    });
    let is_new = match &message {
        Ok(_) => state.notebook.see(sender.account.raw_id, id),
        // A second copy of a message that was read is no failure.
        Err(_) if state.notebook.has_seen(sender.account.raw_id, id) => false,
        Err(error) => {
            service.counters.phone_decrypt_failures.one();
            tracing::debug!(error, "a virtual phone could not decrypt a message");
            let request = retry(&mut state, sender, node, id);
            drop(state);
            if let Some((to, request)) = request {
                receipt::forward(service, &phone_of(account), &to, &request);
            }
            return;
        }
    };
    let read = message.ok().filter(|_| is_new).map(|message| {
        let note = state.record(service, account, sender, node, id, &message);
        (message, note)
    });
    drop(state);
    confirm(service, account, sender, node, id);
    if let Some((message, note)) = read {
        respond(service, account, sender, id, &message, note);
    }
}

pub(super) fn address(device: &Sender) -> Address {
    Address::new(&*device.account.pn, device.device)
}

pub(super) fn phone_of(account: &Arc<Account>) -> Sender {
    Sender {
        account: account.clone(),
        device: 0,
    }
}

fn confirm(service: &Arc<Service>, account: &Arc<Account>, sender: &Sender, node: &Node, id: &str) {
    // Copies from own companions need no word to anyone.
    if sender.account.pn == account.pn {
        return;
    }
    let Some(to) = node.get("from").and_then(Jid::parse) else {
        return;
    };
    let delivered = Node::new("receipt")
        .attr("id", id.to_owned())
        .attr("to", to.to_string());
    receipt::forward(service, &phone_of(account), &to, &delivered);
}

fn respond(
    service: &Arc<Service>,
    account: &Arc<Account>,
    sender: &Sender,
    id: &str,
    message: &Message,
    note: Option<Recorded>,
) {
    if sender.account.pn == account.pn {
        let protocol = message.innermost().protocol_message.as_ref();
        let request = protocol.and_then(|protocol| protocol.peer_data_operation_request.as_ref());
        if let Some(request) = request
            && sender.device != 0
        {
            peer_data::answer(service, account, sender.device, id, request);
        }
        let asked = protocol
            .filter(|protocol| protocol.r#type == Some(ProtocolType::AppStateSyncKeyRequest.into()))
            .and_then(|protocol| protocol.app_state_sync_key_request.as_ref());
        if let Some(asked) = asked
            && sender.device != 0
        {
            let ids: Vec<_> = asked.key_ids.iter().filter_map(|id| id.key_id.clone()).collect();
            send::share_app_state_keys(service, account, sender.device, &ids);
        }
        return;
    }
    if let Some(note) = note {
        answer(service, account, sender, note);
    }
}

/// Answers what another account wrote, by the rules or with an echo, in the chat it came in.
pub(super) fn answer(service: &Arc<Service>, account: &Arc<Account>, sender: &Sender, note: Recorded) {
    // Two phones that answer by themselves would never stop.
    if sender.device == 0 && sender.account.phone.answers_by_itself() {
        return;
    }
    if rule::respond(service, account, &note) || !account.phone.echoes() || note.kind != Kind::Text {
        return;
    }
    let Some(text) = note.text else { return };
    let echo = Content::Text { text, quote: None };
    let group = Jid::parse(&note.chat).filter(|jid| jid.domain == Domain::Group);
    let sent = match group.map(|jid| service.groups.get(&jid.user)) {
        Some(Some(group)) => group::send(service, account, &group, &echo),
        // The group has ended.
        Some(None) => return,
        None => send::send(service, account, &sender.account, Domain::Pn, &echo),
    };
    if let Err(error) = sent {
        tracing::debug!(error = error.to_string(), "a virtual phone could not echo");
    }
}

/// The request for a resend, with new keys for it.
pub(super) fn retry(state: &mut State, sender: &Sender, node: &Node, id: &str) -> Option<(Jid, Node)> {
    let to = node.get("from").and_then(Jid::parse)?;
    let key = format!("{}/{id}", sender.account.origin(sender.device));
    let count = state.retries.get(&key).copied().unwrap_or(0) + 1;
    if count > RETRIES_MAX {
        return None;
    }
    state.retries.set(&key, count);
    let Bundle {
        registration_id,
        identity,
        signed_prekey,
        prekey,
    } = state.signal.fresh_bundle();
    let id_bytes = |id: u32| id.to_be_bytes()[1..].to_vec();
    let prekey = prekey.map(|prekey| {
        Node::new("key")
            .child(Node::new("id").bytes(id_bytes(prekey.id)))
            .child(Node::new("value").bytes(prekey.public.to_vec()))
    });
    let signed = Node::new("skey")
        .child(Node::new("id").bytes(id_bytes(signed_prekey.id)))
        .child(Node::new("value").bytes(signed_prekey.public.to_vec()))
        .child(Node::new("signature").bytes(signed_prekey.signature.to_vec()));
    let keys = Node::new("keys")
        .child(Node::new("type").bytes(vec![5]))
        .child(Node::new("identity").bytes(identity.to_vec()))
        .child_opt(prekey)
        .child(signed);
    let request = Node::new("receipt")
        .attr("id", id.to_owned())
        .attr("to", to.to_string())
        .attr("type", "retry")
        // A companion looks for its own message in the chat it was written to; in a group, its
        // author is named.
        .attrs_from(node, &["recipient", "participant"])
        .child(
            Node::new("retry")
                .attr("count", count.to_string())
                .attr("id", id.to_owned())
                .attr("t", node.get("t").unwrap_or("0").to_owned())
                .attr("v", "1"),
        )
        .child(Node::new("registration").bytes(registration_id.to_be_bytes().to_vec()))
        .child(keys);
    Some((to, request))
}

impl State {
    /// Notes a message, and opens and counts it if it answers a poll or an event.
    pub(super) fn record(
        &mut self,
        service: &Service,
        account: &Account,
        sender: &Sender,
        node: &Node,
        id: &str,
        message: &Message,
    ) -> Option<Recorded> {
        let mut note = note(account, sender, node, id, message)?;
        // A chat has one name, whichever address its messages were sent to.
        let lid = note.chat.ends_with("@lid").then(|| Jid::parse(&note.chat));
        if let Some(peer) = lid.flatten().and_then(|jid| service.account(&jid)) {
            note.chat = peer.pn.to_string();
        }
        self.ballots.learn(id, &note.chat, &sender.account, message);
        if let Some(detail) = &mut note.content {
            self.ballots.open(&sender.account, message.innermost(), detail);
        }
        let forgotten = self.notebook.write(note.clone());
        service.counters.messages_forgotten.add(forgotten);
        self.remember_medium(id, message);
        Some(note)
    }
}

/// What the phone writes down of a message; protocol traffic between devices is not worth a line.
fn note(account: &Account, sender: &Sender, node: &Node, id: &str, message: &Message) -> Option<Recorded> {
    let inner = message.innermost();
    let is_own = sender.account.pn == account.pn;
    let sent_to = message
        .device_sent_message
        .as_ref()
        .and_then(|sent| sent.destination_jid.as_deref())
        .or_else(|| node.get("recipient"));
    let from = node.get("from").and_then(Jid::parse);
    let group = from.filter(|from| from.domain == Domain::Group);
    let chat = match group.or_else(|| sent_to.and_then(Jid::parse)) {
        Some(group) if group.domain == Domain::Group => group.to_string(),
        Some(jid) if is_own && jid.domain == Domain::Lid => jid.user_jid().to_string(),
        Some(jid) if is_own => jid.user,
        _ => sender.account.pn.to_string(),
    };
    let id_of = |key: &Option<MessageKey>| key.as_ref().and_then(|key| key.id.clone());
    let detail = Detail::read(inner);
    let medium = Medium::of(inner).and_then(|medium| medium.view());
    let (kind, text, target_id) = if let Some(reaction) = &inner.reaction_message {
        (Kind::Reaction, reaction.text.clone(), id_of(&reaction.key))
    } else if let Some(detail) = &detail {
        let text = detail.text().map(str::to_owned);
        (Kind::of(detail), text, detail.target().map(str::to_owned))
    } else if let Some(protocol) = &inner.protocol_message {
        let target = id_of(&protocol.key);
        match protocol.r#type.and_then(|kind| ProtocolType::try_from(kind).ok()) {
            // The first value of the enumeration is also what an absent type means.
            Some(ProtocolType::Revoke) | None => (Kind::Revoke, None, Some(target?)),
            Some(ProtocolType::MessageEdit) => {
                let text = protocol.edited_message.as_ref().and_then(|edited| edited.text());
                (Kind::Edit, text.map(str::to_owned), target)
            }
            Some(_) => return None,
        }
    } else if inner.conversation.is_some() || inner.extended_text_message.is_some() {
        (Kind::Text, inner.text().map(str::to_owned), None)
    } else if medium.is_some() {
        (Kind::Media, inner.text().map(str::to_owned), None)
    } else if node.is("category", "peer") {
        return None;
    } else {
        (Kind::Other, None, None)
    };
    let quoted_id = context_of(inner).and_then(|context| context.stanza_id.clone());
    let frame = Some(Frame::read(message)).filter(|frame| !frame.is_empty());
    Some(Recorded {
        number: 0,
        kind,
        direction: if is_own {
            Direction::Sent
        } else {
            Direction::Received
        },
        from: sender.account.pn.to_string(),
        from_device: sender.device,
        chat,
        whatsapp_id: id.to_owned(),
        text,
        target_id,
        quoted_id,
        timestamp: node.get("t").and_then(|t| t.parse().ok()).unwrap_or_else(now_s),
        content: detail,
        frame,
        tally: None,
        media: medium,
        raw: sent_inside(message).encode_to_vec(),
    })
}

/// The message without the wrapper of copies for own devices.
fn sent_inside(message: &Message) -> &Message {
    let sent = message.device_sent_message.as_ref();
    sent.and_then(|sent| sent.message.as_deref()).unwrap_or(message)
}
