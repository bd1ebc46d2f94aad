//! Pairwise Signal sessions, version 3: X3DH and the double ratchet, without post-quantum parts.
//!
//! A [`Session`] is what a phone keeps for one remote device: the state in use and older ones, since
//! either side may start over while messages of the former state are on their way. `x3dh` makes a
//! state, `state` ratchets it, `chain` holds the key derivations, `message` the wire form.
//! Only `Phone` calls this. Nothing changes unless a message was authenticated.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::keys::{KeyError, KeyPair};
use super::phone::CiphertextKind;
use message::{PrekeyMessage, SignalMessage};
use state::State;

pub(super) mod chain;
pub(super) mod message;
mod state;
#[cfg(test)]
mod tests;
mod x3dh;

/// Former states kept besides the one in use.
pub const ARCHIVED_STATES_MAX: usize = 40;
/// How far a counter may run ahead of the messages received before.
pub const FORWARD_JUMP_MAX: u32 = 2_000;
/// Keys of messages not received yet that one receiving chain keeps.
pub const SKIPPED_KEYS_MAX: usize = 2_000;
/// Receiving chains of one state; late messages of older ones cannot be decrypted.
pub const RECEIVING_CHAINS_MAX: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("there is no session with this device")]
    NoSession,
    #[error("message {counter} was decrypted before")]
    Duplicate { counter: u32 },
    #[error("the message authentication code does not match any state of the session")]
    BadMac,
    #[error("message {counter} is too far ahead, {expected} is next")]
    TooFarAhead { counter: u32, expected: u32 },
    #[error("a chain has used up its counters")]
    CounterExhausted,
    #[error("the authenticated ciphertext is not validly padded")]
    BadCipherPadding,
    #[error("one-time key {0} is unknown or was used before")]
    UnknownPrekey(u32),
    #[error("signed prekey {0} is unknown")]
    UnknownSignedPrekey(u32),
    #[error("the signature of the bundle's signed prekey is wrong")]
    BundleSignature,
    #[error("the phone has reached its limit of sessions")]
    TooManySessions,
    #[error("message version {0} is not supported")]
    Version(u8),
    #[error("malformed message: {0}")]
    Malformed(&'static str),
    #[error("malformed message: {0}")]
    Key(#[from] KeyError),
}

impl SessionError {
    /// Of the answers of several states, the higher one says most about the message.
    fn weight(self) -> u8 {
        match self {
            Self::Duplicate { .. } => 3,
            Self::TooFarAhead { .. } | Self::CounterExhausted => 2,
            Self::BadMac => 1,
            _ => 0,
        }
    }
}

/// The initiator's view of the remote device, taken from a verified bundle.
pub(super) struct Remote {
    pub identity: [u8; 32],
    pub signed_prekey_id: u32,
    pub signed_prekey: [u8; 32],
    pub prekey: Option<(u32, [u8; 32])>,
}

/// The responder's own keys that a prekey message refers to.
pub(super) struct LocalKeys<'a> {
    pub identity: &'a KeyPair,
    pub signed_prekey: &'a KeyPair,
    pub one_time: Option<&'a KeyPair>,
}

/// All states with one remote device. The first is in use, the others are archived, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Session {
    states: VecDeque<State>,
}

impl Session {
    /// Starts over as the initiator.
    pub(super) fn initiate(&mut self, identity: &KeyPair, remote: &Remote) {
        self.install(x3dh::initiate(identity, remote));
    }

    /// Makes the responder's state of a prekey message and decrypts its content with it.
    pub(super) fn respond(
        local: &LocalKeys<'_>,
        prekey_message: &PrekeyMessage,
        message: &SignalMessage<'_>,
    ) -> Result<(State, Vec<u8>), SessionError> {
        let mut state = x3dh::respond(local, &prekey_message.identity, &prekey_message.base_key);
        let plain = state.decrypt(local.identity, message)?;
        Ok((state, plain))
    }

    /// Puts `state` in use and archives the former one.
    pub(super) fn install(&mut self, state: State) {
        // Most sessions never have a second state; a deque would make room for four.
        self.states.reserve_exact(1);
        self.states.push_front(state);
        self.states.truncate(ARCHIVED_STATES_MAX + 1);
    }

    pub(super) fn encrypt(
        &mut self,
        identity: &KeyPair,
        registration_id: u32,
        plain: &[u8],
    ) -> Result<(CiphertextKind, Vec<u8>), SessionError> {
        let state = self.states.front_mut().ok_or(SessionError::NoSession)?;
        state.encrypt(identity, registration_id, plain)
    }

    /// Decrypts with whichever state fits, which is then the one in use.
    pub(super) fn decrypt(
        &mut self,
        identity: &KeyPair,
        message: &SignalMessage<'_>,
    ) -> Result<Vec<u8>, SessionError> {
        let mut answer = SessionError::NoSession;
        for at in 0..self.states.len() {
            match self.states[at].decrypt(identity, message) {
                Ok(plain) => {
                    self.promote(at);
                    return Ok(plain);
                }
                Err(error) if error.weight() > answer.weight() => answer = error,
                Err(error) if at == 0 => answer = error,
                Err(_) => {}
            }
        }
        Err(answer)
    }

    /// Decrypts the content of a prekey message whose session exists already: initiators repeat the
    /// prekey form until they are answered. `None` when the base key is new.
    pub(super) fn decrypt_repeated(
        &mut self,
        identity: &KeyPair,
        base_key: &[u8; 32],
        message: &SignalMessage<'_>,
    ) -> Option<Result<Vec<u8>, SessionError>> {
        let at = self
            .states
            .iter()
            .position(|state| state.base_key() == base_key)?;
        let answer = self.states[at].decrypt(identity, message);
        if answer.is_ok() {
            self.promote(at);
        }
        Some(answer)
    }

    fn promote(&mut self, at: usize) {
        if at > 0
            && let Some(state) = self.states.remove(at)
        {
            self.states.push_front(state);
        }
    }
}
