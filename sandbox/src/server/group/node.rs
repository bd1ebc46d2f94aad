//! Groups as stanzas show them.

use super::{Group, Member, Role, State, Text, Toggle};
use crate::server::account::Account;
use crate::wire::jid::Domain;
use crate::wire::node::Node;

/// The whole `<group>`.
pub(in crate::server) fn group_node(group: &Group, state: &State) -> Node {
    let mut node = head(group, state).with_children(member_nodes(group, &state.members));
    if let Some(description) = &state.description {
        node = node.child(
            Node::new("description")
                .attr("id", description.id.clone())
                .attr("participant", group.address(&description.body.owner))
                .attr_opt("participant_pn", hidden_number(group, &description.body.owner))
                .attr("t", description.body.set_s.to_string())
                .child(Node::new("body").bytes(description.body.text.clone())),
        );
    }
    for toggle in &state.toggles {
        node = node.child(Node::new(toggle.tags().0));
    }
    node.child_opt(ephemeral_node(state.ephemeral_s))
        .child_opt(state.approval.then(|| approval_node(true)))
        .child(Node::new("member_add_mode").bytes(state.member_add.name()))
        .child(Node::new("member_link_mode").bytes(state.member_link.name()))
}

/// What somebody who holds an invite code sees: no members but the admins.
pub(in crate::server) fn invite_node(group: &Group, state: &State) -> Node {
    let admins: Vec<_> = state
        .members
        .iter()
        .filter(|member| member.role.is_admin())
        .cloned()
        .collect();
    let described = state.description.as_ref().map(|description| {
        Node::new("description")
            .attr("id", description.id.clone())
            .child(Node::new("body").bytes(description.body.text.clone()))
    });
    let announcement = state
        .is(Toggle::Announcement)
        .then(|| Node::new(Toggle::Announcement.tags().0));
    head(group, state)
        .with_children(member_nodes(group, &admins))
        .child_opt(described)
        .child_opt(announcement)
        .child_opt(ephemeral_node(state.ephemeral_s))
        .child_opt(state.approval.then(|| approval_node(true)))
}

fn head(group: &Group, state: &State) -> Node {
    Node::new("group")
        .attr("id", group.id.to_string())
        .attr("subject", state.subject.text.clone())
        .attr("s_o", group.address(&state.subject.owner))
        .attr_opt("s_o_pn", hidden_number(group, &state.subject.owner))
        .attr("s_t", state.subject.set_s.to_string())
        .attr("creation", group.created_s.to_string())
        .attr("creator", group.address(&group.creator))
        .attr_opt("creator_pn", hidden_number(group, &group.creator))
        .attr("addressing_mode", group.addressing_name())
        .attr("size", state.members.len().to_string())
}

/// The phone number behind an address of a group that hides it.
fn hidden_number(group: &Group, account: &Account) -> Option<String> {
    (group.addressing == Domain::Lid).then(|| group.other_address(account))
}

pub(in crate::server) fn member_node(group: &Group, account: &Account) -> Node {
    let other = match group.addressing {
        Domain::Lid => "phone_number",
        _ => "lid",
    };
    Node::new("participant")
        .attr("jid", group.address(account))
        .attr(other, group.other_address(account))
}

pub(super) fn member_nodes(group: &Group, members: &[Member]) -> Vec<Node> {
    let nodes = members.iter().map(|member| {
        let role = match member.role {
            Role::Member => None,
            Role::Admin => Some("admin"),
            Role::Superadmin => Some("superadmin"),
        };
        member_node(group, &member.account).attr_opt("type", role)
    });
    nodes.collect()
}

pub(super) fn subject_node(group: &Group, subject: &Text) -> Node {
    Node::new("subject")
        .attr("subject", subject.text.clone())
        .attr("s_o", group.address(&subject.owner))
        .attr_opt("s_o_pn", hidden_number(group, &subject.owner))
        .attr("s_t", subject.set_s.to_string())
}

pub(super) fn ephemeral_node(seconds: u32) -> Option<Node> {
    (seconds > 0).then(|| Node::new("ephemeral").attr("expiration", seconds.to_string()))
}

pub(super) fn approval_node(on: bool) -> Node {
    let state = if on { "on" } else { "off" };
    Node::new("membership_approval_mode").child(Node::new("group_join").attr("state", state))
}
