//! Receipts and acknowledgements: they settle what was delivered, and tell the author.

use std::cell::Cell;
use std::sync::Arc;

use super::ID_BYTES_MAX;
use super::iq::domain_of;
use super::message::Sender;
use crate::server::account::Account;
use crate::server::group;
use crate::server::link::stream_error;
use crate::server::phone;
use crate::server::queue::{Class, Entry, Offer};
use crate::server::service::Service;
use crate::server::session::Session;
use crate::server::sync::now_s;
use crate::wire::jid::{Domain, Jid};
use crate::wire::node::Node;

/// Messages one receipt may name.
const ITEMS_MAX: usize = 1_024;

pub(in crate::server) fn from_companion(service: &Arc<Service>, session: &Session, node: &Node) {
    let (Some(id), Some(to)) = (
        node.get("id").filter(|id| id.len() <= ID_BYTES_MAX),
        node.get("to"),
    ) else {
        return session
            .link
            .end_with(&stream_error(None, None).child(Node::new("bad-format")));
    };
    let sender = Sender {
        account: session.account.clone(),
        device: session.device.id,
    };
    if let Some(jid) = Jid::parse(to) {
        settle(service, session, &jid, id, node);
        forward(service, &sender, &jid, node);
    }
    let ack = Node::new("ack")
        .attr("class", "receipt")
        .attr("id", id.to_owned())
        .attr("from", to.to_owned())
        .attrs_from(node, &["type", "participant"]);
    session.acknowledge(service, &ack);
}

/// A companion acknowledges a stanza: it need not be delivered again.
pub(in crate::server) fn acknowledged(session: &Session, node: &Node) {
    let (Some(class), Some(id)) = (node.get("class").and_then(Class::parse), node.get("id")) else {
        return;
    };
    let kind = origin_of_kind(node.get("type"));
    // Receipts of a phone and of its companion look alike: each is acknowledged on its own.
    let settled = Cell::new(false);
    session.device.settle(class, id, false, |entry| {
        class != Class::Receipt || (entry.origin >> KIND_SHIFT == kind && !settled.replace(true))
    });
}

fn settle(service: &Service, session: &Session, to: &Jid, id: &str, node: &Node) {
    let is_retry = node.is("type", "retry");
    // In a group the author is named apart; a receipt that does not name him is for anybody's.
    let is_group = to.domain == Domain::Group;
    let author_jid = match node.get("participant") {
        Some(participant) if is_group => Jid::parse(participant),
        _ => Some(to.clone()),
    };
    let author = author_jid.as_ref().and_then(|jid| service.account(jid));
    let raw_id = author
        .as_ref()
        .map_or(session.account.raw_id, |account| account.raw_id);
    let authors = [raw_id, session.account.raw_id].map(u64::from);
    let chat = to.to_string();
    let items = node.find("list").map(Node::children).unwrap_or_default();
    let ids = items.iter().take(ITEMS_MAX).filter_map(|item| item.get("id"));
    for id in std::iter::once(id).chain(ids) {
        session.device.settle(Class::Message, id, is_retry, |entry| {
            let is_by_author = authors.contains(&(entry.origin >> 16));
            is_by_author && (!is_group || entry.node.is("from", &chat))
                || is_group && author.is_none() && entry.node.is("from", &chat)
        });
        if is_retry && let Some((account, jid)) = author.as_ref().zip(author_jid.as_ref()) {
            session.device.forget_settled(id, account.origin(jid.device));
        }
    }
}

/// Tells the author's devices what happened to a message; a request for a resend goes only to the
/// device that wrote it.
pub(in crate::server) fn forward(service: &Arc<Service>, reader: &Sender, to: &Jid, node: &Node) {
    if to.domain == Domain::Group {
        return group::forward(service, reader, to, node);
    }
    let Some(author) = service.account(to) else { return };
    match node.get("type") {
        Some("peer_msg" | "hist_sync" | "sender") => {}
        Some("server-error") => {
            if author.pn == reader.account.pn {
                phone::deliver_reupload(service, &author, reader.clone(), node.clone());
            }
        }
        Some("retry") => forward_retry(service, reader, &author, to, node),
        Some("read-self" | "played-self") => mirror(service, reader, to, node),
        kind => {
            if author.pn != reader.account.pn && !author.blocks(&reader.account) {
                forward_to_author(service, reader, &author, to, node);
                if kind == Some("read") {
                    mirror(service, reader, to, node);
                }
            }
        }
    }
}

fn forward_to_author(service: &Service, reader: &Sender, author: &Account, to: &Jid, node: &Node) {
    let from = reader.account.jid(0, domain_of(to));
    let forwarded = receipt(&from, node)
        .attrs_from(node, &["recipient"])
        .child_opt(node.find("list").cloned());
    for device in author.devices() {
        offer(service, &device, reader, forwarded.clone(), node);
    }
    service.counters.receipts_routed.one();
}

/// What one companion read is read on the others too.
fn mirror(service: &Service, reader: &Sender, to: &Jid, node: &Node) {
    let from = reader.account.jid(0, domain_of(to));
    let mirrored = receipt(&from, node)
        .attr("recipient", to.user_jid().to_string())
        .child_opt(node.find("list").cloned());
    for device in reader
        .account
        .devices()
        .iter()
        .filter(|device| device.id != reader.device)
    {
        offer(service, device, reader, mirrored.clone(), node);
    }
}

fn forward_retry(service: &Arc<Service>, reader: &Sender, author: &Arc<Account>, to: &Jid, node: &Node) {
    service.counters.retry_receipts.one();
    let from = reader.account.jid(reader.device, domain_of(to));
    let mut forwarded = receipt(&from, node).attrs_from(node, &["recipient"]);
    forwarded.content = node.content.clone();
    if to.device == 0 {
        phone::deliver_retry(service, author, reader.clone(), forwarded);
    } else if let Some(device) = author.device(to.device) {
        offer(service, &device, reader, forwarded, node);
    }
}

fn receipt(from: &Jid, node: &Node) -> Node {
    Node::new("receipt")
        .attr("from", from.to_string())
        .attrs_from(node, &["id", "type", "participant"])
        .attr("t", now_s().to_string())
}

/// Queues a receipt; `node` is the one it was made from.
pub(in crate::server) fn offer(
    service: &Service,
    device: &crate::server::device::Device,
    reader: &Sender,
    receipt: Node,
    node: &Node,
) {
    let id = node.get("id").unwrap_or_default();
    let origin = origin_of_kind(node.get("type")) << KIND_SHIFT | reader.account.origin(reader.device);
    let entry = Entry {
        class: Class::Receipt,
        id: id.into(),
        origin,
        node: receipt,
    };
    if device.offer(entry) == Offer::Full {
        service.counters.dropped.one();
    }
}

/// Receipts of different kinds for one message are different stanzas; the kind is kept in the top
/// bits of their origin.
const KIND_SHIFT: u32 = 56;

fn origin_of_kind(kind: Option<&str>) -> u64 {
    match kind {
        None => 0,
        Some("inactive") => 1,
        Some("read") => 2,
        Some("read-self") => 3,
        Some("retry") => 4,
        Some("played") => 5,
        Some(_) => 6,
    }
}
