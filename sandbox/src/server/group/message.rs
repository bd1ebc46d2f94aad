//! Routing of group messages: one ciphertext for all, and with it for some devices the sender's key.
//!
//! Every device of every member but the sending one gets the message, with its own copy of the key
//! when there is one for it. A resend goes to the device it names alone.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Group, GroupError, other_participant};
use crate::server::account::Account;
use crate::server::phone;
use crate::server::queue::{Class, Entry, Offer};
use crate::server::service::Service;
use crate::server::stanza::message::{Accepted, Refusal, Sender};
use crate::server::stanza::participant_hash;
use crate::server::sync::now_s;
use crate::wire::jid::Jid;
use crate::wire::node::Node;

impl From<GroupError> for Refusal {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::NotFound => Self::NoSuchUser,
            _ => Self::Forbidden,
        }
    }
}

/// The number of an account and a device of it.
type DeviceKey = (u32, u16);

/// Queues a message for the devices it is for.
pub(in crate::server) fn route(
    service: &Arc<Service>,
    sender: &Sender,
    to: &Jid,
    id: &str,
    node: &Node,
) -> Result<Accepted, Refusal> {
    let group = service.groups.get(&to.user).ok_or(Refusal::NoSuchUser)?;
    let only = match node.get("participant") {
        Some(text) => Some(Jid::parse(text).ok_or(Refusal::Malformed)?),
        None => None,
    };
    let audience = group.audience(&sender.account, only.is_some())?;
    let parcel = Parcel {
        service,
        sender,
        node,
        id,
        head: head(&group, sender, node),
        copies: copies(service, node)?,
    };
    if let Some(only) = only {
        let account = service.account(&only).ok_or(Refusal::NoSuchUser)?;
        if !group.has_member(&account) {
            return Err(Refusal::Forbidden);
        }
        return parcel.resend(&account, only.device);
    }
    let shared = node.find_all("enc").find(|enc| enc.is("type", "skmsg"));
    if shared.is_none() && parcel.copies.is_empty() {
        return Err(Refusal::Malformed);
    }
    parcel.fan_out(&audience.accounts, shared)?;
    Ok(Accepted {
        participant_hash: wrong_devices(&group, &audience.accounts, node),
    })
}

/// The copies for single devices. Those for others than members are never asked for.
fn copies<'a>(service: &Service, node: &'a Node) -> Result<HashMap<DeviceKey, &'a Node>, Refusal> {
    let targets = node.find("participants").map(Node::children).unwrap_or_default();
    let mut copies = HashMap::with_capacity(targets.len());
    for target in targets {
        let jid = target.get("jid").and_then(Jid::parse).ok_or(Refusal::Malformed)?;
        let enc = target.find("enc").ok_or(Refusal::Malformed)?;
        if let Some(account) = service.account(&jid) {
            copies.insert((account.raw_id, jid.device), enc);
        }
    }
    Ok(copies)
}

/// What is the same for all devices.
fn head(group: &Group, sender: &Sender, node: &Node) -> Node {
    let account = &sender.account;
    Node::new("message")
        .attr("from", group.jid())
        .attr(
            "participant",
            account.jid(sender.device, group.addressing).to_string(),
        )
        .attr(other_participant(group), group.other_address(account))
        .attr("addressing_mode", group.addressing_name())
        .attrs_from(node, &["id", "type"])
        .attr("t", now_s().to_string())
        .attr("notify", account.name())
        .attrs_from(node, &["edit", "category", "push_priority"])
}

/// A message on its way.
struct Parcel<'a> {
    service: &'a Arc<Service>,
    sender: &'a Sender,
    node: &'a Node,
    id: &'a str,
    head: Node,
    copies: HashMap<DeviceKey, &'a Node>,
}

impl Parcel<'_> {
    fn fan_out(&self, members: &[Arc<Account>], shared: Option<&Node>) -> Result<(), Refusal> {
        let counters = &self.service.counters;
        // A phone works its inbox off: the sender may try again. A companion that never comes back
        // must not silence the group, it misses the message.
        let is_for_phone = |account: &Account| self.copy(account, 0).or(shared).is_some();
        if members
            .iter()
            .any(|account| account.phone.inbox_is_full() && is_for_phone(account))
        {
            return Err(Refusal::QueueFull);
        }
        let (mut is_new, mut routed) = (false, 0);
        for account in members {
            let devices = account.devices();
            for device in std::iter::once(0).chain(devices.iter().map(|device| device.id)) {
                let is_sender = account.raw_id == self.sender.account.raw_id && device == self.sender.device;
                let encs: Vec<_> = self.copy(account, device).into_iter().chain(shared).collect();
                if !is_sender && !encs.is_empty() && self.deliver(account, device, &encs) {
                    (is_new, routed) = (true, routed + 1);
                }
            }
        }
        counters.messages_routed.add(routed);
        if is_new {
            counters.messages_accepted.one();
        } else {
            counters.messages_repeated.one();
        }
        Ok(())
    }

    fn resend(&self, account: &Arc<Account>, device: u16) -> Result<Accepted, Refusal> {
        let enc = self.copy(account, device).or_else(|| self.node.find("enc"));
        let enc = enc.ok_or(Refusal::Malformed)?;
        if device == 0 && account.phone.inbox_is_full() {
            return Err(Refusal::QueueFull);
        }
        if self.deliver(account, device, &[enc]) {
            self.service.counters.messages_routed.one();
        }
        self.service.counters.messages_repeated.one();
        Ok(Accepted::default())
    }

    fn copy(&self, account: &Account, device: u16) -> Option<&Node> {
        self.copies.get(&(account.raw_id, device)).copied()
    }

    /// Returns whether the device had not got it before.
    fn deliver(&self, account: &Arc<Account>, device: u16, encs: &[&Node]) -> bool {
        let mut built = self.head.clone();
        for enc in encs {
            built = built.child((*enc).clone());
        }
        let is_prekey = encs.iter().any(|enc| enc.is("type", "pkmsg"));
        for child in self.node.children() {
            let is_wanted = match child.tag.as_ref() {
                "participants" | "enc" => false,
                "device-identity" => is_prekey,
                _ => true,
            };
            if is_wanted {
                built = built.child(child.clone());
            }
        }
        if device == 0 {
            phone::deliver(self.service, account, self.sender.clone(), built);
            return true;
        }
        let Some(device) = account.device(device) else {
            return false;
        };
        let entry = Entry {
            class: Class::Message,
            id: self.id.into(),
            origin: self.sender.account.origin(self.sender.device),
            node: built,
        };
        match device.offer(entry) {
            Offer::Queued => true,
            Offer::Known => false,
            Offer::Full => {
                self.service.counters.dropped.one();
                false
            }
        }
    }
}

/// The right hash over all devices of the group, if the sender had another one.
fn wrong_devices(group: &Group, members: &[Arc<Account>], node: &Node) -> Option<String> {
    let theirs = node.get("phash")?;
    let jids = members.iter().flat_map(|account| {
        let user = account.jid(0, group.addressing);
        let ids = std::iter::once(0).chain(account.devices().into_iter().map(|device| device.id));
        let of_device = |id| format!("{}.0:{id}@{}", user.user, user.domain.as_str());
        ids.map(of_device).collect::<Vec<_>>()
    });
    let ours = participant_hash(jids.collect());
    (ours != theirs).then_some(ours)
}
