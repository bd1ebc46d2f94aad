//! Encryption at rest.
//!
//! Every key comes from the master key by HKDF-SHA256. A tenant's key is derived with the random salt
//! in its row: without the row the key is gone for good, which is how a tenant's secrets are
//! destroyed. Rows of an instance and of a webhook get a key of their own derived from the tenant's, so
//! that no key ever sees so many random nonces that two could meet.
//!
//! A ciphertext is `version (1) | key id (4) | nonce (12) | AES-256-GCM text and tag`. The row's
//! identity is the associated data: a value copied to another row does not open.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use roost_domain::store::StoreError;
use roost_domain::time::Entropy;
use roost_domain::{InstanceId, TenantId, WebhookId};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::MasterKey;

const VERSION: u8 = 1;
const NONCE_BYTES: usize = 12;
const HEADER_BYTES: usize = 1 + 4 + NONCE_BYTES;
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
    master: Hkdf<Sha256>,
    key_id: [u8; 4],
    pepper: Zeroizing<[u8; 32]>,
    stream_tokens: Zeroizing<[u8; 32]>,
    entropy: Arc<dyn Entropy>,
    tenants: Mutex<HashMap<TenantId, Arc<TenantKey>>>,
    /// Tenants whose keys are destroyed: one that is still being used is not kept again.
    destroyed: Mutex<HashSet<TenantId>>,
}

impl Keyring {
    pub(crate) fn new(master: &MasterKey, entropy: Arc<dyn Entropy>) -> Self {
        let master = Hkdf::<Sha256>::new(Some(b"roost master"), master.bytes());
        let mut key_id = [0; 4];
        expand(&master, &[b"key id"], &mut key_id);
        let mut pepper = Zeroizing::new([0; 32]);
        expand(&master, &[b"api key pepper"], &mut *pepper);
        let mut stream_tokens = Zeroizing::new([0; 32]);
        expand(&master, &[b"stream tokens"], &mut *stream_tokens);
        Self {
            master,
            key_id,
            pepper,
            stream_tokens,
            entropy,
            tenants: Mutex::default(),
            destroyed: Mutex::default(),
        }
    }

    /// A value by which a database knows its master key, and which says nothing about it.
    pub(crate) fn check_value(&self) -> String {
        let mut value = [0; 16];
        expand(&self.master, &[b"check value"], &mut value);
        hex::encode(value)
    }

    /// HMAC-SHA256 of an API key's text.
    pub(crate) fn api_key_hash(&self, text: &str) -> [u8; 32] {
        hmac(&self.pepper, text.as_bytes())
    }

    /// HMAC-SHA256 of a stream token's payload.
    pub(crate) fn stream_token_mac(&self, payload: &[u8]) -> [u8; 32] {
        hmac(&self.stream_tokens, payload)
    }

    /// A new tenant's salt.
    pub(crate) fn new_salt(&self) -> [u8; SALT_BYTES] {
        let mut salt = [0; SALT_BYTES];
        self.entropy.fill(&mut salt);
        salt
    }

    /// A tenant's key, when it was derived before.
    pub(crate) fn cached(&self, tenant: TenantId) -> Option<Arc<TenantKey>> {
        self.tenants
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&tenant)
            .cloned()
    }

    /// A tenant's key.
    pub(crate) fn tenant(&self, tenant: TenantId, salt: &[u8]) -> Arc<TenantKey> {
        if let Some(key) = self.cached(tenant) {
            return key;
        }
        let id = tenant.to_u128().to_be_bytes();
        let mut seed = Zeroizing::new([0; 32]);
        expand(&self.master, &[b"tenant", &id, salt], &mut *seed);
        let key = Arc::new(TenantKey {
            tenant,
            derive: Hkdf::<Sha256>::new(None, &*seed),
            key_id: self.key_id,
            entropy: self.entropy.clone(),
        });
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Lets go of the key of a tenant whose salt is destroyed.
    pub(crate) fn forget(&self, tenant: TenantId) {
        // In the order in which `tenant` takes them.
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let mut destroyed = self.destroyed.lock().unwrap_or_else(PoisonError::into_inner);
        destroyed.insert(tenant);
        tenants.remove(&tenant);
    }
}

fn hmac(key: &[u8; 32], text: &[u8]) -> [u8; 32] {
    // HMAC takes keys of every length.
    match <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key) {
        Ok(mut mac) => {
            mac.update(text);
            mac.finalize().into_bytes().into()
        }
        Err(_) => [0; 32],
    }
}

/// A tenant's key, from which those of its instances and webhooks are derived.
pub(crate) struct TenantKey {
    tenant: TenantId,
    derive: Hkdf<Sha256>,
    key_id: [u8; 4],
    entropy: Arc<dyn Entropy>,
}

impl TenantKey {
    /// The key for the rows of an instance.
    pub(crate) fn instance(&self, instance: InstanceId) -> ResourceKey<'_> {
        self.resource(b"instance", instance.to_u128())
    }

    /// The key for the rows of a webhook.
    pub(crate) fn webhook(&self, webhook: WebhookId) -> ResourceKey<'_> {
        self.resource(b"webhook", webhook.to_u128())
    }

    fn resource(&self, kind: &[u8], id: u128) -> ResourceKey<'_> {
        let mut key = Zeroizing::new([0; 32]);
        expand(&self.derive, &[kind, &id.to_be_bytes()], &mut *key);
        ResourceKey {
            of: self,
            id,
            cipher: Aes256Gcm::new((&*key).into()),
        }
    }
}

/// Seals and opens values of one instance or one webhook.
pub(crate) struct ResourceKey<'a> {
    of: &'a TenantKey,
    id: u128,
    cipher: Aes256Gcm,
}

/// What row a value belongs to, within its instance or webhook.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// A row of the link state.
    LinkState { collection: i16, key: &'a str },
    /// The proxy in the instance's own row.
    Proxy,
    /// The headers in the webhook's own row.
    WebhookHeaders,
    /// A row of the webhook's secrets.
    WebhookSecret { number: i64 },
}

impl ResourceKey<'_> {
    pub(crate) fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let mut sealed = Vec::with_capacity(HEADER_BYTES + plain.len() + 16);
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.of.key_id);
        let mut nonce = [0; NONCE_BYTES];
        self.of.entropy.fill(&mut nonce);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = self
            .cipher
            .encrypt_inout_detached(
                &Nonce::from(nonce),
                &self.identity(place),
                (&mut sealed[HEADER_BYTES..]).into(),
            )
            .map_err(|_| StoreError::Corrupt("a value is too long to be encrypted".to_owned()))?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    pub(crate) fn open(&self, place: Place<'_>, mut sealed: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let header: [u8; HEADER_BYTES] = sealed
            .get(..HEADER_BYTES)
            .and_then(|header| header.try_into().ok())
            .ok_or_else(|| StoreError::Corrupt("an encrypted value is too short".to_owned()))?;
        if header[0] != VERSION || header[1..5] != self.of.key_id {
            return Err(StoreError::Corrupt(
                "a value is encrypted under an unknown key".to_owned(),
            ));
        }
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&header[5..]);
        sealed.drain(..HEADER_BYTES);
        self.cipher
            .decrypt_in_place(&Nonce::from(nonce), &self.identity(place), &mut sealed)
            .map_err(|_| StoreError::Corrupt("an encrypted value does not belong to its row".to_owned()))?;
        Ok(sealed)
    }

    /// The associated data. Fields of fixed length come first and the key last, so that no two rows
    /// share one.
    fn identity(&self, place: Place<'_>) -> Vec<u8> {
        let mut identity = Vec::with_capacity(96);
        identity.extend_from_slice(&self.of.tenant.to_u128().to_be_bytes());
        identity.extend_from_slice(&self.id.to_be_bytes());
        match place {
            Place::LinkState { collection, key } => {
                identity.push(b'l');
                identity.extend_from_slice(&collection.to_be_bytes());
                identity.extend_from_slice(key.as_bytes());
            }
            Place::Proxy => identity.push(b'p'),
            Place::WebhookHeaders => identity.push(b'h'),
            Place::WebhookSecret { number } => {
                identity.push(b's');
                identity.extend_from_slice(&number.to_be_bytes());
            }
        }
        identity
    }
}

fn expand(from: &Hkdf<Sha256>, info: &[&[u8]], out: &mut [u8]) {
    // HKDF-SHA256 gives up to 8,160 bytes; nobody here asks for more than 32.
    let _ = from.expand_multi_info(info, out);
}

#[cfg(test)]
mod tests;
