//! All groups: by id, by invite code, by member.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

use super::row::GroupRow;
use super::{Group, GroupError};
use crate::server::account::Account;
use crate::server::config::SandboxConfig;
use crate::server::persist::{PersistError, SavedAccount, Shelf, Table};
use crate::server::sync::{read, write};

/// The groups of one service. Its lock is taken last and only for a look-up.
pub(in crate::server) struct Groups {
    index: RwLock<Index>,
    groups_max: usize,
    groups_per_account_max: usize,
    pub(super) shelf: Shelf,
}

#[derive(Default)]
struct Index {
    by_id: HashMap<Arc<str>, Arc<Group>>,
    /// Former codes too.
    by_invite: HashMap<String, Arc<str>>,
    /// Ids in order, by the number of the account.
    by_member: HashMap<u32, BTreeSet<Arc<str>>>,
}

impl Groups {
    pub(in crate::server) fn new(config: &SandboxConfig, shelf: Shelf) -> Self {
        Self {
            index: RwLock::default(),
            groups_max: config.groups_max,
            groups_per_account_max: config.groups_per_account_max,
            shelf,
        }
    }

    pub(in crate::server) fn count(&self) -> usize {
        read(&self.index).by_id.len()
    }

    /// Takes back the groups that were kept.
    pub(in crate::server) fn restore(
        &self,
        saved: &mut SavedAccount,
        accounts: &BTreeMap<u32, Arc<Account>>,
    ) -> Result<(), PersistError> {
        for row in saved.take(Table::Group, 0) {
            let kept: GroupRow = row.value()?;
            let group = Arc::new(kept.restore(&row.name, accounts, self.shelf.clone())?);
            let mut index = write(&self.index);
            if let Ok(state) = group.state() {
                let codes = std::iter::once(&state.invite).chain(&state.former_invites);
                for code in codes {
                    index.by_invite.insert(code.clone(), group.id.clone());
                }
                for member in &state.members {
                    let of_member = index.by_member.entry(member.account.raw_id).or_default();
                    of_member.insert(group.id.clone());
                }
            }
            index.by_id.insert(group.id.clone(), group);
        }
        Ok(())
    }

    pub(in crate::server) fn get(&self, id: &str) -> Option<Arc<Group>> {
        read(&self.index).by_id.get(id).cloned()
    }

    /// All groups by id.
    pub(in crate::server) fn all(&self) -> Vec<Arc<Group>> {
        let mut groups: Vec<_> = read(&self.index).by_id.values().cloned().collect();
        groups.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        groups
    }

    /// The groups an account is a member of, by id.
    pub(in crate::server) fn of(&self, account: &Account) -> Vec<Arc<Group>> {
        let index = read(&self.index);
        let ids = index.by_member.get(&account.raw_id).into_iter().flatten();
        ids.filter_map(|id| index.by_id.get(id).cloned()).collect()
    }

    pub(super) fn by_invite(&self, code: &str) -> Option<Arc<Group>> {
        let index = read(&self.index);
        index.by_id.get(index.by_invite.get(code)?).cloned()
    }

    /// Adds a new group, unless there are too many.
    pub(super) fn add(&self, group: Arc<Group>, invite: &str) -> Result<(), GroupError> {
        let mut index = write(&self.index);
        if index.by_id.len() >= self.groups_max {
            return Err(GroupError::TooMany);
        }
        index.by_invite.insert(invite.to_owned(), group.id.clone());
        index.by_id.insert(group.id.clone(), group);
        Ok(())
    }

    /// Removes a group nobody is in any more.
    pub(super) fn remove<'a>(&self, id: &str, codes: impl Iterator<Item = &'a String>) {
        let mut index = write(&self.index);
        index.by_id.remove(id);
        codes.for_each(|code| {
            index.by_invite.remove(code);
        });
    }

    /// Notes that an account joins. Refused when it is in too many groups.
    pub(super) fn enter(&self, account: &Account, id: &Arc<str>) -> Result<(), GroupError> {
        let mut index = write(&self.index);
        let of_member = index.by_member.entry(account.raw_id).or_default();
        if of_member.len() >= self.groups_per_account_max {
            return Err(GroupError::TooMany);
        }
        of_member.insert(id.clone());
        Ok(())
    }

    pub(super) fn exit(&self, account: &Account, id: &str) {
        if let Some(of_member) = write(&self.index).by_member.get_mut(&account.raw_id) {
            of_member.remove(id);
        }
    }

    pub(super) fn set_invite(&self, id: &Arc<str>, code: &str, forgotten: Option<String>) {
        let mut index = write(&self.index);
        index.by_invite.insert(code.to_owned(), id.clone());
        if let Some(forgotten) = forgotten {
            index.by_invite.remove(&forgotten);
        }
    }
}
