//! The Signal endpoint of device 0: its long-term keys, its one-time keys and its sessions.
//!
//! The server holds one `Phone` per simulated account and calls it for every message that the
//! account's phone sends or receives. Pure state: whoever stores a `Phone` after each call resumes
//! exactly there; a copy that is older than the last call repeats message keys, so it must be stored
//! before a ciphertext leaves. Sender keys of groups are not part of it: see `sender_key`.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::Address;
use super::keys::{KeyPair, typed, xeddsa_verify};
use super::primitive::random_bytes;
use super::session::message::{PrekeyMessage, SignalMessage};
use super::session::{LocalKeys, Remote, Session, SessionError};

mod parts;
#[cfg(test)]
mod tests;

pub use parts::{PhoneCore, one_time_key_of};

/// One-time keys that were handed out and not used yet; the oldest are forgotten above this.
pub const ONE_TIME_KEYS_MAX: usize = 1_000;
/// Peers a phone keeps sessions with.
pub const SESSIONS_MAX: usize = 50_000;
/// Key ids are written in three bytes.
const KEY_ID_MAX: u32 = 0x00ff_ffff;

/// What another device needs to start a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    pub registration_id: u32,
    #[serde(with = "serde_bytes")]
    pub identity: [u8; 32],
    pub signed_prekey: SignedPrekey,
    /// Absent when the device has run out of one-time keys.
    pub prekey: Option<OneTimePrekey>,
}

/// A medium-term key with the identity's signature over its typed form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedPrekey {
    pub id: u32,
    #[serde(with = "serde_bytes")]
    pub public: [u8; 32],
    #[serde(with = "serde_bytes")]
    pub signature: [u8; 64],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimePrekey {
    pub id: u32,
    #[serde(with = "serde_bytes")]
    pub public: [u8; 32],
}

/// The two forms of a Signal message, named like the `type` attribute of `<enc>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CiphertextKind {
    /// A message of a session both sides know.
    Msg,
    /// A message that also carries what the receiver needs to create the session.
    Pkmsg,
}

impl CiphertextKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Msg => "msg",
            Self::Pkmsg => "pkmsg",
        }
    }

    /// `None` for other types, `skmsg` among them.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "msg" => Some(Self::Msg),
            "pkmsg" => Some(Self::Pkmsg),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ciphertext {
    pub kind: CiphertextKind,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct OneTimeKey {
    id: u32,
    pair: KeyPair,
}

/// The Signal endpoint of an account's device 0.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Phone {
    registration_id: u32,
    identity: KeyPair,
    signed_prekey: SignedPrekey,
    signed_pair: KeyPair,
    /// In the order they were handed out.
    one_time_keys: VecDeque<OneTimeKey>,
    next_key_id: u32,
    sessions: HashMap<Address, Session>,
}

impl Phone {
    pub fn generate() -> Self {
        let identity = KeyPair::generate();
        let signed_pair = KeyPair::generate();
        let signed_prekey = SignedPrekey {
            id: 1,
            public: *signed_pair.public(),
            signature: identity.sign(&typed(signed_pair.public())),
        };
        let registration_id = u32::from(u16::from_be_bytes(random_bytes()) & 0x3fff).max(1);
        Self {
            registration_id,
            identity,
            signed_prekey,
            signed_pair,
            one_time_keys: VecDeque::new(),
            next_key_id: 1,
            sessions: HashMap::new(),
        }
    }

    /// The identity key: also the account key that signs linked devices.
    pub fn identity(&self) -> &KeyPair {
        &self.identity
    }

    pub fn registration_id(&self) -> u32 {
        self.registration_id
    }

    /// A bundle with a one-time key of its own, which this call creates and remembers.
    pub fn fresh_bundle(&mut self) -> Bundle {
        let id = self.next_key_id;
        self.next_key_id = if id == KEY_ID_MAX { 1 } else { id + 1 };
        let pair = KeyPair::generate();
        let prekey = OneTimePrekey {
            id,
            public: *pair.public(),
        };
        if self.one_time_keys.len() == ONE_TIME_KEYS_MAX {
            self.one_time_keys.pop_front();
        }
        self.one_time_keys.push_back(OneTimeKey { id, pair });
        Bundle {
            registration_id: self.registration_id,
            identity: *self.identity.public(),
            signed_prekey: self.signed_prekey.clone(),
            prekey: Some(prekey),
        }
    }

    pub fn has_session(&self, address: &Address) -> bool {
        self.sessions.contains_key(address)
    }

    /// Creates a session from `bundle`; the one in use before is archived, so that messages already
    /// on their way still decrypt.
    pub fn start_session(&mut self, address: &Address, bundle: &Bundle) -> Result<(), SessionError> {
        let skey = &bundle.signed_prekey;
        if !xeddsa_verify(&bundle.identity, &typed(&skey.public), &skey.signature) {
            return Err(SessionError::BundleSignature);
        }
        let remote = Remote {
            identity: bundle.identity,
            signed_prekey_id: skey.id,
            signed_prekey: skey.public,
            prekey: bundle.prekey.as_ref().map(|prekey| (prekey.id, prekey.public)),
        };
        if let Some(session) = self.sessions.get_mut(address) {
            session.initiate(&self.identity, &remote);
            return Ok(());
        }
        self.room_for_session()?;
        let mut session = Session::default();
        session.initiate(&self.identity, &remote);
        self.sessions.insert(address.clone(), session);
        Ok(())
    }

    /// Encrypts for a device a session exists with.
    pub fn encrypt(&mut self, address: &Address, plain: &[u8]) -> Result<Ciphertext, SessionError> {
        let session = self.sessions.get_mut(address).ok_or(SessionError::NoSession)?;
        let (kind, bytes) = session.encrypt(&self.identity, self.registration_id, plain)?;
        Ok(Ciphertext { kind, bytes })
    }

    /// Decrypts what came from `address`. A message that fails leaves the phone as it was.
    pub fn decrypt(
        &mut self,
        address: &Address,
        kind: CiphertextKind,
        bytes: &[u8],
    ) -> Result<Vec<u8>, SessionError> {
        match kind {
            CiphertextKind::Msg => {
                let message = SignalMessage::parse(bytes)?;
                let session = self.sessions.get_mut(address).ok_or(SessionError::NoSession)?;
                session.decrypt(&self.identity, &message)
            }
            CiphertextKind::Pkmsg => self.decrypt_prekey(address, bytes),
        }
    }

    /// Forgets every session with `address`. Returns whether there was one.
    pub fn forget_session(&mut self, address: &Address) -> bool {
        self.sessions.remove(address).is_some()
    }

    fn decrypt_prekey(&mut self, address: &Address, bytes: &[u8]) -> Result<Vec<u8>, SessionError> {
        let prekey_message = PrekeyMessage::parse(bytes)?;
        let message = SignalMessage::parse(&prekey_message.message)?;
        if let Some(session) = self.sessions.get_mut(address)
            && let Some(answer) = session.decrypt_repeated(&self.identity, &prekey_message.base_key, &message)
        {
            return answer;
        }
        let one_time_at = self.one_time_position(&prekey_message)?;
        let local = LocalKeys {
            identity: &self.identity,
            signed_prekey: &self.signed_pair,
            one_time: one_time_at.map(|at| &self.one_time_keys[at].pair),
        };
        let (state, plain) = Session::respond(&local, &prekey_message, &message)?;
        if !self.sessions.contains_key(address) {
            self.room_for_session()?;
        }
        self.sessions.entry(address.clone()).or_default().install(state);
        if let Some(at) = one_time_at {
            self.one_time_keys.remove(at);
        }
        Ok(plain)
    }

    fn one_time_position(&self, message: &PrekeyMessage) -> Result<Option<usize>, SessionError> {
        if message.signed_prekey_id != self.signed_prekey.id {
            return Err(SessionError::UnknownSignedPrekey(message.signed_prekey_id));
        }
        let Some(id) = message.prekey_id else {
            return Ok(None);
        };
        let at = self.one_time_keys.iter().position(|key| key.id == id);
        at.map(Some).ok_or(SessionError::UnknownPrekey(id))
    }

    fn room_for_session(&self) -> Result<(), SessionError> {
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(SessionError::TooManySessions);
        }
        Ok(())
    }
}
