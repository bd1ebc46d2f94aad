//! The phone's Signal endpoint, kept part by part: each call stores the session it moved on and the
//! one-time keys it made or used up.

mod group;

use std::collections::HashMap;

use group::GroupKeys;

use crate::server::persist::{PersistError, SavedAccount, Shelf, Table};
use crate::signal::phone::one_time_key_of;
use crate::signal::{
    Address, Bundle, Ciphertext, CiphertextKind, KeyPair, Phone, PhoneCore, Session, SessionError,
};

pub(super) struct Endpoint {
    phone: Phone,
    groups: GroupKeys,
    shelf: Shelf,
}

impl Endpoint {
    pub fn generate() -> Self {
        Self {
            phone: Phone::generate(),
            groups: GroupKeys::default(),
            shelf: Shelf::none(),
        }
    }

    pub fn restore(saved: &mut SavedAccount, shelf: Shelf) -> Result<Self, PersistError> {
        let core: PhoneCore = saved.only(Table::Phone)?;
        let mut keys = Vec::new();
        for row in saved.take(Table::PhoneKey, 0) {
            let id = u32::try_from(row.item).map_err(|error| row.corrupt(error))?;
            keys.push((id, row.value::<KeyPair>()?));
        }
        let mut sessions = HashMap::new();
        for row in saved.take(Table::Session, 0) {
            let address: Address = row.name.parse().map_err(|error| row.corrupt(error))?;
            sessions.insert(address, row.value::<Session>()?);
        }
        let phone = Phone::from_parts(core, keys, sessions);
        let groups = GroupKeys::restore(saved)?;
        Ok(Self { phone, groups, shelf })
    }

    /// Starts keeping what has been made so far: the core.
    pub fn shelve(&mut self, shelf: Shelf) {
        shelf.keep(|rows| rows.put(Table::Phone, 0, "", &self.phone.core()));
        self.shelf = shelf;
    }

    /// Replaces all keys; what was kept of the old ones is deleted.
    pub fn start_over(&mut self) {
        self.forget_groups();
        let old = std::mem::replace(&mut self.phone, Phone::generate());
        self.shelf.keep(|rows| {
            for id in old.one_time_key_ids() {
                rows.delete(Table::PhoneKey, id.into(), "");
            }
            for address in old.addresses() {
                rows.delete(Table::Session, 0, &address.to_string());
            }
            rows.put(Table::Phone, 0, "", &self.phone.core());
        });
    }

    /// Forgets the sessions with all devices of a user.
    pub fn forget_sessions(&mut self, user: &str) {
        let addresses: Vec<_> = self
            .phone
            .addresses()
            .filter(|address| address.user == user)
            .cloned()
            .collect();
        self.forget_holder(user);
        for address in addresses {
            self.phone.forget_session(&address);
            self.shelf
                .keep(|rows| rows.delete(Table::Session, 0, &address.to_string()));
        }
    }

    pub fn identity(&self) -> &KeyPair {
        self.phone.identity()
    }

    pub fn fresh_bundle(&mut self) -> Bundle {
        let oldest = self.phone.oldest_one_time_key();
        let bundle = self.phone.fresh_bundle();
        self.shelf.keep(|rows| {
            rows.put(Table::Phone, 0, "", &self.phone.core());
            if let Some(oldest) = oldest.filter(|id| self.phone.one_time_key(*id).is_none()) {
                rows.delete(Table::PhoneKey, oldest.into(), "");
            }
            let made = bundle.prekey.as_ref();
            if let Some((id, pair)) = made.and_then(|key| Some((key.id, self.phone.one_time_key(key.id)?))) {
                rows.put(Table::PhoneKey, id.into(), "", pair);
            }
        });
        bundle
    }

    pub fn has_session(&self, address: &Address) -> bool {
        self.phone.has_session(address)
    }

    pub fn start_session(&mut self, address: &Address, bundle: &Bundle) -> Result<(), SessionError> {
        let started = self.phone.start_session(address, bundle);
        self.keep_session(address);
        started
    }

    pub fn encrypt(&mut self, address: &Address, plain: &[u8]) -> Result<Ciphertext, SessionError> {
        let sealed = self.phone.encrypt(address, plain);
        self.keep_session(address);
        sealed
    }

    pub fn decrypt(
        &mut self,
        address: &Address,
        kind: CiphertextKind,
        bytes: &[u8],
    ) -> Result<Vec<u8>, SessionError> {
        let plain = self.phone.decrypt(address, kind, bytes)?;
        self.keep_session(address);
        if kind == CiphertextKind::Pkmsg {
            self.shelf.keep(|rows| {
                let used = one_time_key_of(bytes).filter(|id| self.phone.one_time_key(*id).is_none());
                if let Some(id) = used {
                    rows.delete(Table::PhoneKey, id.into(), "");
                }
            });
        }
        Ok(plain)
    }

    fn keep_session(&self, address: &Address) {
        self.shelf.keep(|rows| {
            if let Some(session) = self.phone.session(address) {
                rows.put(Table::Session, 0, &address.to_string(), session);
            }
        });
    }
}
