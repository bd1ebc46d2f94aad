//! Invite codes, and those who ask to join.

use std::sync::Arc;

use super::act::{admit, welcome};
use super::{
    FORMER_CODES_MAX, Group, GroupError, Member, MemberLink, Outcome, Request, Role, Target, node, notice,
};
use crate::server::account::Account;
use crate::server::service::Service;
use crate::server::stanza::error::StanzaError;
use crate::server::sync::now_s;
use crate::wire::node::Node;

const CODE_CHARS: usize = 22;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// What came of using an invite code.
pub(in crate::server) enum Joined {
    Member,
    /// An admin has to agree.
    Asked,
}

pub(super) fn new_code() -> String {
    let chars = (0..CODE_CHARS).map(|_| ALPHABET[rand::random_range(0..ALPHABET.len())]);
    chars.map(char::from).collect()
}

/// The group's invite code, which `reset` replaces.
pub(in crate::server) fn invite_code(
    service: &Service,
    group: &Group,
    by: &Account,
    reset: bool,
) -> Result<String, GroupError> {
    let mut state = group.state()?;
    let is_open = state.member_link == MemberLink::AllMemberLink && !reset;
    if !state.role(by)?.is_admin() && !is_open {
        return Err(GroupError::NoInvite);
    }
    if reset {
        let code = new_code();
        let former = std::mem::replace(&mut state.invite, code.clone());
        state.former_invites.push_back(former);
        let forgotten = if state.former_invites.len() > FORMER_CODES_MAX {
            state.former_invites.pop_front()
        } else {
            None
        };
        service.groups.set_invite(&group.id, &code, forgotten);
        group.keep(&state);
        let told = Node::new("invite").attr("code", code);
        notice::to_admins(service, group, &state, by, &told);
    }
    Ok(state.invite.clone())
}

/// The group an invite code leads to.
pub(in crate::server) fn invited(service: &Service, code: &str) -> Result<Arc<Group>, GroupError> {
    let group = service.groups.by_invite(code).ok_or(GroupError::UnknownInvite)?;
    if group.state()?.invite == code {
        Ok(group)
    } else {
        Err(GroupError::FormerInvite)
    }
}

/// Joins a group by its invite code, or asks to.
pub(in crate::server) fn join(
    service: &Service,
    account: &Arc<Account>,
    code: &str,
) -> Result<(Arc<Group>, Joined), GroupError> {
    let group = invited(service, code)?;
    let mut state = group.state()?;
    if state.member(account).is_some() {
        return Err(GroupError::AlreadyMember);
    }
    if state.approval {
        let is_known = state
            .requests
            .iter()
            .any(|request| request.account.raw_id == account.raw_id);
        if !is_known {
            if state.requests.len() >= service.config.group_requests_max {
                return Err(GroupError::Full);
            }
            state.requests.push(Request {
                account: account.clone(),
                asked_s: now_s(),
            });
            group.keep(&state);
            let mut asked = node::member_node(&group, account);
            asked.tag = "requested_user".into();
            let told = Node::new("created_membership_requests")
                .attr("request_method", "invite_link")
                .child(asked);
            notice::to_admins(service, &group, &state, account, &told);
        }
        drop(state);
        return Ok((group, Joined::Asked));
    }
    let former = state.audience.clone();
    admit(service, &group, &mut state, account)?;
    state.count_members();
    group.keep(&state);
    let new = [Member {
        account: account.clone(),
        role: Role::Member,
    }];
    let told = Node::new("add")
        .attr("reason", "invite")
        .with_children(node::member_nodes(&group, &new));
    notice::to(service, &group, &former, Some(account), &told);
    welcome(service, &group, &state, Some(account), &new, Some("invite"));
    drop(state);
    Ok((group, Joined::Member))
}

/// Those who asked to join, for an admin.
pub(in crate::server) fn requests(group: &Group, by: &Account) -> Result<Vec<Request>, GroupError> {
    let state = group.state()?;
    state.admin(by)?;
    Ok(state.requests.clone())
}

/// Lets those who asked in, or turns them away.
pub(in crate::server) fn decide(
    service: &Service,
    group: &Group,
    by: &Arc<Account>,
    approve: bool,
    targets: Vec<Target>,
) -> Result<Vec<Outcome>, GroupError> {
    let mut state = group.state()?;
    state.admin(by)?;
    let former = state.audience.clone();
    let (mut let_in, mut turned_away) = (Vec::new(), Vec::new());
    let mut outcomes = Vec::with_capacity(targets.len());
    for target in targets {
        let asked = |raw_id: u32| {
            state
                .requests
                .iter()
                .any(|request| request.account.raw_id == raw_id)
        };
        let account = target.account.filter(|account| asked(account.raw_id));
        let error = match &account {
            None => Some(StanzaError::NotFound),
            Some(account) if approve => match admit(service, group, &mut state, account) {
                Ok(()) => {
                    let (account, role) = (account.clone(), Role::Member);
                    let_in.push(Member { account, role });
                    None
                }
                Err(GroupError::Full) => Some(StanzaError::GroupFull),
                Err(_) => Some(StanzaError::Forbidden),
            },
            Some(account) => {
                state
                    .requests
                    .retain(|request| request.account.raw_id != account.raw_id);
                turned_away.push(account.clone());
                None
            }
        };
        let named = target.named;
        outcomes.push(Outcome {
            named,
            account,
            error,
        });
    }
    if let_in.is_empty() && turned_away.is_empty() {
        return Ok(outcomes);
    }
    state.count_members();
    group.keep(&state);
    if !let_in.is_empty() {
        let told = Node::new("add").with_children(node::member_nodes(group, &let_in));
        notice::to(service, group, &former, Some(by), &told);
        welcome(service, group, &state, Some(by), &let_in, None);
    }
    if !turned_away.is_empty() {
        tell_revoked(service, group, &state, by, &turned_away);
    }
    Ok(outcomes)
}

/// Takes back one's own wish to join.
pub(in crate::server) fn withdraw(
    service: &Service,
    group: &Group,
    account: &Arc<Account>,
) -> Result<(), GroupError> {
    let mut state = group.state()?;
    let before = state.requests.len();
    state
        .requests
        .retain(|request| request.account.raw_id != account.raw_id);
    if state.requests.len() == before {
        return Err(GroupError::NotFound);
    }
    group.keep(&state);
    tell_revoked(service, group, &state, account, std::slice::from_ref(account));
    Ok(())
}

fn tell_revoked(
    service: &Service,
    group: &Group,
    state: &super::State,
    by: &Account,
    accounts: &[Arc<Account>],
) {
    let nodes = accounts.iter().map(|account| node::member_node(group, account));
    let told = Node::new("revoked_membership_requests").with_children(nodes.collect());
    notice::to_admins(service, group, state, by, &told);
    notice::to(service, group, accounts, Some(by), &told);
}
