//! Sender keys: one ciphertext for all devices of a group.
//!
//! A device that writes to a group makes an [`OwnSenderKey`] and tells it, in pairwise encrypted
//! messages, to every device that shall read along; each keeps it among the [`ReceivedSenderKeys`] of
//! that device. The symmetric chain is the one of sessions; a signature takes the place of the
//! authentication code, so that no reader can write in the sender's name. Pure state, kept by the
//! caller; nothing changes unless a message was authentic.

mod message;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::keys::{KeyError, KeyPair, xeddsa_verify};
use super::primitive::{cbc_decrypt, cbc_encrypt, hkdf_sha256, random_bytes};
use super::session::chain::{Advance, ChainKey, Seed};
use super::session::{SKIPPED_KEYS_MAX, SessionError};
use message::{Distribution, GroupMessage};

/// Keys of one sending device that are kept: the one in use and those of messages still on their way.
pub const KEYS_MAX: usize = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SenderKeyError {
    #[error("the sender's key {0} is not known")]
    UnknownKey(u32),
    #[error("the signature of the message is wrong")]
    Signature,
    #[error("the authentic ciphertext is not validly padded")]
    CipherPadding,
    #[error(transparent)]
    Chain(#[from] SessionError),
    #[error("malformed sender-key message: {0}")]
    Malformed(&'static str),
    #[error("malformed sender-key message: {0}")]
    Key(#[from] KeyError),
    #[error("sender-key message version {0} is not supported")]
    Version(u8),
}

/// The key a device writes to one group with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OwnSenderKey {
    id: u32,
    chain: ChainKey,
    signing: KeyPair,
}

impl OwnSenderKey {
    pub fn generate() -> Self {
        Self {
            // Other implementations read the id as a signed number.
            id: u32::from_be_bytes(random_bytes()) >> 1,
            chain: ChainKey::new(random_bytes()),
            signing: KeyPair::generate(),
        }
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// What a device needs to read the messages from now on.
    pub fn distribution(&self) -> Vec<u8> {
        message::encode_distribution(&Distribution {
            id: self.id,
            iteration: self.chain.index(),
            chain_key: *self.chain.key(),
            signing_key: *self.signing.public(),
        })
    }

    pub fn encrypt(&mut self, plain: &[u8]) -> Result<Vec<u8>, SenderKeyError> {
        let (seed, next) = self.chain.step()?;
        let (key, iv) = keys(&seed);
        let cipher = cbc_encrypt(&key, &iv, plain);
        let bytes = message::encode(self.id, seed.counter, cipher, &self.signing);
        self.chain = next;
        Ok(bytes)
    }
}

/// The keys of one sending device for one group, newest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReceivedSenderKeys {
    keys: VecDeque<Received>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Received {
    id: u32,
    #[serde(with = "serde_bytes")]
    signing: [u8; 32],
    chain: ChainKey,
    /// Seeds of messages that were overtaken, in the order of their counters.
    skipped: VecDeque<Seed>,
}

impl ReceivedSenderKeys {
    /// Takes in what a sender distributed. A key that is known already stays as far as it has run.
    pub fn learn(&mut self, distribution: &[u8]) -> Result<(), SenderKeyError> {
        let told = Distribution::parse(distribution)?;
        let known = self
            .keys
            .iter()
            .position(|key| key.id == told.id && key.signing == told.signing_key);
        let key = known.and_then(|at| self.keys.remove(at)).unwrap_or(Received {
            id: told.id,
            signing: told.signing_key,
            chain: ChainKey::at(told.chain_key, told.iteration),
            skipped: VecDeque::new(),
        });
        self.keys.retain(|other| other.id != key.id);
        self.keys.push_front(key);
        self.keys.truncate(KEYS_MAX);
        Ok(())
    }

    pub fn decrypt(&mut self, bytes: &[u8]) -> Result<Vec<u8>, SenderKeyError> {
        let message = GroupMessage::parse(bytes)?;
        let key = self.keys.iter_mut().find(|key| key.id == message.id);
        key.ok_or(SenderKeyError::UnknownKey(message.id))?
            .decrypt(&message)
    }
}

impl Received {
    fn decrypt(&mut self, message: &GroupMessage<'_>) -> Result<Vec<u8>, SenderKeyError> {
        if !xeddsa_verify(&self.signing, message.signed, message.signature) {
            return Err(SenderKeyError::Signature);
        }
        let counter = message.iteration;
        if counter < self.chain.index() {
            let found = self.skipped.binary_search_by_key(&counter, |seed| seed.counter);
            let at = found.map_err(|_| SessionError::Duplicate { counter })?;
            let plain = open(&self.skipped[at], message)?;
            self.skipped.remove(at);
            return Ok(plain);
        }
        let Advance { skipped, seed, next } = self.chain.advance(counter)?;
        let plain = open(&seed, message)?;
        self.skipped.extend(skipped);
        let excess = self.skipped.len().saturating_sub(SKIPPED_KEYS_MAX);
        self.skipped.drain(..excess);
        self.chain = next;
        Ok(plain)
    }
}

fn open(seed: &Seed, message: &GroupMessage<'_>) -> Result<Vec<u8>, SenderKeyError> {
    let (key, iv) = keys(seed);
    cbc_decrypt(&key, &iv, &message.ciphertext).ok_or(SenderKeyError::CipherPadding)
}

/// The cipher key and the initialisation vector of one message.
fn keys(seed: &Seed) -> ([u8; 32], [u8; 16]) {
    let okm = hkdf_sha256::<48>(None, &seed.bytes, b"WhisperGroup");
    let (mut key, mut iv) = ([0; 32], [0; 16]);
    iv.copy_from_slice(&okm[..16]);
    key.copy_from_slice(&okm[16..]);
    (key, iv)
}
