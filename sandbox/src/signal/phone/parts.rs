//! The pieces a phone is stored in, so that a message rewrites one session and not the whole phone.
//!
//! The server stores the core when a one-time key is handed out, a one-time key when it comes and
//! goes, and a session after every message; [`Phone::from_parts`] puts them together again.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{OneTimeKey, Phone, SignedPrekey};
use crate::signal::Address;
use crate::signal::keys::KeyPair;
use crate::signal::session::Session;
use crate::signal::session::message::PrekeyMessage;

/// What a phone is besides its one-time keys and its sessions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PhoneCore {
    registration_id: u32,
    identity: KeyPair,
    signed_prekey: SignedPrekey,
    signed_pair: KeyPair,
    next_key_id: u32,
}

impl Phone {
    pub fn core(&self) -> PhoneCore {
        PhoneCore {
            registration_id: self.registration_id,
            identity: self.identity.clone(),
            signed_prekey: self.signed_prekey.clone(),
            signed_pair: self.signed_pair.clone(),
            next_key_id: self.next_key_id,
        }
    }

    /// A phone as its parts were stored, the one-time keys in any order.
    pub fn from_parts(
        core: PhoneCore,
        one_time_keys: impl IntoIterator<Item = (u32, KeyPair)>,
        sessions: HashMap<Address, Session>,
    ) -> Self {
        let mut one_time_keys: Vec<_> = one_time_keys
            .into_iter()
            .map(|(id, pair)| OneTimeKey { id, pair })
            .collect();
        // Ids start over at the end of their range: those from the next one on are the older ones.
        one_time_keys.sort_unstable_by_key(|key| (key.id < core.next_key_id, key.id));
        Self {
            registration_id: core.registration_id,
            identity: core.identity,
            signed_prekey: core.signed_prekey,
            signed_pair: core.signed_pair,
            one_time_keys: VecDeque::from(one_time_keys),
            next_key_id: core.next_key_id,
            sessions,
        }
    }

    pub fn session(&self, address: &Address) -> Option<&Session> {
        self.sessions.get(address)
    }

    /// The devices there are sessions with.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.sessions.keys()
    }

    /// The one-time keys that were handed out and not used yet.
    pub fn one_time_key_ids(&self) -> impl Iterator<Item = u32> {
        self.one_time_keys.iter().map(|key| key.id)
    }

    /// A one-time key that was handed out and not used yet.
    pub fn one_time_key(&self, id: u32) -> Option<&KeyPair> {
        let mut newest_first = self.one_time_keys.iter().rev();
        newest_first.find(|key| key.id == id).map(|key| &key.pair)
    }

    /// The one-time key that is forgotten first.
    pub fn oldest_one_time_key(&self) -> Option<u32> {
        self.one_time_keys.front().map(|key| key.id)
    }
}

/// The one-time key that a prekey message uses.
pub fn one_time_key_of(prekey_message: &[u8]) -> Option<u32> {
    PrekeyMessage::parse(prekey_message).ok()?.prekey_id
}
