//! One double-ratchet state.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::chain::{Advance, ChainKey, Seed, ratchet_step};
use super::message::{self, SignalMessage};
use super::{RECEIVING_CHAINS_MAX, SKIPPED_KEYS_MAX, SessionError};
use crate::signal::keys::KeyPair;
use crate::signal::phone::CiphertextKind;
use crate::signal::primitive::{cbc_decrypt, cbc_encrypt};

/// The state that one handshake led to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::signal) struct State {
    /// The initiator's base key: the handshake's name.
    #[serde(with = "serde_bytes")]
    base_key: [u8; 32],
    #[serde(with = "serde_bytes")]
    remote_identity: [u8; 32],
    #[serde(with = "serde_bytes")]
    root: [u8; 32],
    own_ratchet: KeyPair,
    sending: ChainKey,
    previous_counter: u32,
    /// Oldest first.
    receiving: VecDeque<ReceivingChain>,
    /// Set until the responder has answered.
    pending: Option<PendingPrekey>,
}

/// The responder's keys that a handshake used, to be named in every message until it is answered.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct PendingPrekey {
    pub prekey_id: Option<u32>,
    pub signed_prekey_id: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ReceivingChain {
    #[serde(with = "serde_bytes")]
    ratchet: [u8; 32],
    chain: ChainKey,
    /// Seeds of messages that were overtaken, in the order of their counters.
    skipped: VecDeque<Seed>,
}

impl ReceivingChain {
    fn new(ratchet: [u8; 32], chain: ChainKey) -> Self {
        Self {
            ratchet,
            chain,
            skipped: VecDeque::new(),
        }
    }

    fn commit(&mut self, advance: Advance) {
        self.skipped.extend(advance.skipped);
        let excess = self.skipped.len().saturating_sub(SKIPPED_KEYS_MAX);
        self.skipped.drain(..excess);
        self.chain = advance.next;
    }
}

impl State {
    pub(super) fn of_initiator(
        base_key: [u8; 32],
        remote_identity: [u8; 32],
        remote_ratchet: [u8; 32],
        root: [u8; 32],
        chain: ChainKey,
        pending: PendingPrekey,
    ) -> Self {
        let own_ratchet = KeyPair::generate();
        let (root, sending) = ratchet_step(&root, &own_ratchet.agree(&remote_ratchet));
        Self {
            base_key,
            remote_identity,
            root,
            own_ratchet,
            sending,
            previous_counter: 0,
            receiving: VecDeque::from([ReceivingChain::new(remote_ratchet, chain)]),
            pending: Some(pending),
        }
    }

    pub(super) fn of_responder(
        base_key: [u8; 32],
        remote_identity: [u8; 32],
        own_ratchet: KeyPair,
        root: [u8; 32],
        sending: ChainKey,
    ) -> Self {
        Self {
            base_key,
            remote_identity,
            root,
            own_ratchet,
            sending,
            previous_counter: 0,
            receiving: VecDeque::new(),
            pending: None,
        }
    }

    pub(super) fn base_key(&self) -> &[u8; 32] {
        &self.base_key
    }

    pub(super) fn encrypt(
        &mut self,
        identity: &KeyPair,
        registration_id: u32,
        plain: &[u8],
    ) -> Result<(CiphertextKind, Vec<u8>), SessionError> {
        let (seed, next) = self.sending.step()?;
        let keys = seed.keys();
        let bytes = message::encode(
            message::Outgoing {
                ratchet: self.own_ratchet.public(),
                counter: seed.counter,
                previous_counter: self.previous_counter,
                ciphertext: cbc_encrypt(&keys.cipher, &keys.iv, plain),
            },
            &keys.mac,
            identity.public(),
            &self.remote_identity,
        );
        self.sending = next;
        Ok(match &self.pending {
            None => (CiphertextKind::Msg, bytes),
            Some(pending) => {
                let frame = message::PrekeyFrame {
                    registration_id,
                    prekey_id: pending.prekey_id,
                    signed_prekey_id: pending.signed_prekey_id,
                    base_key: &self.base_key,
                    identity: identity.public(),
                };
                (CiphertextKind::Pkmsg, message::encode_prekey(&frame, bytes))
            }
        })
    }

    /// Changes the state only if the message is authentic.
    pub(super) fn decrypt(
        &mut self,
        identity: &KeyPair,
        message: &SignalMessage<'_>,
    ) -> Result<Vec<u8>, SessionError> {
        let plain = match self.receiving.iter().position(|c| c.ratchet == message.ratchet) {
            Some(at) => self.decrypt_in_chain(at, identity, message)?,
            None => self.decrypt_in_new_chain(identity, message)?,
        };
        self.pending = None;
        Ok(plain)
    }

    fn decrypt_in_chain(
        &mut self,
        at: usize,
        identity: &KeyPair,
        message: &SignalMessage<'_>,
    ) -> Result<Vec<u8>, SessionError> {
        let remote = self.remote_identity;
        let receiving = &mut self.receiving[at];
        if message.counter < receiving.chain.index() {
            let found = receiving
                .skipped
                .binary_search_by_key(&message.counter, |s| s.counter);
            let skipped_at = found.map_err(|_| SessionError::Duplicate {
                counter: message.counter,
            })?;
            let plain = open(&receiving.skipped[skipped_at], &remote, identity, message)?;
            receiving.skipped.remove(skipped_at);
            return Ok(plain);
        }
        let advance = receiving.chain.advance(message.counter)?;
        let plain = open(&advance.seed, &remote, identity, message)?;
        receiving.commit(advance);
        Ok(plain)
    }

    /// The message's ratchet key is new: an asymmetric step on both sides of this state.
    fn decrypt_in_new_chain(
        &mut self,
        identity: &KeyPair,
        message: &SignalMessage<'_>,
    ) -> Result<Vec<u8>, SessionError> {
        let shared = self.own_ratchet.agree(&message.ratchet);
        let (root, chain) = ratchet_step(&self.root, &shared);
        let advance = chain.advance(message.counter)?;
        let plain = open(&advance.seed, &self.remote_identity, identity, message)?;

        let mut receiving = ReceivingChain::new(message.ratchet, chain);
        receiving.commit(advance);
        if self.receiving.len() == RECEIVING_CHAINS_MAX {
            self.receiving.pop_front();
        }
        self.receiving.push_back(receiving);

        self.own_ratchet = KeyPair::generate();
        let (root, sending) = ratchet_step(&root, &self.own_ratchet.agree(&message.ratchet));
        self.previous_counter = self.sending.index().saturating_sub(1);
        self.root = root;
        self.sending = sending;
        Ok(plain)
    }
}

fn open(
    seed: &Seed,
    remote: &[u8; 32],
    identity: &KeyPair,
    message: &SignalMessage<'_>,
) -> Result<Vec<u8>, SessionError> {
    let keys = seed.keys();
    if !message.is_authentic(&keys.mac, remote, identity.public()) {
        return Err(SessionError::BadMac);
    }
    cbc_decrypt(&keys.cipher, &keys.iv, &message.ciphertext).ok_or(SessionError::BadCipherPadding)
}
