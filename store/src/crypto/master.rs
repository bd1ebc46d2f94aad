//! One master key, and what comes from it alone.

use aes_gcm::{Aes256Gcm, KeyInit};
use hkdf::Hkdf;
use roost_domain::TenantId;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::Secrets;
use super::cipher::{KeyId, expand};
use crate::MasterKey;

/// See the module.
pub(crate) struct Master {
    derive: Hkdf<Sha256>,
    id: KeyId,
}

impl Master {
    pub(crate) fn new(key: &MasterKey) -> Self {
        let derive = Hkdf::<Sha256>::new(Some(b"roost master"), key.bytes());
        let mut id = [0; 4];
        expand(&derive, &[b"key id"], &mut id);
        Self {
            derive,
            id: KeyId(id),
        }
    }

    /// What ciphertexts call it.
    pub(crate) fn id(&self) -> KeyId {
        self.id
    }

    /// A value by which a database knows its master key, and which says nothing about it.
    pub(crate) fn check_value(&self) -> String {
        let mut value = [0; 16];
        expand(&self.derive, &[b"check value"], &mut value);
        hex::encode(value)
    }

    /// What earlier releases worked with, which kept nothing sealed.
    pub(crate) fn derived_secrets(&self) -> Secrets {
        let (mut pepper, mut stream_token) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 32]));
        expand(&self.derive, &[b"api key pepper"], &mut *pepper);
        expand(&self.derive, &[b"stream tokens"], &mut *stream_token);
        Secrets { pepper, stream_token }
    }

    /// For facts about the database itself: a handful of values, sealed once per rotation.
    pub(super) fn meta_cipher(&self) -> Aes256Gcm {
        let mut key = Zeroizing::new([0; 32]);
        expand(&self.derive, &[b"meta"], &mut *key);
        Aes256Gcm::new((&*key).into())
    }

    /// What a tenant's keys are derived from.
    pub(super) fn tenant_root(&self, tenant: TenantId, salt: &[u8]) -> Hkdf<Sha256> {
        let id = tenant.to_u128().to_be_bytes();
        let mut seed = Zeroizing::new([0; 32]);
        expand(&self.derive, &[b"tenant", &id, salt], &mut *seed);
        Hkdf::<Sha256>::new(None, &*seed)
    }
}
