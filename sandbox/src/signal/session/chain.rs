//! The key derivations of the double ratchet; sender keys share its symmetric chains.

use serde::{Deserialize, Serialize};

use super::{FORWARD_JUMP_MAX, SessionError};
use crate::signal::primitive::{hkdf_sha256, hmac_sha256};

/// A symmetric chain: each step yields the seed of one message's keys.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::signal) struct ChainKey {
    #[serde(with = "serde_bytes")]
    key: [u8; 32],
    index: u32,
}

/// The seed of the keys of the message with this counter.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::signal) struct Seed {
    pub counter: u32,
    #[serde(with = "serde_bytes")]
    pub bytes: [u8; 32],
}

/// What is needed to encrypt or decrypt one message.
pub(in crate::signal) struct MessageKeys {
    pub cipher: [u8; 32],
    pub mac: [u8; 32],
    pub iv: [u8; 16],
}

/// A chain run forward to a message, with the seeds passed on the way.
pub(in crate::signal) struct Advance {
    pub skipped: Vec<Seed>,
    pub seed: Seed,
    pub next: ChainKey,
}

impl ChainKey {
    pub fn new(key: [u8; 32]) -> Self {
        Self { key, index: 0 }
    }

    /// A chain that somebody else has run to `index`.
    pub fn at(key: [u8; 32], index: u32) -> Self {
        Self { key, index }
    }

    /// What of the chain is told to others.
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The counter of the next message.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The next message's seed, and the chain after it.
    pub fn step(&self) -> Result<(Seed, Self), SessionError> {
        let index = self.index.checked_add(1).ok_or(SessionError::CounterExhausted)?;
        let seed = Seed {
            counter: self.index,
            bytes: hmac_sha256(&self.key, &[&[0x01]]),
        };
        Ok((
            seed,
            Self {
                key: hmac_sha256(&self.key, &[&[0x02]]),
                index,
            },
        ))
    }

    /// Runs to `counter`, which is not below the chain's index.
    pub fn advance(&self, counter: u32) -> Result<Advance, SessionError> {
        let expected = self.index;
        if counter.saturating_sub(expected) > FORWARD_JUMP_MAX {
            return Err(SessionError::TooFarAhead { counter, expected });
        }
        let mut skipped = Vec::new();
        let (mut seed, mut next) = self.step()?;
        while seed.counter < counter {
            let (following, after) = next.step()?;
            skipped.push(std::mem::replace(&mut seed, following));
            next = after;
        }
        Ok(Advance { skipped, seed, next })
    }
}

impl Seed {
    pub fn keys(&self) -> MessageKeys {
        let okm = hkdf_sha256::<80>(None, &self.bytes, b"WhisperMessageKeys");
        let mut keys = MessageKeys {
            cipher: [0; 32],
            mac: [0; 32],
            iv: [0; 16],
        };
        keys.cipher.copy_from_slice(&okm[..32]);
        keys.mac.copy_from_slice(&okm[32..64]);
        keys.iv.copy_from_slice(&okm[64..]);
        keys
    }
}

/// The root and chain key that follow from the agreements of a handshake.
pub(super) fn handshake_keys(secrets: &[u8]) -> ([u8; 32], ChainKey) {
    halves(hkdf_sha256(None, secrets, b"WhisperText"))
}

/// One asymmetric step: the root after it and the chain it opens.
pub(super) fn ratchet_step(root: &[u8; 32], shared: &[u8; 32]) -> ([u8; 32], ChainKey) {
    halves(hkdf_sha256(Some(root), shared, b"WhisperRatchet"))
}

fn halves(okm: [u8; 64]) -> ([u8; 32], ChainKey) {
    let (mut root, mut chain) = ([0; 32], [0; 32]);
    root.copy_from_slice(&okm[..32]);
    chain.copy_from_slice(&okm[32..]);
    (root, ChainKey::new(chain))
}
