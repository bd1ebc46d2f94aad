//! What a phone sends: messages to chats, and to its own companions what they need to work.

use std::sync::Arc;

use thiserror::Error;

use super::history;
use super::medium::Medium;
use super::receive::{address, phone_of};
use super::sent::Sent;
use super::{Content, Outgoing, Place, group};
use crate::server::account::Account;
use crate::server::service::Service;
use crate::server::stanza::message::{Refusal, Sender, route};
use crate::server::stanza::{prekey, receipt};
use crate::server::sync::{lock, now_s};
use crate::signal::padding::pad;
use crate::signal::proto::{
    AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId,
    AppStateSyncKeyShare, Message, ProtoMessage, ProtocolMessage, ProtocolType,
};
use crate::signal::{Bundle, Ciphertext};
use crate::wire::jid::{Domain, Jid};
use crate::wire::node::Node;

/// Resends of one message to one device.
const RESENDS_MAX: u32 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(in crate::server) enum SendError {
    #[error("no device of the receiver has keys")]
    NoKeys,
    #[error("a device of the receiver holds too many messages it has not confirmed")]
    QueueFull,
    #[error("the account is not a member of the group")]
    NotMember,
    #[error("only admins write in this group")]
    OnlyAdmins,
    #[error("the message was refused")]
    Refused,
}

/// Sends `content` to all devices of `peer`, and copies of it to the own companions.
pub(in crate::server) fn send(
    service: &Arc<Service>,
    account: &Arc<Account>,
    peer: &Arc<Account>,
    domain: Domain,
    content: &Content,
) -> Result<String, SendError> {
    let id = message_id();
    let outgoing = {
        let mut state = lock(&account.phone.state);
        let is_ours = content
            .target()
            .is_some_and(|target| state.sent.get(target).is_some());
        let outgoing = content.build(&Place::of(peer, domain), is_ours);
        state.remember_medium(&id, &outgoing.message);
        state.remember_sent(
            &id,
            Sent {
                peer: peer.pn.clone(),
                domain,
                outgoing: outgoing.clone(),
                at_s: now_s(),
            },
        );
        outgoing
    };
    let mut targets = Vec::new();
    if peer.pn != account.pn {
        targets.push(phone_of(peer));
        targets.extend(companions(peer));
    }
    targets.extend(companions(account));
    if targets.is_empty() {
        return Ok(id);
    }
    send_to(service, account, peer, domain, &id, &outgoing, &targets)?;
    Ok(id)
}

pub(super) fn companions(account: &Arc<Account>) -> impl Iterator<Item = Sender> {
    account.devices().into_iter().map(|device| Sender {
        account: account.clone(),
        device: device.id,
    })
}

fn send_to(
    service: &Arc<Service>,
    account: &Arc<Account>,
    peer: &Account,
    domain: Domain,
    id: &str,
    outgoing: &Outgoing,
    targets: &[Sender],
) -> Result<(), SendError> {
    let chat = peer.jid(0, domain).to_string();
    let plain = outgoing.message.encode_to_vec();
    let own_plain = outgoing.message.clone().device_sent(chat.clone()).encode_to_vec();
    let plain_for = |target: &Sender| {
        if target.account.pn == account.pn {
            &own_plain
        } else {
            &plain
        }
    };
    let media_kind = media_kind(&outgoing.message);
    let copies = encrypt(service, account, targets, |target| pad(plain_for(target).clone()));
    let copies = copies.into_iter().map(|(target, sealed)| {
        Node::new("to")
            .attr("jid", target.account.jid(target.device, domain).to_string())
            .child(enc(&sealed).attr_opt("mediatype", media_kind))
    });
    let copies: Vec<_> = copies.collect();
    if copies.is_empty() {
        return Err(SendError::NoKeys);
    }
    let node = Node::new("message")
        .attr("to", chat)
        .attr("id", id.to_owned())
        .attr("type", outgoing.kind.clone())
        .attr_opt("edit", outgoing.edit.clone())
        .child(Node::new("participants").with_children(copies));
    match route(service, &phone_of(account), &node) {
        Ok(_) => Ok(()),
        Err(Refusal::QueueFull) => Err(SendError::QueueFull),
        Err(_) => Err(SendError::Refused),
    }
}

pub(super) fn enc(sealed: &Ciphertext) -> Node {
    Node::new("enc")
        .attr("v", "2")
        .attr("type", sealed.kind.as_str())
        .bytes(sealed.bytes.clone())
}

/// The `mediatype` of a stanza that carries this message.
pub(super) fn media_kind(message: &Message) -> Option<&'static str> {
    Some(Medium::of(message)?.kind?.stanza_kind())
}

/// Encrypts for each target that has keys; sessions that are missing are started.
fn encrypt(
    service: &Service,
    account: &Account,
    targets: &[Sender],
    plain: impl Fn(&Sender) -> Vec<u8>,
) -> Vec<(Sender, Ciphertext)> {
    meet(service, account, targets);
    let mut state = lock(&account.phone.state);
    let sealed = targets.iter().filter_map(|target| {
        let sealed = state.signal.encrypt(&address(target), &plain(target)).ok()?;
        Some((target.clone(), sealed))
    });
    sealed.collect()
}

/// Starts the sessions with `targets` that are missing, with those that have keys.
pub(super) fn meet(service: &Service, account: &Account, targets: &[Sender]) {
    let missing: Vec<_> = {
        let state = lock(&account.phone.state);
        targets
            .iter()
            .filter(|target| !state.signal.has_session(&address(target)))
            .cloned()
            .collect()
    };
    let bundles: Vec<_> = missing
        .iter()
        .filter_map(|target| Some((target, bundle(service, target)?)))
        .collect();
    let mut state = lock(&account.phone.state);
    for (target, bundle) in bundles {
        let address = address(target);
        if !state.signal.has_session(&address)
            && let Err(error) = state.signal.start_session(&address, &bundle)
        {
            tracing::warn!(error = error.to_string(), "a device's bundle is not usable");
        }
    }
}

fn bundle(service: &Service, target: &Sender) -> Option<Bundle> {
    prekey::fetch(service, &target.account.jid(target.device, Domain::Pn)).map(|fetched| fetched.bundle)
}

/// Answers a device that could not read a message: a new session, the same message and id.
pub(super) fn resend(service: &Arc<Service>, account: &Arc<Account>, reader: &Sender, node: &Node) {
    let count = node
        .find("retry")
        .and_then(|retry| retry.get("count")?.parse::<u32>().ok())
        .unwrap_or(1);
    let Some(id) = node.get("id").filter(|_| count <= RESENDS_MAX) else {
        return;
    };
    let sent = lock(&account.phone.state).sent.get(id).cloned();
    let Some(Sent {
        peer,
        domain,
        outgoing,
        ..
    }) = sent
    else {
        return;
    };
    let group_id = peer.strip_suffix("@g.us");
    let peer = service.account_by_pn(&peer);
    let is_reader = |account: &Account| reader.account.pn == account.pn;
    if group_id.is_none() && !is_reader(account) && !peer.as_deref().is_some_and(is_reader) {
        return;
    }
    let Some(bundle) = bundle(service, reader) else {
        return;
    };
    let started = lock(&account.phone.state)
        .signal
        .start_session(&address(reader), &bundle);
    let resent = started.map_err(|error| error.to_string()).and_then(|()| {
        let resent = match (group_id, &peer) {
            (Some(group_id), _) => group::resend(service, account, group_id, reader, id, &outgoing),
            (None, Some(peer)) => {
                let targets = std::slice::from_ref(reader);
                send_to(service, account, peer, domain, id, &outgoing, targets)
            }
            (None, None) => Err(SendError::Refused),
        };
        resent.map_err(|error| error.to_string())
    });
    if let Err(error) = resent {
        tracing::debug!(error, "a virtual phone could not resend a message");
    }
}

/// What a new companion waits for: the app-state key, then its history.
pub(super) fn bootstrap(service: &Arc<Service>, account: &Arc<Account>, device: u16) {
    share_app_state_key(service, account, device);
    history::send(service, account, device);
}

pub(super) fn share_app_state_key(service: &Arc<Service>, account: &Arc<Account>, device: u16) {
    let key = &account.phone.app_state_key;
    let indexes = account
        .devices()
        .iter()
        .map(|device| u32::from(device.id))
        .collect::<Vec<_>>();
    let fingerprint = AppStateSyncKeyFingerprint {
        raw_id: Some(account.raw_id),
        current_index: indexes.iter().copied().max(),
        device_indexes: std::iter::once(0).chain(indexes).collect(),
    };
    let data = AppStateSyncKeyData {
        key_data: Some(key.key.to_vec()),
        fingerprint: Some(fingerprint),
        timestamp: i64::try_from(now_s() * 1_000).ok(),
    };
    let shared = AppStateSyncKey {
        key_id: Some(AppStateSyncKeyId {
            key_id: Some(key.id.to_vec()),
        }),
        key_data: Some(data),
    };
    let protocol = ProtocolMessage {
        r#type: Some(ProtocolType::AppStateSyncKeyShare.into()),
        app_state_sync_key_share: Some(AppStateSyncKeyShare { keys: vec![shared] }),
        ..ProtocolMessage::default()
    };
    send_peer(service, account, device, Message::of_protocol(protocol));
}

pub(super) fn send_peer(service: &Arc<Service>, account: &Arc<Account>, device: u16, message: Message) {
    let id = message_id();
    lock(&account.phone.state).remember_medium(&id, &message);
    let target = Sender {
        account: account.clone(),
        device,
    };
    let plain = message.encode_to_vec();
    let copies = encrypt(service, account, std::slice::from_ref(&target), |_| {
        pad(plain.clone())
    });
    let Some((_, sealed)) = copies.first() else { return };
    let node = Node::new("message")
        .attr("to", account.jid(device, Domain::Pn).to_string())
        .attr("id", id)
        .attr("type", "text")
        .attr("category", "peer")
        .attr("push_priority", "high")
        .child(enc(sealed));
    if let Err(refusal) = route(service, &phone_of(account), &node) {
        tracing::warn!(
            code = %refusal.code(),
            "a message from a phone to its companion was refused"
        );
    }
}

/// Tells the author of a received message that it was read. Returns false if there is no such message.
pub(in crate::server) fn mark_read(service: &Arc<Service>, account: &Arc<Account>, id: &str) -> bool {
    let author = lock(&account.phone.state).notebook.author(id);
    let Some((author, chat)) = author.and_then(|(pn, chat)| Some((service.account_by_pn(&pn)?, chat))) else {
        return false;
    };
    let own = author.jid(0, Domain::Pn);
    let group = Jid::parse(&chat).filter(|jid| jid.domain == Domain::Group);
    let participant = group.as_ref().map(|_| own.to_string());
    let to = group.unwrap_or(own);
    let node = Node::new("receipt")
        .attr("id", id.to_owned())
        .attr("to", to.to_string())
        .attr_opt("participant", participant)
        .attr("type", "read");
    receipt::forward(service, &phone_of(account), &to, &node);
    true
}

/// An id like those phones make: 32 upper-case hexadecimal digits.
pub(super) fn message_id() -> String {
    format!("{:032X}", rand::random::<u128>())
}
