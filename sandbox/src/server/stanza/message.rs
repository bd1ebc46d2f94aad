//! Routing of messages: one encrypted copy per device in, each copy to its device.
//!
//! A message is acknowledged after every copy is queued. The same id from the same device again is
//! acknowledged again, and reaches only devices that neither hold nor settled it.

use std::sync::Arc;

use super::error::StanzaError;
use super::iq::domain_of;
use super::{ID_BYTES_MAX, participant_hash};
use crate::server::account::Account;
use crate::server::group;
use crate::server::phone;
use crate::server::queue::{Class, Entry, Offer};
use crate::server::service::Service;
use crate::server::session::Session;
use crate::server::sync::now_s;
use crate::wire::jid::{Domain, Jid};
use crate::wire::node::{Node, Text};

/// Copies in one message.
const COPIES_MAX: usize = 256;

/// The device a message or receipt comes from; device 0 is the virtual phone.
#[derive(Clone)]
pub(in crate::server) struct Sender {
    pub account: Arc<Account>,
    pub device: u16,
}

/// What the acknowledgement of an accepted message says.
#[derive(Debug, Default)]
pub(in crate::server) struct Accepted {
    /// The right hash over the devices, when the sender's list of them was wrong.
    pub participant_hash: Option<String>,
}

/// Why a message was not accepted, as the `error` of its acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Refusal {
    Malformed,
    Forbidden,
    NoSuchUser,
    Unsupported,
    QueueFull,
    /// A fault that was asked for.
    Fault(u16),
}

impl Refusal {
    pub(in crate::server) fn code(self) -> Text {
        match self {
            Self::Malformed => StanzaError::BadRequest.code().into(),
            Self::Forbidden => StanzaError::Forbidden.code().into(),
            Self::NoSuchUser => StanzaError::NotFound.code().into(),
            Self::Unsupported => StanzaError::NotImplemented.code().into(),
            Self::QueueFull => StanzaError::Unavailable.code().into(),
            Self::Fault(code) => code.to_string().into(),
        }
    }
}

pub(in crate::server) fn from_companion(service: &Arc<Service>, session: &Session, node: &Node) {
    let sender = Sender {
        account: session.account.clone(),
        device: session.device.id,
    };
    let rejected = service.faults.at_send(session.who());
    let outcome = match rejected {
        Some(code) => Err(Refusal::Fault(code)),
        None => route(service, &sender, node),
    };
    let ack = Node::new("ack")
        .attr("class", "message")
        .attrs_from(node, &["id"])
        .attr_opt("from", node.get("to").map(str::to_owned))
        .attr("t", now_s().to_string());
    let ack = match outcome {
        Ok(accepted) => ack.attr_opt("phash", accepted.participant_hash),
        Err(refusal) => {
            service.counters.messages_refused.one();
            ack.attr("error", refusal.code())
        }
    };
    session.acknowledge(service, &ack);
}

/// One device's copy of a message.
struct Copy<'a> {
    account: Arc<Account>,
    jid: Jid,
    enc: &'a Node,
}

/// Queues every copy of a message for its device.
pub(in crate::server) fn route(
    service: &Arc<Service>,
    sender: &Sender,
    node: &Node,
) -> Result<Accepted, Refusal> {
    let id = node
        .get("id")
        .filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX)
        .ok_or(Refusal::Malformed)?;
    let to = node.get("to").and_then(Jid::parse).ok_or(Refusal::Malformed)?;
    if to.domain == Domain::Group {
        return group::route(service, sender, &to, id, node);
    }
    if !matches!(to.domain, Domain::Pn | Domain::Lid | Domain::Legacy) {
        return Err(Refusal::Unsupported);
    }
    let peer = service.account(&to).ok_or(Refusal::NoSuchUser)?;
    let copies = copies(service, sender, &peer, &to, node)?;
    let full = copies.iter().any(|copy| match copy.jid.device {
        0 => copy.account.phone.inbox_is_full(),
        id => copy
            .account
            .device(id)
            .is_some_and(|device| device.queue_is_full()),
    });
    if full {
        return Err(Refusal::QueueFull);
    }
    let notify = sender.account.name();
    // Whoever is blocked is not told: the message is taken and goes no further.
    let is_swallowed = peer.blocks(&sender.account);
    if is_swallowed {
        service.counters.messages_swallowed.one();
    }
    let (mut new, mut routed) = (is_swallowed, 0);
    for copy in &copies {
        if is_swallowed && copy.account.raw_id == peer.raw_id {
            continue;
        }
        let built = build(sender, copy, node, &to, &notify);
        if copy.jid.device == 0 {
            phone::deliver(service, &copy.account, sender.clone(), built);
            (new, routed) = (true, routed + 1);
        } else if let Some(device) = copy.account.device(copy.jid.device) {
            let origin = sender.account.origin(sender.device);
            let entry = Entry {
                class: Class::Message,
                id: id.into(),
                origin,
                node: built,
            };
            match device.offer(entry) {
                Offer::Queued => (new, routed) = (true, routed + 1),
                Offer::Known => {}
                Offer::Full => service.counters.dropped.one(),
            }
        }
    }
    service.counters.messages_routed.add(routed);
    let counter = if new {
        &service.counters.messages_accepted
    } else {
        &service.counters.messages_repeated
    };
    counter.one();
    Ok(Accepted {
        participant_hash: wrong_devices(sender, &peer, &to, node, &copies),
    })
}

/// The copies a message carries that are the sender's to send.
fn copies<'a>(
    service: &Service,
    sender: &Sender,
    peer: &Arc<Account>,
    to: &Jid,
    node: &'a Node,
) -> Result<Vec<Copy<'a>>, Refusal> {
    let mut copies = Vec::new();
    if let Some(enc) = node.find("enc") {
        copies.push(Copy {
            account: peer.clone(),
            jid: to.clone(),
            enc,
        });
    }
    let targets = node.find("participants").map(Node::children).unwrap_or_default();
    if targets.len() > COPIES_MAX {
        return Err(Refusal::Malformed);
    }
    for target in targets {
        let jid = target.get("jid").and_then(Jid::parse).ok_or(Refusal::Malformed)?;
        let enc = target.find("enc").ok_or(Refusal::Malformed)?;
        let account = service.account(&jid).ok_or(Refusal::NoSuchUser)?;
        let is_peer = account.pn == peer.pn;
        let is_own = account.pn == sender.account.pn;
        if !is_peer && !is_own {
            return Err(Refusal::Malformed);
        }
        let is_repeated = |copy: &Copy<'_>| copy.account.pn == account.pn && copy.jid.device == jid.device;
        if copies.iter().any(is_repeated) {
            return Err(Refusal::Malformed);
        }
        if !(is_own && jid.device == sender.device) {
            copies.push(Copy { account, jid, enc });
        }
    }
    if copies.is_empty() {
        Err(Refusal::Malformed)
    } else {
        Ok(copies)
    }
}

/// A copy as its device receives it.
fn build(sender: &Sender, copy: &Copy<'_>, node: &Node, to: &Jid, notify: &str) -> Node {
    // The device finds its session under the addressing the sender chose for it.
    let domain = domain_of(&copy.jid);
    let (other, other_domain) = match domain {
        Domain::Lid => ("sender_pn", Domain::Pn),
        _ => ("sender_lid", Domain::Lid),
    };
    let is_own = copy.account.pn == sender.account.pn;
    let mut built = Node::new("message")
        .attr("from", sender.account.jid(sender.device, domain).to_string())
        .attrs_from(node, &["id", "type"])
        .attr("t", now_s().to_string())
        .attr("notify", notify.to_owned())
        .attr(other, sender.account.jid(0, other_domain).to_string())
        .attrs_from(node, &["edit", "category", "push_priority"]);
    if is_own && !node.is("category", "peer") {
        built = built.attr("recipient", to.user_jid().to_string());
    }
    built = built.child(copy.enc.clone());
    for child in node.children() {
        let is_wanted = match child.tag.as_ref() {
            "participants" | "enc" => false,
            "device-identity" => copy.enc.is("type", "pkmsg"),
            _ => true,
        };
        if is_wanted {
            built = built.child(child.clone());
        }
    }
    built
}

/// The hash over the right devices if a message to all devices left one out or named one too many.
fn wrong_devices(
    sender: &Sender,
    peer: &Account,
    to: &Jid,
    node: &Node,
    copies: &[Copy<'_>],
) -> Option<String> {
    // Peer messages and resends go to one device on purpose.
    if node.is("category", "peer") || node.is("device_fanout", "false") || node.find("enc").is_some() {
        return None;
    }
    let has = |account: &Account, device: u16| {
        copies
            .iter()
            .any(|copy| copy.account.pn == account.pn && copy.jid.device == device)
    };
    let mut devices: Vec<(&Account, u16)> = vec![(peer, 0), (&sender.account, 0)];
    devices.extend(peer.devices().iter().map(|device| (peer, device.id)));
    devices.extend(
        sender
            .account
            .devices()
            .iter()
            .map(|device| (&*sender.account, device.id)),
    );
    devices.retain(|(account, device)| !(account.pn == sender.account.pn && *device == sender.device));
    devices.sort_unstable_by(|a, b| (&a.0.pn, a.1).cmp(&(&b.0.pn, b.1)));
    devices.dedup_by(|a, b| a.0.pn == b.0.pn && a.1 == b.1);
    let complete = devices.iter().all(|(account, device)| has(account, *device));
    let none_gone = copies
        .iter()
        .all(|copy| copy.jid.device == 0 || copy.account.device(copy.jid.device).is_some());
    if complete && none_gone {
        return None;
    }
    let domain = domain_of(to);
    let mut jids: Vec<_> = devices
        .iter()
        .map(|(account, device)| account.jid(*device, domain).to_string())
        .collect();
    jids.push(sender.account.jid(sender.device, domain).to_string());
    Some(participant_hash(jids))
}
