//! The tokens clients show at uploads: who may upload until when, under a key of the sandbox's own.
//!
//! A token holds all that is said about it, so none is stored; they outlive a restart because the key
//! does. Raising the epoch makes every token given out before worthless.

use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use thiserror::Error;

const MAC_BYTES: usize = 16;
const CLAIM_BYTES: usize = 18;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum AuthError {
    #[error("the auth token is missing or was not given out by this sandbox")]
    Unknown,
    #[error("the auth token has expired; ask for a new media_conn")]
    Expired,
}

/// The device a token was given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Holder {
    /// The number of the account.
    pub account: u32,
    pub device: u16,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Tokens {
    #[serde(with = "serde_bytes")]
    key: [u8; 32],
    epoch: AtomicU32,
}

impl Tokens {
    pub fn generate() -> Self {
        Self {
            key: rand::random(),
            epoch: AtomicU32::new(1),
        }
    }

    pub fn issue(&self, holder: Holder, expires_s: u64) -> String {
        let mut token = Vec::with_capacity(CLAIM_BYTES + MAC_BYTES);
        token.extend_from_slice(&self.epoch.load(Ordering::Relaxed).to_be_bytes());
        token.extend_from_slice(&holder.account.to_be_bytes());
        token.extend_from_slice(&holder.device.to_be_bytes());
        token.extend_from_slice(&expires_s.to_be_bytes());
        let mac = self.mac(&token);
        token.extend_from_slice(&mac);
        URL_SAFE_NO_PAD.encode(token)
    }

    pub fn check(&self, token: Option<&str>, now_s: u64) -> Result<Holder, AuthError> {
        let bytes = token.and_then(|token| URL_SAFE_NO_PAD.decode(token).ok());
        let bytes = bytes.ok_or(AuthError::Unknown)?;
        let (claim, mac) = bytes.split_last_chunk::<MAC_BYTES>().ok_or(AuthError::Unknown)?;
        let claim: &[u8; CLAIM_BYTES] = claim.try_into().map_err(|_| AuthError::Unknown)?;
        if !bool::from(self.mac(claim).ct_eq(mac)) {
            return Err(AuthError::Unknown);
        }
        let [e0, e1, e2, e3, a0, a1, a2, a3, d0, d1, until @ ..] = *claim;
        let is_current = u32::from_be_bytes([e0, e1, e2, e3]) == self.epoch.load(Ordering::Relaxed);
        if !is_current || u64::from_be_bytes(until) <= now_s {
            return Err(AuthError::Expired);
        }
        Ok(Holder {
            account: u32::from_be_bytes([a0, a1, a2, a3]),
            device: u16::from_be_bytes([d0, d1]),
        })
    }

    /// Makes all tokens given out so far worthless.
    pub fn expire(&self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    fn mac(&self, claim: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac =
            <Hmac<Sha256> as KeyInit>::new_from_slice(&self.key).expect("HMAC takes keys of every length");
        mac.update(claim);
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        let mut short = [0; MAC_BYTES];
        short.copy_from_slice(&full[..MAC_BYTES]);
        short
    }
}
