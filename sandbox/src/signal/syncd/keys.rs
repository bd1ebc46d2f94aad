//! The keys app state is encrypted with, and which of them a device knows.

use std::collections::HashMap;

use super::SyncdError;
use crate::signal::primitive::hkdf_sha256;
use crate::signal::proto::KeyId;

/// The keys that are made of one shared app-state key.
#[derive(Clone)]
pub(super) struct Keys {
    pub index: [u8; 32],
    pub value: [u8; 32],
    pub value_mac: [u8; 32],
    pub snapshot_mac: [u8; 32],
    pub patch_mac: [u8; 32],
}

impl Keys {
    pub fn expand(shared: &[u8; 32]) -> Self {
        let expanded: [u8; 160] = hkdf_sha256(None, shared, b"WhatsApp Mutation Keys");
        let (keys, _) = expanded.as_chunks::<32>();
        Self {
            index: keys[0],
            value: keys[1],
            value_mac: keys[2],
            snapshot_mac: keys[3],
            patch_mac: keys[4],
        }
    }
}

/// The keys a device knows, by id, and the one it writes with.
#[derive(Clone, Default)]
pub struct Keyring {
    /// Boxed, because the map makes room for several where there is one.
    keys: HashMap<Vec<u8>, Box<Keys>>,
    current: Vec<u8>,
}

impl Keyring {
    /// Adds a key, which is written with from now on.
    pub fn add(&mut self, id: &[u8], shared: &[u8; 32]) {
        self.keys.insert(id.to_vec(), Box::new(Keys::expand(shared)));
        self.current = id.to_vec();
    }

    pub(super) fn get(&self, id: Option<&KeyId>) -> Result<(&[u8], &Keys), SyncdError> {
        let id = id
            .and_then(|id| id.id.as_deref())
            .ok_or(SyncdError::Missing("key id"))?;
        let (id, keys) = self.keys.get_key_value(id).ok_or(SyncdError::UnknownKey)?;
        Ok((id, keys))
    }

    pub(super) fn current(&self) -> Result<(&[u8], &Keys), SyncdError> {
        let keys = self.keys.get(&self.current).ok_or(SyncdError::UnknownKey)?;
        Ok((&self.current, keys))
    }
}
