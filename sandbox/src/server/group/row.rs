//! A group as it is kept: one row, with accounts named by their own numbers: phone numbers may change.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::{Description, Group, Member, MemberAdd, MemberLink, Request, Role, State, Text, Toggle};
use crate::server::account::Account;
use crate::server::persist::{PersistError, Shelf, Table};
use crate::server::picture::Picture;
use crate::wire::jid::Domain;

#[derive(Serialize, Deserialize)]
pub(super) struct GroupRow {
    by_lid: bool,
    created_s: u64,
    creator: u32,
    subject: TextRow,
    description: Option<(String, TextRow)>,
    #[serde(default)]
    picture: Option<Picture>,
    members: Vec<(u32, Role)>,
    toggles: BTreeSet<Toggle>,
    ephemeral_s: u32,
    member_add: MemberAdd,
    member_link: MemberLink,
    approval: bool,
    invite: String,
    former_invites: VecDeque<String>,
    requests: Vec<(u32, u64)>,
    departures: u64,
}

#[derive(Serialize, Deserialize)]
struct TextRow {
    text: String,
    owner: u32,
    set_s: u64,
}

impl TextRow {
    fn of(text: &Text) -> Self {
        Self {
            text: text.text.clone(),
            owner: text.owner.raw_id,
            set_s: text.set_s,
        }
    }
}

impl Group {
    /// Keeps the group as it is now, or deletes it when nobody is left.
    pub(super) fn keep(&self, state: &State) {
        self.shelf.keep(|rows| {
            if state.members.is_empty() {
                return rows.delete(Table::Group, 0, &self.id);
            }
            let row = GroupRow {
                by_lid: self.addressing == Domain::Lid,
                created_s: self.created_s,
                creator: self.creator.raw_id,
                subject: TextRow::of(&state.subject),
                description: state
                    .description
                    .as_ref()
                    .map(|description| (description.id.clone(), TextRow::of(&description.body))),
                picture: state.picture,
                members: state
                    .members
                    .iter()
                    .map(|member| (member.account.raw_id, member.role))
                    .collect(),
                toggles: state.toggles.clone(),
                ephemeral_s: state.ephemeral_s,
                member_add: state.member_add,
                member_link: state.member_link,
                approval: state.approval,
                invite: state.invite.clone(),
                former_invites: state.former_invites.clone(),
                requests: state
                    .requests
                    .iter()
                    .map(|request| (request.account.raw_id, request.asked_s))
                    .collect(),
                departures: state.departures,
            };
            rows.put(Table::Group, 0, &self.id, &row);
        });
    }
}

impl GroupRow {
    pub(super) fn restore(
        self,
        id: &str,
        accounts: &BTreeMap<u32, Arc<Account>>,
        shelf: Shelf,
    ) -> Result<Group, PersistError> {
        let table = Table::Account.name();
        let find = |raw_id: u32| {
            let account = accounts.get(&raw_id).cloned();
            account.ok_or(PersistError::Incomplete { table })
        };
        let text = |row: TextRow| -> Result<Text, PersistError> {
            Ok(Text {
                text: row.text,
                owner: find(row.owner)?,
                set_s: row.set_s,
            })
        };
        let description = match self.description {
            Some((id, body)) => Some(Description {
                id,
                body: text(body)?,
            }),
            None => None,
        };
        let members = self.members.into_iter().map(|(raw_id, role)| {
            let account = find(raw_id)?;
            Ok(Member { account, role })
        });
        let requests = self.requests.into_iter().map(|(raw_id, asked_s)| {
            let account = find(raw_id)?;
            Ok(Request { account, asked_s })
        });
        let mut state = State {
            subject: text(self.subject)?,
            description,
            picture: self.picture,
            members: members.collect::<Result<_, PersistError>>()?,
            toggles: self.toggles,
            ephemeral_s: self.ephemeral_s,
            member_add: self.member_add,
            member_link: self.member_link,
            approval: self.approval,
            invite: self.invite,
            former_invites: self.former_invites,
            requests: requests.collect::<Result<_, PersistError>>()?,
            departures: self.departures,
            audience: Arc::default(),
        };
        state.count_members();
        Ok(Group {
            id: id.into(),
            addressing: if self.by_lid { Domain::Lid } else { Domain::Pn },
            created_s: self.created_s,
            creator: find(self.creator)?,
            state: Mutex::new(state),
            shelf,
        })
    }
}
