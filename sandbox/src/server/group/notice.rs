//! Notices of changes, queued for every companion of whom they concern.

use std::sync::Arc;

use super::{Group, State};
use crate::server::account::Account;
use crate::server::queue::{Class, Entry, Offer};
use crate::server::service::Service;
use crate::server::sync::now_s;
use crate::wire::node::Node;

/// Tells all members.
pub(super) fn to_members(
    service: &Service,
    group: &Group,
    state: &State,
    by: Option<&Account>,
    change: &Node,
) {
    to(service, group, &state.audience, by, change);
}

/// Tells the admins.
pub(super) fn to_admins(service: &Service, group: &Group, state: &State, by: &Account, change: &Node) {
    let admins = state.members.iter().filter(|member| member.role.is_admin());
    let admins: Vec<_> = admins.map(|member| member.account.clone()).collect();
    to(service, group, &admins, Some(by), change);
}

/// Tells `accounts` on all their companions.
pub(super) fn to(
    service: &Service,
    group: &Group,
    accounts: &[Arc<Account>],
    by: Option<&Account>,
    change: &Node,
) {
    let id = service.stanza_id();
    let mut node = Node::new("notification")
        .attr("from", group.jid())
        .attr("type", "w:gp2")
        .attr("id", id.clone())
        .attr("t", now_s().to_string())
        .attr("addressing_mode", group.addressing_name());
    if let Some(by) = by {
        node = node
            .attr("participant", group.address(by))
            .attr(other_participant(group), group.other_address(by))
            .attr("notify", by.name());
    }
    let node = node.child(change.clone());
    let origin = by.map_or(0, |by| by.origin(0));
    for device in accounts.iter().flat_map(|account| account.devices()) {
        let entry = Entry {
            class: Class::Notification,
            id: id.as_str().into(),
            origin,
            node: node.clone(),
        };
        if device.offer(entry) == Offer::Full {
            service.counters.dropped.one();
        }
    }
}

/// The name of the attribute for a participant's other address.
pub(in crate::server) fn other_participant(group: &Group) -> &'static str {
    match group.addressing_name() {
        "lid" => "participant_pn",
        _ => "participant_lid",
    }
}
