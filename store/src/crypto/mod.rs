//! Encryption at rest: the only part that sees keys.
//!
//! Every key comes from a master key by HKDF-SHA256. Several master keys may be known: the first one
//! seals, all of them open, and a ciphertext names the one that it needs. A tenant's key is derived with
//! the random salt in its row: without the row the key is gone for good, which is how a tenant's secrets
//! are destroyed. What a tenant has gets keys derived from the tenant's in turn, per instance, per
//! webhook, per share of its log: no key ever sees so many random nonces that two could meet.
//!
//! In a binary column a ciphertext is `version (1) | key id (4) | nonce (12) | AES-256-GCM text and tag`,
//! in a text column the same as text, see [`sealed`]. The row's identity is the associated data: a value
//! copied to another row does not open. A text that is not sealed is read as it is, so that
//! `store.encrypt_messages` can be turned on and off with rows there.
//!
//! The pepper of API keys and the key of stream tokens are random, and sealed themselves in `meta`: a
//! change of master keys leaves API keys valid.

mod cipher;
mod master;
pub(crate) mod sealed;
mod tenant;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use hmac::{Hmac, Mac};
use roost_domain::TenantId;
use roost_domain::store::StoreError;
use roost_domain::time::Entropy;
use sha2::Sha256;
use zeroize::Zeroizing;

pub(crate) use self::cipher::KeyId;
use self::cipher::{Ciphers, seal_parts};
pub(crate) use self::master::Master;
pub(crate) use self::tenant::{Place, ResourceKey, TenantKey, VERSION, key_of};
use crate::MasterKeys;

/// Tenant keys kept derived; one more empties the cache, which costs a derivation each.
const TENANTS_CACHED_MAX: usize = 10_000;

/// Bytes of a tenant's salt.
pub(crate) const SALT_BYTES: usize = 32;

/// Whether a tenant's salt, and with it the tenant's key, is destroyed.
pub(crate) fn is_destroyed(salt: &[u8]) -> bool {
    salt.iter().all(|byte| *byte == 0)
}

/// Derives and keeps keys.
pub(crate) struct Keyring {
    masters: RwLock<Arc<Generation>>,
    /// Tenants whose keys are destroyed: one that is still being used is not kept again.
    destroyed: Mutex<HashSet<TenantId>>,
    secrets: OnceLock<Secrets>,
    seals_messages: bool,
    entropy: Arc<dyn Entropy>,
}

/// What the master keys were between two changes of them.
struct Generation {
    /// The first one seals.
    masters: Vec<Arc<Master>>,
    tenants: Mutex<HashMap<TenantId, Arc<TenantKey>>>,
    ciphers: Arc<Ciphers>,
    /// Every tenant key of this generation holds it.
    in_use: Arc<()>,
}

/// Keys that a change of master keys does not change.
pub(crate) struct Secrets {
    /// Of API keys' hashes.
    pub(crate) pepper: Zeroizing<[u8; 32]>,
    /// Of stream tokens.
    pub(crate) stream_token: Zeroizing<[u8; 32]>,
}

/// A generation that was replaced.
pub(crate) struct Retired(Arc<()>);

impl Retired {
    /// Whether somebody may still be sealing with it.
    pub(crate) fn in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Generation {
    fn new(masters: Vec<Arc<Master>>) -> Self {
        Self {
            masters,
            tenants: Mutex::default(),
            ciphers: Arc::default(),
            in_use: Arc::default(),
        }
    }
}

impl Keyring {
    /// Keys from these master keys.
    pub(crate) fn new(keys: &MasterKeys, seals_messages: bool, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            masters: RwLock::new(Arc::new(Generation::new(masters(keys)))),
            destroyed: Mutex::default(),
            secrets: OnceLock::new(),
            seals_messages,
            entropy,
        }
    }

    /// Replaces the master keys. Whoever holds a tenant's key already seals on with it; the answer tells
    /// when they have all let go.
    pub(crate) fn replace(&self, keys: &MasterKeys) -> Retired {
        let next = Arc::new(Generation::new(masters(keys)));
        let mut current = self.masters.write().unwrap_or_else(PoisonError::into_inner);
        let last = std::mem::replace(&mut *current, next);
        drop(current);
        Retired(last.in_use.clone())
    }

    fn generation(&self) -> Arc<Generation> {
        self.masters
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The master keys, of which the first one seals.
    pub(crate) fn masters(&self) -> Vec<Arc<Master>> {
        self.generation().masters.clone()
    }

    /// Id of the master key that seals.
    pub(crate) fn sealing_id(&self) -> KeyId {
        self.generation().masters[0].id()
    }

    /// Whether what messages say is sealed.
    pub(crate) fn seals_messages(&self) -> bool {
        self.seals_messages
    }

    /// Takes what the database keeps sealed; the first call counts.
    pub(crate) fn keep(&self, secrets: Secrets) {
        let _ = self.secrets.set(secrets);
    }

    /// What a database that keeps nothing sealed yet works with.
    fn secrets(&self) -> &Secrets {
        self.secrets
            .get_or_init(|| self.generation().masters[0].derived_secrets())
    }

    /// Secrets of a new database.
    pub(crate) fn new_secrets(&self) -> Secrets {
        let (mut pepper, mut stream_token) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        self.entropy.fill(&mut *pepper);
        self.entropy.fill(&mut *stream_token);
        Secrets { pepper, stream_token }
    }

    /// Seals a fact about the database itself, as text.
    pub(crate) fn seal_meta(&self, name: &str, plain: &[u8]) -> Result<String, StoreError> {
        let generation = self.generation();
        let master = &generation.masters[0];
        let mut nonce = [0; cipher::NONCE_BYTES];
        self.entropy.fill(&mut nonce);
        let sealed = seal_parts(&master.meta_cipher(), &nonce, name.as_bytes(), plain)?;
        Ok(sealed::write(master.id(), &sealed))
    }

    /// Opens a fact about the database itself.
    pub(crate) fn open_meta(&self, name: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let (id, bytes) = sealed::read(text)?;
        let generation = self.generation();
        let master = generation.masters.iter().find(|master| master.id() == id);
        let cipher = master.ok_or_else(|| cipher::unknown_key(id))?.meta_cipher();
        cipher::open_parts(&cipher, bytes, name.as_bytes()).map(Zeroizing::new)
    }

    /// HMAC-SHA256 of an API key's text.
    pub(crate) fn api_key_hash(&self, text: &str) -> [u8; 32] {
        mac(&self.secrets().pepper, text.as_bytes())
    }

    /// HMAC-SHA256 of a stream token's payload.
    pub(crate) fn stream_token_mac(&self, payload: &[u8]) -> [u8; 32] {
        mac(&self.secrets().stream_token, payload)
    }

    /// A new tenant's salt.
    pub(crate) fn new_salt(&self) -> [u8; SALT_BYTES] {
        let mut salt = [0; SALT_BYTES];
        self.entropy.fill(&mut salt);
        salt
    }

    /// A tenant's key, when it was derived before.
    pub(crate) fn cached(&self, tenant: TenantId) -> Option<Arc<TenantKey>> {
        let generation = self.generation();
        let tenants = generation.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.get(&tenant).cloned()
    }

    /// A tenant's key.
    pub(crate) fn tenant(&self, tenant: TenantId, salt: &[u8]) -> Arc<TenantKey> {
        let generation = self.generation();
        let mut tenants = generation.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = tenants.get(&tenant) {
            return key.clone();
        }
        let key = Arc::new(TenantKey::new(
            tenant,
            &generation.masters,
            salt,
            generation.ciphers.clone(),
            generation.in_use.clone(),
            self.entropy.clone(),
        ));
        let destroyed = self.destroyed.lock().unwrap_or_else(PoisonError::into_inner);
        if destroyed.contains(&tenant) {
            return key;
        }
        if tenants.len() >= TENANTS_CACHED_MAX {
            tenants.clear();
        }
        tenants.insert(tenant, key.clone());
        key
    }

    /// Lets go of the key of a tenant whose salt is destroyed, and of what was derived from it.
    pub(crate) fn forget(&self, tenant: TenantId) {
        let generation = self.generation();
        // In the order in which `tenant` takes them.
        let mut tenants = generation.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let mut destroyed = self.destroyed.lock().unwrap_or_else(PoisonError::into_inner);
        destroyed.insert(tenant);
        tenants.remove(&tenant);
        generation.ciphers.forget(tenant);
    }
}

fn masters(keys: &MasterKeys) -> Vec<Arc<Master>> {
    let mut masters = vec![Arc::new(Master::new(&keys.first))];
    for key in &keys.further {
        let master = Master::new(key);
        if masters.iter().all(|known| known.id() != master.id()) {
            masters.push(Arc::new(master));
        }
    }
    masters
}

fn mac(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    // HMAC takes keys of every length.
    match <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(text);
            mac.finalize().into_bytes().into()
        }
        Err(_) => [0; 32],
    }
}

#[cfg(test)]
mod tests;
