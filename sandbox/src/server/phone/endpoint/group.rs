//! Sender keys: the phone's own, who has them, and those of others, each kept as a row of its own.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::Endpoint;
use crate::server::persist::{PersistError, SavedAccount, Table};
use crate::signal::{Address, OwnSenderKey, ReceivedSenderKeys, SenderKeyError};

/// Groups a phone keeps a key of its own for, and senders whose keys it keeps, counted once per group.
/// Above that some are forgotten: it makes a new key when it writes, and asks when it cannot read.
const OWN_MAX: usize = 4_096;
const SENDERS_MAX: usize = 50_000;

#[derive(Default)]
pub(super) struct GroupKeys {
    own: HashMap<String, Own>,
    received: HashMap<(String, Address), ReceivedSenderKeys>,
}

struct Own {
    row: OwnRow,
    /// Devices that were sent the key.
    holders: HashSet<Address>,
}

/// An own key as it is kept.
#[derive(Serialize, Deserialize)]
struct OwnRow {
    key: OwnSenderKey,
    /// How many members had left the group when the key was made.
    departures: u64,
}

impl GroupKeys {
    pub fn restore(saved: &mut SavedAccount) -> Result<Self, PersistError> {
        let mut keys = Self::default();
        for row in saved.take(Table::OwnSenderKey, 0) {
            let own = Own {
                row: row.value()?,
                holders: HashSet::new(),
            };
            keys.own.insert(row.name.into(), own);
        }
        for row in saved.take(Table::KeyHolder, 0) {
            let (group, address) = split(&row.name).map_err(|error| row.corrupt(error))?;
            if let Some(own) = keys.own.get_mut(group) {
                own.holders.insert(address);
            }
        }
        for row in saved.take(Table::SenderKey, 0) {
            let (group, address) = split(&row.name).map_err(|error| row.corrupt(error))?;
            keys.received.insert((group.to_owned(), address), row.value()?);
        }
        Ok(keys)
    }
}

fn name(group: &str, address: &Address) -> String {
    format!("{group} {address}")
}

fn split(name: &str) -> Result<(&str, Address), crate::signal::AddressError> {
    let (group, address) = name.split_once(' ').unwrap_or_default();
    Ok((group, address.parse()?))
}

impl Endpoint {
    /// Those of `devices` that have not got the phone's key for a group. There is a new key when
    /// somebody has left since it was made, or one of its holders is no longer among the devices.
    pub fn lacking(&mut self, group: &str, departures: u64, devices: &[Address]) -> Vec<Address> {
        let is_good = |own: &Own| {
            own.row.departures == departures && {
                let devices: HashSet<_> = devices.iter().collect();
                own.holders.iter().all(|holder| devices.contains(holder))
            }
        };
        if !self.groups.own.get(group).is_some_and(is_good) {
            self.renew_sender_key(group, departures);
        }
        let holders = self.groups.own.get(group).map(|own| &own.holders);
        let lacks = |address: &&Address| holders.is_none_or(|holders| !holders.contains(address));
        devices.iter().filter(lacks).cloned().collect()
    }

    fn renew_sender_key(&mut self, group: &str, departures: u64) {
        self.forget_own(group);
        if self.groups.own.len() >= OWN_MAX
            && let Some(other) = self.groups.own.keys().next().cloned()
        {
            self.forget_own(&other);
        }
        let key = OwnSenderKey::generate();
        let row = OwnRow { key, departures };
        let new = Own {
            row,
            holders: HashSet::new(),
        };
        self.groups.own.insert(group.to_owned(), new);
        self.keep_own(group);
    }

    fn forget_own(&mut self, group: &str) {
        let Some(former) = self.groups.own.remove(group) else {
            return;
        };
        self.shelf.keep(|rows| {
            rows.delete(Table::OwnSenderKey, 0, group);
            for holder in &former.holders {
                rows.delete(Table::KeyHolder, 0, &name(group, holder));
            }
        });
    }

    /// Forgets all sender keys.
    pub(super) fn forget_groups(&mut self) {
        let own: Vec<_> = self.groups.own.keys().cloned().collect();
        own.iter().for_each(|group| self.forget_own(group));
        let received = std::mem::take(&mut self.groups.received);
        self.shelf.keep(|rows| {
            for (group, sender) in received.keys() {
                rows.delete(Table::SenderKey, 0, &name(group, sender));
            }
        });
    }

    /// Forgets that devices of a user hold the phone's keys: a phone that is set up again does not.
    pub(super) fn forget_holders(&mut self, user: &str) {
        for (group, own) in &mut self.groups.own {
            own.holders.retain(|holder| {
                let stays = holder.user != user;
                if !stays {
                    self.shelf
                        .keep(|rows| rows.delete(Table::KeyHolder, 0, &name(group, holder)));
                }
                stays
            });
        }
    }

    /// The phone's key for a group as others are told it, and its id.
    pub fn distribution(&self, group: &str) -> Option<(u32, Vec<u8>)> {
        let key = &self.groups.own.get(group)?.row.key;
        Some((key.id(), key.distribution()))
    }

    /// Encrypts for the holders of the phone's key.
    pub fn encrypt_for_group(&mut self, group: &str, plain: &[u8]) -> Result<Vec<u8>, SenderKeyError> {
        let own = self.groups.own.get_mut(group);
        let own = own.ok_or(SenderKeyError::UnknownKey(0))?;
        let sealed = own.row.key.encrypt(plain);
        self.keep_own(group);
        sealed
    }

    /// Notes that devices were sent the key with this id.
    pub fn add_holders(&mut self, group: &str, id: u32, devices: Vec<Address>) {
        let Some(own) = self
            .groups
            .own
            .get_mut(group)
            .filter(|own| own.row.key.id() == id)
        else {
            return;
        };
        self.shelf.keep(|rows| {
            for device in &devices {
                rows.put(Table::KeyHolder, 0, &name(group, device), &());
            }
        });
        own.holders.extend(devices);
    }

    /// Takes in the key another device tells.
    pub fn learn_sender_key(
        &mut self,
        group: &str,
        sender: &Address,
        told: &[u8],
    ) -> Result<(), SenderKeyError> {
        let entry = (group.to_owned(), sender.clone());
        if self.groups.received.len() >= SENDERS_MAX
            && !self.groups.received.contains_key(&entry)
            && let Some(other) = self.groups.received.keys().next().cloned()
        {
            self.groups.received.remove(&other);
            let name = name(&other.0, &other.1);
            self.shelf.keep(|rows| rows.delete(Table::SenderKey, 0, &name));
        }
        let learnt = self.groups.received.entry(entry).or_default().learn(told);
        self.keep_received(group, sender);
        learnt
    }

    pub fn decrypt_from_group(
        &mut self,
        group: &str,
        sender: &Address,
        bytes: &[u8],
    ) -> Result<Vec<u8>, SenderKeyError> {
        let keys = self.groups.received.get_mut(&(group.to_owned(), sender.clone()));
        let plain = keys.ok_or(SenderKeyError::UnknownKey(0))?.decrypt(bytes)?;
        self.keep_received(group, sender);
        Ok(plain)
    }

    fn keep_own(&self, group: &str) {
        self.shelf.keep(|rows| {
            if let Some(own) = self.groups.own.get(group) {
                rows.put(Table::OwnSenderKey, 0, group, &own.row);
            }
        });
    }

    fn keep_received(&self, group: &str, sender: &Address) {
        self.shelf.keep(|rows| {
            if let Some(keys) = self.groups.received.get(&(group.to_owned(), sender.clone())) {
                rows.put(Table::SenderKey, 0, &name(group, sender), keys);
            }
        });
    }
}
