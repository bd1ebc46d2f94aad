//! Receipts and typing in groups: who reads is named, and only the author is told.

use std::sync::Arc;

use super::{Group, other_participant};
use crate::server::account::Account;
use crate::server::phone;
use crate::server::service::Service;
use crate::server::stanza::message::Sender;
use crate::server::stanza::receipt::offer;
use crate::server::sync::now_s;
use crate::wire::jid::Jid;
use crate::wire::node::Node;

/// Tells the author's devices what happened to a message; a request for a resend goes only to the
/// device that wrote it.
pub(in crate::server) fn forward(service: &Arc<Service>, reader: &Sender, to: &Jid, node: &Node) {
    let Some(group) = service
        .groups
        .get(&to.user)
        .filter(|group| group.has_member(&reader.account))
    else {
        return;
    };
    let Some(author_jid) = node.get("participant").and_then(Jid::parse) else {
        return;
    };
    let Some(author) = service.account(&author_jid) else {
        return;
    };
    match node.get("type") {
        Some("peer_msg" | "hist_sync" | "sender") => {}
        Some("retry") => forward_retry(service, &group, reader, &author, author_jid.device, node),
        Some("read-self") => mirror(service, &group, reader, &author, node),
        kind => {
            if author.raw_id != reader.account.raw_id {
                let receipt = receipt(&group, reader, 0, node).child_opt(node.find("list").cloned());
                for device in author.devices() {
                    offer(service, &device, reader, receipt.clone(), node);
                }
                service.counters.receipts_routed.one();
                if kind == Some("read") {
                    mirror(service, &group, reader, &author, node);
                }
            }
        }
    }
}

/// What one companion read is read on the others too.
fn mirror(service: &Service, group: &Group, reader: &Sender, author: &Account, node: &Node) {
    let mirrored = receipt(group, reader, 0, node)
        .attr("recipient", group.address(author))
        .child_opt(node.find("list").cloned());
    let devices = reader.account.devices();
    for device in devices.iter().filter(|device| device.id != reader.device) {
        offer(service, device, reader, mirrored.clone(), node);
    }
}

fn forward_retry(
    service: &Arc<Service>,
    group: &Group,
    reader: &Sender,
    author: &Arc<Account>,
    device: u16,
    node: &Node,
) {
    service.counters.retry_receipts.one();
    let mut forwarded = receipt(group, reader, reader.device, node);
    forwarded.content = node.content.clone();
    if device == 0 {
        phone::deliver_retry(service, author, reader.clone(), forwarded);
    } else if let Some(device) = author.device(device) {
        offer(service, &device, reader, forwarded, node);
    }
}

fn receipt(group: &Group, reader: &Sender, device: u16, node: &Node) -> Node {
    let account = &reader.account;
    Node::new("receipt")
        .attr("from", group.jid())
        .attr("participant", account.jid(device, group.addressing).to_string())
        .attr(other_participant(group), group.other_address(account))
        .attrs_from(node, &["id", "type"])
        .attr("t", now_s().to_string())
}

/// Passes typing and recording on to the other members. Returns whether there is such a chat.
pub(in crate::server) fn chat_state(service: &Service, sender: &Account, to: &Jid, state: &Node) -> bool {
    let Some(group) = service.groups.get(&to.user) else {
        return false;
    };
    let Ok(audience) = group.audience(sender, false) else {
        return false;
    };
    let passed = Node::new("chatstate")
        .attr("from", group.jid())
        .attr("participant", group.address(sender))
        .child(state.clone());
    let others = audience
        .accounts
        .iter()
        .filter(|account| account.raw_id != sender.raw_id);
    for device in others.flat_map(|account| account.devices()) {
        device.send_live(&passed);
    }
    true
}
