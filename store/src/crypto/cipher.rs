//! AES-256-GCM, and derived ciphers kept for the next value.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use hkdf::Hkdf;
use roost_domain::TenantId;
use roost_domain::store::StoreError;
use sha2::Sha256;

pub(super) const NONCE_BYTES: usize = 12;
pub(super) const TAG_BYTES: usize = 16;
/// Ciphers kept derived, about a kilobyte each; one more empties the cache.
const CIPHERS_CACHED_MAX: usize = 8192;

/// What a ciphertext calls the master key that it needs: derived from the key, and no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyId(pub(crate) [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which of a tenant's keys: what it is for, of what, and which share of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Scope {
    pub(super) kind: Kind,
    pub(super) id: u128,
    pub(super) share: u64,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Instance,
    Webhook,
    Messages,
    Events,
    Replies,
    Deliveries,
}

/// Derived ciphers of one generation of master keys.
#[derive(Default)]
pub(super) struct Ciphers(Mutex<HashMap<(KeyId, TenantId, Scope), Arc<Aes256Gcm>>>);

impl Ciphers {
    /// The cipher of a scope, derived when it is not there.
    pub(super) fn get(
        &self,
        key: KeyId,
        tenant: TenantId,
        scope: Scope,
        derive: impl FnOnce() -> Aes256Gcm,
    ) -> Arc<Aes256Gcm> {
        let mut ciphers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cipher) = ciphers.get(&(key, tenant, scope)) {
            return cipher.clone();
        }
        if ciphers.len() >= CIPHERS_CACHED_MAX {
            ciphers.clear();
        }
        let cipher = Arc::new(derive());
        ciphers.insert((key, tenant, scope), cipher.clone());
        cipher
    }

    pub(super) fn forget(&self, tenant: TenantId) {
        let mut ciphers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ciphers.retain(|(_, of, _), _| *of != tenant);
    }
}

/// `nonce | text and tag`
pub(super) fn seal_parts(
    cipher: &Aes256Gcm,
    nonce: &[u8; NONCE_BYTES],
    identity: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let mut sealed = Vec::with_capacity(NONCE_BYTES + plain.len() + TAG_BYTES);
    seal_onto(&mut sealed, cipher, nonce, identity, plain)?;
    Ok(sealed)
}

/// Appends `nonce | text and tag`.
pub(super) fn seal_onto(
    sealed: &mut Vec<u8>,
    cipher: &Aes256Gcm,
    nonce: &[u8; NONCE_BYTES],
    identity: &[u8],
    plain: &[u8],
) -> Result<(), StoreError> {
    sealed.extend_from_slice(nonce);
    let start = sealed.len();
    sealed.extend_from_slice(plain);
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(*nonce), identity, (&mut sealed[start..]).into())
        .map_err(|_| StoreError::Corrupt("a value is too long to be encrypted".to_owned()))?;
    sealed.extend_from_slice(&tag);
    Ok(())
}

/// Opens `nonce | text and tag`.
pub(super) fn open_parts(
    cipher: &Aes256Gcm,
    mut sealed: Vec<u8>,
    identity: &[u8],
) -> Result<Vec<u8>, StoreError> {
    let Some((nonce, rest)) = sealed.split_first_chunk_mut::<NONCE_BYTES>() else {
        return Err(too_short());
    };
    let Some((text, tag)) = rest.split_last_chunk_mut::<TAG_BYTES>() else {
        return Err(too_short());
    };
    let length = text.len();
    cipher
        .decrypt_inout_detached(&Nonce::from(*nonce), identity, text.into(), &Tag::from(*tag))
        .map_err(|_| StoreError::Corrupt("an encrypted value does not belong to its row".to_owned()))?;
    sealed.copy_within(NONCE_BYTES..NONCE_BYTES + length, 0);
    sealed.truncate(length);
    Ok(sealed)
}

pub(super) fn too_short() -> StoreError {
    StoreError::Corrupt("an encrypted value is too short".to_owned())
}

pub(super) fn unknown_key(id: KeyId) -> StoreError {
    StoreError::Corrupt(format!(
        "a value is encrypted under master key {id}, which is not known"
    ))
}

pub(super) fn expand(from: &Hkdf<Sha256>, info: &[&[u8]], out: &mut [u8]) {
    // HKDF-SHA256 gives up to 8,160 bytes; nobody here asks for more than 32.
    let _ = from.expand_multi_info(info, out);
}
