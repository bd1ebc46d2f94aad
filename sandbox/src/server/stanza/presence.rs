//! Presence and chat states: worth something only to who is online now.

use serde::{Deserialize, Serialize};

use super::iq::domain_of;
use crate::server::account::Account;
use crate::server::group;
use crate::server::service::Service;
use crate::server::session::Session;
use crate::server::sync::{lock, now_s};
use crate::wire::jid::{Domain, Jid};
use crate::wire::node::Node;

pub(in crate::server) fn presence(service: &Service, session: &Session, node: &Node) {
    match node.get("type") {
        Some("subscribe") => subscribe(service, session, node),
        Some("unsubscribe") => {
            let target = node
                .get("to")
                .and_then(Jid::parse)
                .and_then(|jid| service.account(&jid));
            if let Some(target) = target {
                lock(&target.presence)
                    .subscribers
                    .remove(&session.account.device_ref(session.device.id));
            }
        }
        // Some clients send a presence without any attribute while their name is not known: ignored.
        kind => {
            let available = match kind {
                None | Some("available") => true,
                Some("unavailable") => false,
                Some(_) => return,
            };
            if node.attrs.is_empty() {
                return;
            }
            session.device.set_available(available);
            refresh(service, &session.account);
        }
    }
}

fn subscribe(service: &Service, session: &Session, node: &Node) {
    let Some(jid) = node.get("to").and_then(Jid::parse) else {
        return;
    };
    let Some(target) = service.account(&jid) else {
        return;
    };
    let domain = domain_of(&jid);
    let now = {
        let mut presence = lock(&target.presence);
        presence.subscribe(session.account.device_ref(session.device.id), domain);
        (presence.available, presence.last_seen_s)
    };
    session
        .link
        .send(&presence_node(&target, &session.account, domain, now));
}

/// The presence of an account as far as `viewer` may see it.
fn presence_node(
    account: &Account,
    viewer: &Account,
    domain: Domain,
    (available, last_seen_s): (bool, u64),
) -> Node {
    let node = Node::new("presence").attr("from", account.jid(0, domain).to_string());
    if available && shows_online(account, viewer) {
        return node;
    }
    let is_shown = last_seen_s != 0 && shows_last_seen(account, viewer);
    let last = if is_shown {
        last_seen_s.to_string()
    } else {
        "deny".to_owned()
    };
    node.attr("type", "unavailable").attr("last", last)
}

/// Who hides when they were seen last does not see it of others.
fn shows_last_seen(account: &Account, viewer: &Account) -> bool {
    account.shows("last", viewer) && viewer.shows("last", account)
}

fn shows_online(account: &Account, viewer: &Account) -> bool {
    !account.blocks(viewer) && (!account.hides_online_as_last_seen() || shows_last_seen(account, viewer))
}

/// Tells subscribers when an account comes or goes: it is there while one of its devices says so.
pub(in crate::server) fn refresh(service: &Service, account: &Account) {
    let available =
        account.phone.is_available() || account.devices().iter().any(|device| device.is_available());
    let subscribers: Vec<_> = {
        let mut presence = lock(&account.presence);
        if presence.available == available {
            return;
        }
        presence.available = available;
        if !available {
            presence.last_seen_s = now_s();
        }
        presence
            .subscribers
            .iter()
            .map(|(device, domain)| (device.clone(), *domain, available))
            .collect()
    };
    for ((pn, device), domain, available) in subscribers {
        let Some(viewer) = service.account_by_pn(&pn) else {
            continue;
        };
        if shows_online(account, &viewer)
            && let Some(device) = viewer.device(device)
        {
            device.send_live(&presence_node(account, &viewer, domain, (available, now_s())));
        }
    }
}

/// Typing and recording, passed on to the other side's devices, its phone among them.
pub(in crate::server) fn chat_state(service: &Service, session: &Session, node: &Node) {
    let Some(jid) = node.get("to").and_then(Jid::parse) else {
        return;
    };
    let state = node
        .children()
        .iter()
        .find(|state| matches!(state.tag.as_ref(), "composing" | "paused"));
    if let Some(state) = state {
        pass_on(service, &session.account, &jid, state);
    }
}

/// Passes a chat state on, unless the other side blocks its sender. Returns whether there is such a
/// chat.
fn pass_on(service: &Service, account: &Account, to: &Jid, state: &Node) -> bool {
    if to.domain == Domain::Group {
        return group::chat_state(service, account, to, state);
    }
    let Some(target) = service.account(to).filter(|target| target.pn != account.pn) else {
        return false;
    };
    if target.blocks(account) {
        return true;
    }
    if let Some(heard) = ChatState::of(state) {
        target.phone.hear(&account.pn, heard);
    }
    let passed = Node::new("chatstate")
        .attr("from", account.jid(0, domain_of(to)).to_string())
        .child(state.clone());
    for device in target.devices() {
        device.send_live(&passed);
    }
    true
}

/// What a phone does in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatState {
    Composing,
    Recording,
    Paused,
}

impl ChatState {
    fn of(node: &Node) -> Option<Self> {
        match node.tag.as_ref() {
            "composing" if node.is("media", "audio") => Some(Self::Recording),
            "composing" => Some(Self::Composing),
            "paused" => Some(Self::Paused),
            _ => None,
        }
    }
}

/// Shows a chat what the phone of `account` does in it; `chat` is a phone number or an address.
/// Returns whether there is such a chat.
pub(in crate::server) fn phone_types(
    service: &Service,
    account: &Account,
    chat: &str,
    state: ChatState,
) -> bool {
    let digits = chat.trim_start_matches('+');
    let to = match Jid::parse(chat) {
        Some(jid) if chat.contains('@') => jid,
        _ => Jid::new(digits, 0, Domain::Pn),
    };
    let state = match state {
        ChatState::Composing => Node::new("composing"),
        ChatState::Recording => Node::new("composing").attr("media", "audio"),
        ChatState::Paused => Node::new("paused"),
    };
    pass_on(service, account, &to, &state)
}
