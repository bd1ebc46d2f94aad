//! Making groups and changing who is in them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use super::{
    Description, Group, GroupError, Groups, Member, MemberAdd, MemberLink, Role, State, Text, Toggle, node,
    notice, setting,
};
use crate::server::account::Account;
use crate::server::service::Service;
use crate::server::stanza::error::StanzaError;
use crate::server::sync::now_s;
use crate::wire::jid::Domain;
use crate::wire::node::Node;

/// What a new group is made of.
pub(in crate::server) struct NewGroup {
    pub addressing: Domain,
    pub subject: String,
    /// Its id and its text.
    pub description: Option<(String, String)>,
    pub toggles: BTreeSet<Toggle>,
    pub ephemeral_s: u32,
    pub member_add: MemberAdd,
    pub member_link: MemberLink,
    pub approval: bool,
}

impl NewGroup {
    pub(in crate::server) fn new(addressing: Domain, subject: String) -> Self {
        Self {
            addressing,
            subject,
            description: None,
            toggles: BTreeSet::new(),
            ephemeral_s: 0,
            member_add: MemberAdd::AllMemberAdd,
            member_link: MemberLink::AdminLink,
            approval: false,
        }
    }
}

/// Somebody an act is about, as the caller named him.
pub(in crate::server) struct Target {
    pub named: String,
    pub account: Option<Arc<Account>>,
}

/// What became of one target; the error is that of the wire.
pub(in crate::server) struct Outcome {
    pub named: String,
    pub account: Option<Arc<Account>>,
    pub error: Option<StanzaError>,
}

/// What is done to members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Change {
    Add,
    Remove,
    Promote,
    Demote,
}

impl Change {
    pub(in crate::server) fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Promote => "promote",
            Self::Demote => "demote",
        }
    }

    pub(in crate::server) fn parse(name: &str) -> Option<Self> {
        let all = [Self::Add, Self::Remove, Self::Promote, Self::Demote];
        all.into_iter().find(|change| change.name() == name)
    }
}

/// Makes a group of `creator` and those of `targets` that can be added.
pub(in crate::server) fn create(
    service: &Service,
    creator: &Arc<Account>,
    new: NewGroup,
    targets: Vec<Target>,
) -> Result<(Arc<Group>, Vec<Outcome>), GroupError> {
    let subject = setting::subject(&service.config, &new.subject)?;
    let description = match new.description {
        Some((id, text)) => Some((id, setting::description(&service.config, &text)?)),
        None => None,
    };
    let group = Arc::new(service.groups.draft(creator, new.addressing, subject)?);
    let mut state = group.state()?;
    state.description = description.map(|(id, text)| Description {
        id,
        body: Text {
            text,
            owner: creator.clone(),
            set_s: group.created_s,
        },
    });
    state.toggles = new.toggles;
    state.ephemeral_s = new.ephemeral_s;
    state.member_add = new.member_add;
    state.member_link = new.member_link;
    state.approval = new.approval;
    if let Err(error) = service.groups.add(group.clone(), &state.invite) {
        service.groups.exit(creator, &group.id);
        return Err(error);
    }
    let outcomes = targets.into_iter().filter_map(|target| {
        let is_creator = target
            .account
            .as_ref()
            .is_some_and(|account| account.pn == creator.pn);
        (!is_creator).then(|| add(service, &group, &mut state, creator, target))
    });
    let outcomes = outcomes.collect();
    state.count_members();
    group.keep(&state);
    let created = Node::new("create")
        .attr("type", "new")
        .child(node::group_node(&group, &state));
    notice::to_members(service, &group, &state, Some(creator), &created);
    drop(state);
    Ok((group, outcomes))
}

/// Adds, removes, promotes or demotes.
pub(in crate::server) fn change_members(
    service: &Service,
    group: &Group,
    by: &Arc<Account>,
    change: Change,
    targets: Vec<Target>,
) -> Result<Vec<Outcome>, GroupError> {
    let mut state = group.state()?;
    let everybody_adds = state.member_add == MemberAdd::AllMemberAdd && !state.approval;
    if change != Change::Add || !everybody_adds {
        state.admin(by)?;
    }
    state.role(by)?;
    let former = state.audience.clone();
    let mut changed = Vec::new();
    let mut outcomes = Vec::with_capacity(targets.len());
    for target in targets {
        let before = target
            .account
            .as_ref()
            .and_then(|account| state.member(account))
            .cloned();
        let outcome = match change {
            Change::Add => add(service, group, &mut state, by, target),
            Change::Remove => remove(service, group, &mut state, target),
            Change::Promote | Change::Demote => set_role(&mut state, target, change),
        };
        let after = outcome
            .account
            .as_ref()
            .and_then(|account| state.member(account))
            .cloned();
        let role = |member: &Option<Member>| member.as_ref().map(|member| member.role);
        if role(&before) != role(&after)
            && let Some(member) = after.or(before)
        {
            changed.push(member);
        }
        outcomes.push(outcome);
    }
    if changed.is_empty() {
        return Ok(outcomes);
    }
    let heir = ensure_admin(&mut state);
    state.count_members();
    group.keep(&state);
    let told = Node::new(change.name()).with_children(node::member_nodes(group, &changed));
    notice::to(service, group, &former, Some(by), &told);
    if change == Change::Add {
        welcome(service, group, &state, Some(by), &changed, None);
    }
    announce_heir(service, group, &state, heir);
    end_if_empty(service, group, &state);
    Ok(outcomes)
}

/// Tells new members what group they are in now.
pub(super) fn welcome(
    service: &Service,
    group: &Group,
    state: &State,
    by: Option<&Account>,
    new: &[Member],
    reason: Option<&'static str>,
) {
    let created = Node::new("create")
        .attr_opt("reason", reason)
        .child(node::group_node(group, state));
    let accounts: Vec<_> = new.iter().map(|member| member.account.clone()).collect();
    notice::to(service, group, &accounts, by, &created);
}

fn outcome(target: Target, error: Option<StanzaError>) -> Outcome {
    Outcome {
        named: target.named,
        account: target.account,
        error,
    }
}

fn add(service: &Service, group: &Group, state: &mut State, by: &Account, target: Target) -> Outcome {
    let error = match &target.account {
        None => Some(StanzaError::NotFound),
        // It lets only some others add it.
        Some(account) if state.member(account).is_none() && !account.shows("groupadd", by) => {
            Some(StanzaError::Forbidden)
        }
        Some(account) => admit(service, group, state, account)
            .err()
            .map(|error| match error {
                GroupError::AlreadyMember => StanzaError::Conflict,
                GroupError::Full => StanzaError::GroupFull,
                _ => StanzaError::Forbidden,
            }),
    };
    outcome(target, error)
}

/// Makes an account a member.
pub(super) fn admit(
    service: &Service,
    group: &Group,
    state: &mut State,
    account: &Arc<Account>,
) -> Result<(), GroupError> {
    if state.member(account).is_some() {
        return Err(GroupError::AlreadyMember);
    }
    if state.members.len() >= service.config.group_members_max {
        return Err(GroupError::Full);
    }
    service.groups.enter(account, &group.id)?;
    state
        .requests
        .retain(|request| request.account.raw_id != account.raw_id);
    state.members.push(Member {
        account: account.clone(),
        role: Role::Member,
    });
    Ok(())
}

fn remove(service: &Service, group: &Group, state: &mut State, target: Target) -> Outcome {
    let role = target.account.as_ref().map(|account| state.role(account));
    let error = match (role, &target.account) {
        (Some(Ok(Role::Superadmin)), _) => Some(StanzaError::Forbidden),
        (Some(Ok(_)), Some(account)) => {
            depart(service, group, state, account);
            None
        }
        _ => Some(StanzaError::NotFound),
    };
    outcome(target, error)
}

fn depart(service: &Service, group: &Group, state: &mut State, account: &Account) {
    state
        .members
        .retain(|member| member.account.raw_id != account.raw_id);
    state.departures += 1;
    service.groups.exit(account, &group.id);
}

fn set_role(state: &mut State, target: Target, change: Change) -> Outcome {
    let member = target
        .account
        .as_ref()
        .and_then(|account| state.member_mut(account));
    let error = match (member.map(|member| &mut member.role), change) {
        (None, _) => Some(StanzaError::NotFound),
        (Some(Role::Superadmin), Change::Demote) => Some(StanzaError::Forbidden),
        (Some(Role::Superadmin), _) => None,
        (Some(role), Change::Promote) => {
            *role = Role::Admin;
            None
        }
        (Some(role), _) => {
            *role = Role::Member;
            None
        }
    };
    outcome(target, error)
}

/// Takes a member out at his own wish. The last one ends the group.
pub(in crate::server) fn leave(
    service: &Service,
    group: &Group,
    account: &Account,
) -> Result<(), GroupError> {
    let mut state = group.state()?;
    let gone = state.member(account).cloned().ok_or(GroupError::NotMember)?;
    let former = state.audience.clone();
    depart(service, group, &mut state, account);
    let heir = ensure_admin(&mut state);
    state.count_members();
    group.keep(&state);
    let told = Node::new("remove").with_children(node::member_nodes(group, &[gone]));
    notice::to(service, group, &former, Some(account), &told);
    announce_heir(service, group, &state, heir);
    end_if_empty(service, group, &state);
    Ok(())
}

/// Puts an account in the place of another one, in all groups of that one: its number changed.
pub(in crate::server) fn replace(service: &Service, old: &Arc<Account>, new: &Arc<Account>) {
    for group in service.groups.all() {
        let Ok(mut state) = group.state() else { continue };
        let requests = state.requests.len();
        state
            .requests
            .retain(|request| request.account.raw_id != old.raw_id);
        let is_member = state.member(old).is_some() && service.groups.enter(new, &group.id).is_ok();
        if is_member && let Some(member) = state.member_mut(old) {
            member.account = new.clone();
            // The devices of the old number no longer read along.
            state.departures += 1;
            service.groups.exit(old, &group.id);
            state.count_members();
        }
        if is_member || state.requests.len() < requests {
            group.keep(&state);
        }
        if is_member {
            let told = Node::new("modify").child(node::member_node(&group, old));
            notice::to_members(service, &group, &state, Some(new), &told);
        }
    }
}

/// A group whose last admin left is given to who has been in it longest.
fn ensure_admin(state: &mut State) -> Option<Member> {
    if state.members.iter().any(|member| member.role.is_admin()) {
        return None;
    }
    let heir = state.members.first_mut()?;
    heir.role = Role::Admin;
    Some(heir.clone())
}

fn announce_heir(service: &Service, group: &Group, state: &State, heir: Option<Member>) {
    if let Some(heir) = heir {
        let told = Node::new("promote").with_children(node::member_nodes(group, &[heir]));
        notice::to_members(service, group, state, None, &told);
    }
}

fn end_if_empty(service: &Service, group: &Group, state: &State) {
    if state.members.is_empty() {
        let codes = std::iter::once(&state.invite).chain(&state.former_invites);
        service.groups.remove(&group.id, codes);
    }
}

impl Groups {
    /// A group that is about to be added, with its first member.
    fn draft(
        &self,
        creator: &Arc<Account>,
        addressing: Domain,
        subject: String,
    ) -> Result<Group, GroupError> {
        let id = loop {
            let id = format!("120363{:012}", rand::random_range(0..1_000_000_000_000_u64));
            if self.get(&id).is_none() {
                break id;
            }
        };
        let now_s = now_s();
        let subject = Text {
            text: subject,
            owner: creator.clone(),
            set_s: now_s,
        };
        let id: Arc<str> = id.into();
        self.enter(creator, &id)?;
        let state = State {
            subject,
            description: None,
            picture: None,
            members: vec![Member {
                account: creator.clone(),
                role: Role::Superadmin,
            }],
            toggles: BTreeSet::new(),
            ephemeral_s: 0,
            member_add: MemberAdd::AllMemberAdd,
            member_link: MemberLink::AdminLink,
            approval: false,
            invite: super::invite::new_code(),
            former_invites: VecDeque::new(),
            requests: Vec::new(),
            departures: 0,
            audience: Arc::default(),
        };
        Ok(Group {
            id,
            addressing,
            created_s: now_s,
            creator: creator.clone(),
            state: Mutex::new(state),
            shelf: self.shelf.clone(),
        })
    }
}
