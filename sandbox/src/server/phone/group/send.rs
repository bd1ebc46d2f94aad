//! What a phone sends to groups.

use std::sync::Arc;

use crate::server::account::Account;
use crate::server::group::{Audience, Group, GroupError};
use crate::server::phone::receive::{address, phone_of};
use crate::server::phone::send::{SendError, companions, enc, media_kind, meet, message_id};
use crate::server::phone::sent::Sent;
use crate::server::phone::{Content, Outgoing, Place};
use crate::server::service::Service;
use crate::server::stanza::message::{Refusal, Sender, route};
use crate::server::sync::{lock, now_s};
use crate::signal::padding::pad;
use crate::signal::proto::{Message, ProtoMessage, SenderKeyDistributionMessage};
use crate::wire::node::Node;

/// Sends `content` to all devices of all members, the own companions among them.
pub(in crate::server) fn send(
    service: &Arc<Service>,
    account: &Arc<Account>,
    group: &Group,
    content: &Content,
) -> Result<String, SendError> {
    let audience = group.audience(account, false).map_err(|error| match error {
        GroupError::NotAdmin => SendError::OnlyAdmins,
        _ => SendError::NotMember,
    })?;
    let id = message_id();
    let outgoing = {
        let mut state = lock(&account.phone.state);
        let target = content.target();
        let is_ours = target.is_some_and(|target| state.sent.get(target).is_some());
        let author = content.about().and_then(|id| state.notebook.author(id));
        let author = author.and_then(|(pn, _)| service.account_by_pn(&pn));
        let place = Place {
            chat: group.jid(),
            author: author.map(|author| group.address(&author)),
        };
        let outgoing = content.build(&place, is_ours);
        state.remember_medium(&id, &outgoing.message);
        let sent = Sent {
            peer: group.jid().into(),
            domain: group.addressing,
            outgoing: outgoing.clone(),
            at_s: now_s(),
        };
        state.remember_sent(&id, sent);
        outgoing
    };
    let targets: Vec<_> = devices(account, &audience).collect();
    if !targets.is_empty() {
        distribute(service, account, group, &audience, &targets, &id, &outgoing)?;
    }
    Ok(id)
}

/// All devices of the group but the sending phone.
fn devices(account: &Arc<Account>, audience: &Audience) -> impl Iterator<Item = Sender> {
    audience.accounts.iter().flat_map(move |member| {
        let phone = (member.raw_id != account.raw_id).then(|| phone_of(member));
        phone.into_iter().chain(companions(member))
    })
}

fn distribute(
    service: &Arc<Service>,
    account: &Arc<Account>,
    group: &Group,
    audience: &Audience,
    targets: &[Sender],
    id: &str,
    outgoing: &Outgoing,
) -> Result<(), SendError> {
    let addresses: Vec<_> = targets.iter().map(address).collect();
    let lacking = lock(&account.phone.state)
        .signal
        .lacking(&group.id, audience.departures, &addresses);
    let lacking: Vec<_> = targets
        .iter()
        .filter(|target| lacking.contains(&address(target)))
        .cloned()
        .collect();
    meet(service, account, &lacking);
    // The key is told as far as it has run before the message that is sent along with it.
    let (key, copies, sealed) = {
        let mut state = lock(&account.phone.state);
        let (key, told) = state.signal.distribution(&group.id).ok_or(SendError::NoKeys)?;
        let told = telling(group, told).encode_to_vec();
        let mut copies = Vec::with_capacity(lacking.len());
        for target in &lacking {
            if let Ok(sealed) = state.signal.encrypt(&address(target), &pad(told.clone())) {
                copies.push((target, sealed));
            }
        }
        let plain = pad(outgoing.message.encode_to_vec());
        let sealed = state.signal.encrypt_for_group(&group.id, &plain);
        (key, copies, sealed.map_err(|_| SendError::NoKeys)?)
    };
    let shared = Node::new("enc")
        .attr("v", "2")
        .attr("type", "skmsg")
        .attr_opt("mediatype", media_kind(&outgoing.message))
        .bytes(sealed);
    let holders = copies.iter().map(|(target, _)| address(target)).collect();
    let copies = copies.iter().map(|(target, sealed)| {
        let jid = target.account.jid(target.device, group.addressing);
        Node::new("to").attr("jid", jid.to_string()).child(enc(sealed))
    });
    let participants = Node::new("participants").with_children(copies.collect());
    let node = Node::new("message")
        .attr("to", group.jid())
        .attr("id", id.to_owned())
        .attr("type", outgoing.kind.clone())
        .attr("addressing_mode", group.addressing_name())
        .attr_opt("edit", outgoing.edit.clone())
        .child_opt(Some(participants).filter(|node| !node.children().is_empty()))
        .child(shared);
    match route(service, &phone_of(account), &node) {
        Ok(_) => {
            let mut state = lock(&account.phone.state);
            state.signal.add_holders(&group.id, key, holders);
            Ok(())
        }
        Err(Refusal::QueueFull) => Err(SendError::QueueFull),
        Err(Refusal::Forbidden) => Err(SendError::NotMember),
        Err(_) => Err(SendError::Refused),
    }
}

/// The message that tells a sender key.
fn telling(group: &Group, told: Vec<u8>) -> Message {
    let distribution = SenderKeyDistributionMessage {
        group_id: Some(group.jid()),
        axolotl_sender_key_distribution_message: Some(told),
    };
    Message {
        sender_key_distribution_message: Some(distribution),
        ..Message::default()
    }
}

/// Sends a message again to one device that could not read it, for it alone and with the key.
pub(in crate::server::phone) fn resend(
    service: &Arc<Service>,
    account: &Arc<Account>,
    group_id: &str,
    reader: &Sender,
    id: &str,
    outgoing: &Outgoing,
) -> Result<(), SendError> {
    let group = service.groups.get(group_id).ok_or(SendError::Refused)?;
    if !group.has_member(&reader.account) {
        return Err(SendError::NotMember);
    }
    let sealed = {
        let mut state = lock(&account.phone.state);
        let key = state.signal.distribution(&group.id);
        let mut message = outgoing.message.clone();
        message.sender_key_distribution_message =
            key.and_then(|(_, told)| telling(&group, told).sender_key_distribution_message);
        if reader.account.raw_id == account.raw_id {
            message = message.device_sent(group.jid());
        }
        let plain = pad(message.encode_to_vec());
        let sealed = state.signal.encrypt(&address(reader), &plain);
        sealed.map_err(|_| SendError::NoKeys)?
    };
    let node = Node::new("message")
        .attr("to", group.jid())
        .attr(
            "participant",
            reader.account.jid(reader.device, group.addressing).to_string(),
        )
        .attr("id", id.to_owned())
        .attr("type", outgoing.kind.clone())
        .attr("addressing_mode", group.addressing_name())
        .attr_opt("edit", outgoing.edit.clone())
        .child(enc(&sealed));
    match route(service, &phone_of(account), &node) {
        Ok(_) => Ok(()),
        Err(_) => Err(SendError::Refused),
    }
}
