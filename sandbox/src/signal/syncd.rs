//! The cryptography of app state: encrypted records under keyed indexes, changed by patches whose
//! MACs chain the whole collection through a hash that can be added to and subtracted from.
//!
//! A virtual phone keeps one [`Replica`] per collection: it checks and applies what its companions
//! wrote, and composes patches and snapshots of its own. Pure computation; the server stores patches
//! and can make a replica again from them.

use std::collections::{BTreeMap, HashMap};

use prost::Message as _;

use super::primitive::{hkdf_sha256, hmac_sha256};
use super::proto::{
    KeyId, SyncActionValue, SyncdMutation, SyncdOperation, SyncdPatch, SyncdRecord, SyncdSnapshot,
    SyncdVersion,
};

mod keys;
mod record;
#[cfg(test)]
mod tests;

pub use keys::Keyring;
use keys::Keys;
use record::{Sealed, is_equal, open, seal};

const IV_BYTES: usize = 16;
const MAC_BYTES: usize = 32;
const HASH_BYTES: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncdError {
    #[error("the patch is not a protobuf")]
    Malformed,
    #[error("the {0} is missing")]
    Missing(&'static str),
    #[error("no key with this id was shared")]
    UnknownKey,
    #[error("the operation is neither set nor remove")]
    UnknownOperation,
    #[error("the value is too short")]
    Short,
    #[error("the MAC of a value is wrong")]
    ValueMac,
    #[error("the MAC of an index is wrong")]
    IndexMac,
    #[error("a value cannot be decrypted")]
    Undecryptable,
    #[error("the patch's MAC is wrong")]
    PatchMac,
    #[error("the snapshot MAC is wrong: the collection differs from the sender's")]
    SnapshotMac,
    #[error("the version is {found} where {expected} is next")]
    Version { found: u64, expected: u64 },
}

/// A sum of hashes, lane by lane: what was added can be taken out again, in any order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LtHash([u8; HASH_BYTES]);

impl LtHash {
    fn add(&mut self, mac: &[u8; MAC_BYTES]) {
        self.fold(mac, u16::wrapping_add);
    }

    fn subtract(&mut self, mac: &[u8; MAC_BYTES]) {
        self.fold(mac, u16::wrapping_sub);
    }

    fn fold(&mut self, mac: &[u8; MAC_BYTES], combine: fn(u16, u16) -> u16) {
        let expanded: [u8; HASH_BYTES] = hkdf_sha256(None, mac, b"WhatsApp Patch Integrity");
        let (lanes, _) = self.0.as_chunks_mut::<2>();
        let (added, _) = expanded.as_chunks::<2>();
        for (lane, added) in lanes.iter_mut().zip(added) {
            *lane = combine(u16::from_le_bytes(*lane), u16::from_le_bytes(*added)).to_le_bytes();
        }
    }
}

/// A change in the clear.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub operation: SyncdOperation,
    /// What the record is about: the kind of action, then what it is done to.
    pub index: Vec<String>,
    pub value: SyncActionValue,
    /// The version of the action's schema.
    pub version: i32,
}

/// One record of a collection, open and as it travels.
#[derive(Clone, Debug)]
pub struct Entry {
    pub index: Vec<String>,
    pub value: SyncActionValue,
    /// The version of the collection that it came with; 0 when it came with a snapshot.
    pub since: u64,
    value_mac: [u8; MAC_BYTES],
    record: SyncdRecord,
}

/// One collection as a device sees it.
#[derive(Clone, Debug)]
pub struct Replica {
    version: u64,
    hash: LtHash,
    /// By the MAC of the index. Boxed, because the map makes room for eleven where there is one.
    entries: BTreeMap<[u8; MAC_BYTES], Box<Entry>>,
}

impl Default for Replica {
    fn default() -> Self {
        Self {
            version: 0,
            hash: LtHash([0; HASH_BYTES]),
            entries: BTreeMap::new(),
        }
    }
}

impl Replica {
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().map(Box::as_ref)
    }

    /// Checks a patch and applies it; one that fails leaves the replica as it was. Mutations that were
    /// in an external blob are put into the patch before.
    pub fn apply(
        &mut self,
        name: &str,
        patch: &SyncdPatch,
        keyring: &Keyring,
    ) -> Result<Vec<Change>, SyncdError> {
        let found = patch
            .version
            .as_ref()
            .and_then(|version| version.version)
            .unwrap_or(0);
        let expected = self.version + 1;
        if found != expected {
            return Err(SyncdError::Version { found, expected });
        }
        let (_, keys) = keyring.get(patch.key_id.as_ref())?;
        let macs = value_macs(&patch.mutations)?;
        let snapshot_mac = patch
            .snapshot_mac
            .as_deref()
            .ok_or(SyncdError::Missing("snapshot MAC"))?;
        let computed = patch_mac(keys, snapshot_mac, &macs, expected, name);
        if !is_equal(&computed, patch.patch_mac.as_deref()) {
            return Err(SyncdError::PatchMac);
        }
        let mut draft = self.draft();
        let mut changes = Vec::with_capacity(patch.mutations.len());
        for mutation in &patch.mutations {
            changes.push(draft.apply(mutation, keyring)?);
        }
        if !is_equal(&draft.snapshot_mac(keys, name), Some(snapshot_mac)) {
            return Err(SyncdError::SnapshotMac);
        }
        let Draft {
            version,
            hash,
            changed,
            ..
        } = draft;
        (self.version, self.hash) = (version, hash);
        for (index_mac, entry) in changed {
            match entry {
                Some(entry) => self.entries.insert(index_mac, entry),
                None => self.entries.remove(&index_mac),
            };
        }
        Ok(changes)
    }

    /// Takes the entries out that say what `change` says, under the index of an older key.
    fn outdated(
        &self,
        change: &Change,
        current: &[u8],
        keyring: &Keyring,
    ) -> Result<Vec<SyncdMutation>, SyncdError> {
        let same = self.entries.values().filter(|entry| entry.index == change.index);
        let old = same.filter_map(|entry| {
            let id = entry.record.key_id.as_ref();
            let is_old = id.is_some_and(|id| id.id.as_deref() != Some(current));
            id.filter(|_| is_old)
        });
        let removals = old.map(|id| {
            let (_, keys) = keyring.get(Some(id))?;
            let removal = Change {
                operation: SyncdOperation::Remove,
                ..change.clone()
            };
            Ok(seal(&removal, id, keys))
        });
        removals.collect()
    }

    fn draft(&self) -> Draft<'_> {
        Draft {
            base: self,
            version: self.version + 1,
            hash: self.hash.clone(),
            changed: HashMap::new(),
        }
    }

    /// The patch that makes `changes` to this replica, encoded without its version: the server writes
    /// that.
    pub fn compose(&self, name: &str, changes: &[Change], keyring: &Keyring) -> Result<Vec<u8>, SyncdError> {
        let (id, keys) = keyring.current()?;
        let key_id = KeyId {
            id: Some(id.to_vec()),
        };
        let mut mutations = Vec::new();
        for change in changes {
            let outdated = self.outdated(change, id, keyring)?;
            // What is only there under an older key is removed by that alone.
            let is_done = change.operation == SyncdOperation::Remove && !outdated.is_empty();
            mutations.extend(outdated);
            if !is_done {
                mutations.push(seal(change, &key_id, keys));
            }
        }
        let mut draft = self.draft();
        for mutation in &mutations {
            draft.apply(mutation, keyring)?;
        }
        let snapshot_mac = draft.snapshot_mac(keys, name);
        let macs = value_macs(&mutations)?;
        let patch_mac = patch_mac(keys, &snapshot_mac, &macs, draft.version, name);
        let patch = SyncdPatch {
            mutations,
            snapshot_mac: Some(snapshot_mac.to_vec()),
            patch_mac: Some(patch_mac.to_vec()),
            key_id: Some(key_id),
            ..SyncdPatch::default()
        };
        Ok(patch.encode_to_vec())
    }

    /// The whole collection, for devices that have nothing of it.
    pub fn snapshot(&self, name: &str, keyring: &Keyring) -> Result<SyncdSnapshot, SyncdError> {
        let (id, keys) = keyring.current()?;
        Ok(SyncdSnapshot {
            version: Some(SyncdVersion {
                version: Some(self.version),
            }),
            records: self.entries.values().map(|entry| entry.record.clone()).collect(),
            mac: Some(self.snapshot_mac(keys, name).to_vec()),
            key_id: Some(KeyId {
                id: Some(id.to_vec()),
            }),
        })
    }

    /// Reads a snapshot.
    pub fn restore(name: &str, snapshot: &SyncdSnapshot, keyring: &Keyring) -> Result<Self, SyncdError> {
        let (_, keys) = keyring.get(snapshot.key_id.as_ref())?;
        let version = snapshot.version.as_ref().and_then(|version| version.version);
        let mut replica = Self {
            version: version.ok_or(SyncdError::Missing("version"))?,
            ..Self::default()
        };
        for record in &snapshot.records {
            let opened = open(SyncdOperation::Set, record, keyring)?;
            replica.hash.add(&opened.value_mac);
            replica.entries.insert(opened.index_mac, opened.entry(record, 0));
        }
        if !is_equal(&replica.snapshot_mac(keys, name), snapshot.mac.as_deref()) {
            return Err(SyncdError::SnapshotMac);
        }
        Ok(replica)
    }

    fn snapshot_mac(&self, keys: &Keys, name: &str) -> [u8; MAC_BYTES] {
        snapshot_mac(keys, &self.hash, self.version, name)
    }
}

/// A replica with some mutations more, not adopted yet.
struct Draft<'a> {
    base: &'a Replica,
    version: u64,
    hash: LtHash,
    /// New entries; `None` is an entry that was removed.
    changed: HashMap<[u8; MAC_BYTES], Option<Box<Entry>>>,
}

impl Draft<'_> {
    fn apply(&mut self, mutation: &SyncdMutation, keyring: &Keyring) -> Result<Change, SyncdError> {
        let operation = SyncdOperation::try_from(mutation.operation.unwrap_or_default())
            .map_err(|_| SyncdError::UnknownOperation)?;
        let record = mutation.record.as_ref().ok_or(SyncdError::Missing("record"))?;
        let opened = open(operation, record, keyring)?;
        let old = match self.changed.get(&opened.index_mac) {
            Some(changed) => changed.as_ref(),
            None => self.base.entries.get(&opened.index_mac),
        };
        if let Some(old) = old {
            self.hash.subtract(&old.value_mac);
        }
        let entry = (operation == SyncdOperation::Set).then(|| {
            self.hash.add(&opened.value_mac);
            opened.entry(record, self.version)
        });
        self.changed.insert(opened.index_mac, entry);
        Ok(opened.change)
    }

    fn snapshot_mac(&self, keys: &Keys, name: &str) -> [u8; MAC_BYTES] {
        snapshot_mac(keys, &self.hash, self.version, name)
    }
}

fn snapshot_mac(keys: &Keys, hash: &LtHash, version: u64, name: &str) -> [u8; MAC_BYTES] {
    hmac_sha256(
        &keys.snapshot_mac,
        &[&hash.0, &version.to_be_bytes(), name.as_bytes()],
    )
}

fn patch_mac(
    keys: &Keys,
    snapshot_mac: &[u8],
    value_macs: &[u8],
    version: u64,
    name: &str,
) -> [u8; MAC_BYTES] {
    let version = version.to_be_bytes();
    let parts = [snapshot_mac, value_macs, &version, name.as_bytes()];
    hmac_sha256(&keys.patch_mac, &parts)
}

/// The MACs of all values, one after the other.
fn value_macs(mutations: &[SyncdMutation]) -> Result<Vec<u8>, SyncdError> {
    let mut macs = Vec::with_capacity(mutations.len() * MAC_BYTES);
    for mutation in mutations {
        let record = mutation.record.as_ref().ok_or(SyncdError::Missing("record"))?;
        macs.extend_from_slice(Sealed::of(record)?.mac);
    }
    Ok(macs)
}
