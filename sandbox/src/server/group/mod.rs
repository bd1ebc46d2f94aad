//! Groups: who is in them, who may do what, and how their messages reach every device.
//!
//! The stanza handlers and the control API act through this module, so that both obey the same
//! rights. A group is one lock, taken before those of devices and inboxes and never while a phone is
//! locked; the notices of a change are queued before it is released, so that all members see the
//! changes in the same order. With a data folder each change of a group is kept as one row.

mod act;
mod directory;
mod invite;
mod message;
mod node;
mod notice;
mod picture;
mod receipt;
mod row;
mod setting;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub(super) use act::{Change, NewGroup, Outcome, Target, change_members, create, leave, replace};
pub(super) use directory::Groups;
pub(super) use invite::{Joined, decide, invite_code, invited, join, requests, withdraw};
pub(super) use message::route;
pub(super) use node::{group_node, invite_node, member_node};
pub(super) use notice::other_participant;
pub(super) use picture::{picture, set_picture};
pub(super) use receipt::{chat_state, forward};
pub(super) use setting::{Setting, apply};

use super::account::Account;
use super::persist::Shelf;
use super::picture::Picture;
use super::sync::lock;
use crate::wire::jid::{Domain, Jid};

/// Former invite codes of a group that are remembered, to tell a reset code from a wrong one.
const FORMER_CODES_MAX: usize = 16;

pub(super) struct Group {
    /// The user part of its address.
    pub id: Arc<str>,
    /// How its members are addressed: by phone number or by LID.
    pub addressing: Domain,
    pub created_s: u64,
    pub creator: Arc<Account>,
    state: Mutex<State>,
    shelf: Shelf,
}

pub(super) struct State {
    pub subject: Text,
    pub description: Option<Description>,
    pub picture: Option<Picture>,
    /// In the order they joined; empty when the group has ended.
    pub members: Vec<Member>,
    pub toggles: BTreeSet<Toggle>,
    /// Seconds after which messages disappear; 0 when they stay.
    pub ephemeral_s: u32,
    pub member_add: MemberAdd,
    pub member_link: MemberLink,
    /// Whether admins decide who joins by the invite link.
    pub approval: bool,
    pub invite: String,
    pub former_invites: VecDeque<String>,
    pub requests: Vec<Request>,
    /// Counts departures: sender keys of an earlier count are known to somebody who has left.
    pub departures: u64,
    /// The members' accounts, made again when they change.
    audience: Arc<[Arc<Account>]>,
}

/// A text of the group's, and who set it when.
#[derive(Clone)]
pub(super) struct Text {
    pub text: String,
    pub owner: Arc<Account>,
    pub set_s: u64,
}

#[derive(Clone)]
pub(super) struct Description {
    pub id: String,
    pub body: Text,
}

#[derive(Clone)]
pub(super) struct Member {
    pub account: Arc<Account>,
    pub role: Role,
}

/// Somebody who asked to join.
#[derive(Clone)]
pub(super) struct Request {
    pub account: Arc<Account>,
    pub asked_s: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    Member,
    Admin,
    /// Who made the group; nobody can take that away.
    Superadmin,
}

impl Role {
    pub(super) fn is_admin(self) -> bool {
        self > Self::Member
    }
}

/// What is either on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Toggle {
    /// Only admins write.
    Announcement,
    /// Only admins edit subject, description and picture.
    Locked,
    NoFrequentlyForwarded,
    AllowAdminReports,
    GroupHistory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MemberAdd {
    AdminAdd,
    AllMemberAdd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MemberLink {
    AdminLink,
    AllMemberLink,
}

/// Why an act is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum GroupError {
    #[error("there is no such group")]
    NotFound,
    #[error("the account is not a member of the group")]
    NotMember,
    #[error("only admins of the group may do this")]
    NotAdmin,
    #[error("only admins of the group get its invite link")]
    NoInvite,
    #[error("the account is a member of the group already")]
    AlreadyMember,
    #[error("the description was changed meanwhile")]
    Outdated,
    #[error("no group has this invite code")]
    UnknownInvite,
    #[error("the invite code was reset")]
    FormerInvite,
    #[error("{0}")]
    Unacceptable(&'static str),
    #[error("the group is full")]
    Full,
    #[error("the sandbox, or one of the accounts, holds its limit of groups")]
    TooMany,
}

/// Who a message goes to.
pub(super) struct Audience {
    pub accounts: Arc<[Arc<Account>]>,
    pub departures: u64,
}

impl State {
    pub(super) fn member(&self, account: &Account) -> Option<&Member> {
        self.members
            .iter()
            .find(|member| member.account.raw_id == account.raw_id)
    }

    fn member_mut(&mut self, account: &Account) -> Option<&mut Member> {
        self.members
            .iter_mut()
            .find(|member| member.account.raw_id == account.raw_id)
    }

    pub(super) fn role(&self, account: &Account) -> Result<Role, GroupError> {
        let member = self.member(account).ok_or(GroupError::NotMember)?;
        Ok(member.role)
    }

    pub(super) fn admin(&self, account: &Account) -> Result<(), GroupError> {
        if self.role(account)?.is_admin() {
            Ok(())
        } else {
            Err(GroupError::NotAdmin)
        }
    }

    pub(super) fn is(&self, toggle: Toggle) -> bool {
        self.toggles.contains(&toggle)
    }

    fn count_members(&mut self) {
        let accounts = self.members.iter().map(|member| member.account.clone());
        self.audience = accounts.collect();
    }
}

impl Group {
    pub(super) fn jid(&self) -> String {
        Jid::new(&*self.id, 0, Domain::Group).to_string()
    }

    /// The address of an account in this group.
    pub(super) fn address(&self, account: &Account) -> String {
        account.jid(0, self.addressing).to_string()
    }

    /// The account's address in the other addressing.
    pub(super) fn other_address(&self, account: &Account) -> String {
        let other = match self.addressing {
            Domain::Lid => Domain::Pn,
            _ => Domain::Lid,
        };
        account.jid(0, other).to_string()
    }

    /// `pn` or `lid`.
    pub(super) fn addressing_name(&self) -> &'static str {
        match self.addressing {
            Domain::Lid => "lid",
            _ => "pn",
        }
    }

    /// The group's state, unless it has ended.
    pub(super) fn state(&self) -> Result<MutexGuard<'_, State>, GroupError> {
        let state = lock(&self.state);
        if state.members.is_empty() {
            return Err(GroupError::NotFound);
        }
        Ok(state)
    }

    /// Whom a message of `sender` reaches. Resends are allowed to everybody who is still a member.
    pub(super) fn audience(&self, sender: &Account, is_resend: bool) -> Result<Audience, GroupError> {
        let state = self.state()?;
        let role = state.role(sender)?;
        if state.is(Toggle::Announcement) && !role.is_admin() && !is_resend {
            return Err(GroupError::NotAdmin);
        }
        Ok(Audience {
            accounts: state.audience.clone(),
            departures: state.departures,
        })
    }

    pub(super) fn superadmin(&self) -> Option<Arc<Account>> {
        let state = lock(&self.state);
        let mut members = state.members.iter();
        let found = members.find(|member| member.role == Role::Superadmin);
        found.map(|member| member.account.clone())
    }

    pub(super) fn has_member(&self, account: &Account) -> bool {
        lock(&self.state).member(account).is_some()
    }
}
