//! App state as the phone sees it: it reads what its companions wrote, checks every MAC, and writes
//! patches of its own.
//!
//! The patches themselves are the account's; what is here is made from them as they come, and made
//! again after a restart. Only the keys are kept. A patch that fails a check stops its collection where it was, as
//! on a real phone: the fault is shown, and the phone writes nothing there any more.

mod action;
mod blob;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use action::Action;

use crate::server::account::{Account, Collection};
use crate::server::media::Media;
use crate::server::persist::{Rows, Table};
use crate::server::service::Service;
use crate::server::stanza::app_state::announce;
use crate::server::sync::lock;
use crate::signal::proto::{
    ExternalBlobReference, ProtoMessage, SyncdMutations, SyncdPatch, SyncdPatchVersion,
};
use crate::signal::syncd::{Change, Keyring, Replica, SyncdError};
use crate::wire::jid::Domain;

/// Keys a phone has made; enough that nobody needs an older one.
const KEYS_MAX: usize = 64;
/// The name of the setting that holds the keys.
pub(super) const KEYS: &str = "app_state_keys";

/// A key companions encrypt app state with.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct AppStateKey {
    #[serde(with = "serde_bytes")]
    pub id: [u8; 6],
    #[serde(with = "serde_bytes")]
    pub key: [u8; 32],
}

impl AppStateKey {
    fn generate(epoch: u32) -> Self {
        let mut id = [0; 6];
        id[2..].copy_from_slice(&epoch.to_be_bytes());
        let key = rand::random();
        Self { id, key }
    }

    fn epoch(&self) -> u32 {
        let [_, _, epoch @ ..] = self.id;
        u32::from_be_bytes(epoch)
    }
}

/// The phone's keys and its view of the collections.
pub(super) struct AppState {
    /// The last one is written with.
    keys: Vec<AppStateKey>,
    keyring: Keyring,
    /// Boxed, because the map makes room for eleven where there is one.
    mirrors: BTreeMap<String, Box<Mirror>>,
}

/// One collection, up to the last patch that was good.
#[derive(Default)]
struct Mirror {
    replica: Replica,
    fault: Option<Fault>,
    /// Where all of it is for new companions, as it was at a version.
    snapshot: Option<(u64, ExternalBlobReference)>,
}

/// The patch the phone could not apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub version: u64,
    pub detail: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::server) enum WriteError {
    #[error("collection {collection} stopped at version {}: {}", fault.version, fault.detail)]
    Broken { collection: &'static str, fault: Fault },
    #[error("collection {0} holds its limit of patches")]
    Full(&'static str),
    #[error("the app state of the account would take over {0} bytes")]
    NoRoom(usize),
    #[error("the phone's own patch is not usable: {0}")]
    Unusable(#[from] SyncdError),
}

/// One collection as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CollectionView {
    pub name: String,
    /// The version the phone is at; companions may be ahead of it when there is a fault.
    pub version: u64,
    pub fault: Option<Fault>,
    pub entries: Vec<EntryView>,
}

/// One record of a collection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EntryView {
    #[serde(flatten)]
    pub action: Action,
    pub index: Vec<String>,
    /// Unix milliseconds, as its writer says.
    pub timestamp: Option<i64>,
}

impl AppState {
    pub fn generate() -> Self {
        let epoch = rand::random_range(1..u32::MAX / 2);
        Self::with_keys(vec![AppStateKey::generate(epoch)])
    }

    pub fn with_keys(keys: Vec<AppStateKey>) -> Self {
        let mut keyring = Keyring::default();
        keys.iter().for_each(|key| keyring.add(&key.id, &key.key));
        Self {
            keys,
            keyring,
            mirrors: BTreeMap::new(),
        }
    }

    pub fn keep(&self, rows: &mut Rows) {
        rows.put(Table::Setting, 0, KEYS, &self.keys);
    }

    /// Makes a new key, which is written with from now on.
    fn rotate(&mut self) -> AppStateKey {
        let epoch = self.keys.last().map_or(1, |key| key.epoch().wrapping_add(1));
        let key = AppStateKey::generate(epoch);
        self.keyring.add(&key.id, &key.key);
        if self.keys.len() == KEYS_MAX {
            self.keys.remove(0);
        }
        self.keys.push(key.clone());
        key
    }

    /// The keys with these ids, or the one in use when none is named.
    pub fn find_keys(&self, ids: &[Vec<u8>]) -> Vec<AppStateKey> {
        if ids.is_empty() {
            return self.keys.last().cloned().into_iter().collect();
        }
        let wanted = |key: &&AppStateKey| ids.iter().any(|id| *id == key.id);
        self.keys.iter().filter(wanted).cloned().collect()
    }

    /// Reads the patches of a collection that were not read yet; returns what they changed.
    fn catch_up(&mut self, name: &str, patches: &[Bytes], media: &Media) -> Vec<Change> {
        let mirror = self.mirrors.entry(name.to_owned()).or_default();
        let mut changes = Vec::new();
        while mirror.fault.is_none() {
            let read = mirror.replica.version();
            let next = usize::try_from(read).ok().and_then(|read| patches.get(read));
            let Some(patch) = next else { break };
            let applied =
                open(patch, media).and_then(|patch| mirror.replica.apply(name, &patch, &self.keyring));
            match applied {
                Ok(changed) => changes.extend(changed),
                Err(error) => {
                    tracing::debug!(
                        name,
                        error = error.to_string(),
                        "a virtual phone could not apply a patch"
                    );
                    mirror.fault = Some(Fault {
                        version: read + 1,
                        detail: error.to_string(),
                    });
                }
            }
        }
        changes
    }
}

/// Decodes a patch and brings in what it keeps in an external blob.
fn open(patch: &[u8], media: &Media) -> Result<SyncdPatch, SyncdError> {
    let mut patch = SyncdPatch::decode(patch).map_err(|_| SyncdError::Malformed)?;
    if let Some(reference) = patch.external_mutations.take() {
        let content = blob::fetch(media, &reference).ok_or(SyncdError::Missing("external blob"))?;
        let external = SyncdMutations::decode(content.as_slice()).map_err(|_| SyncdError::Malformed)?;
        patch.mutations = external.mutations;
    }
    Ok(patch)
}

/// Has the phone read what is new in a collection. The caller holds the lock of the collections.
pub(in crate::server) fn read(media: &Media, account: &Account, name: &str, collection: &Collection) {
    let changes = lock(&account.phone.app_state).catch_up(name, &collection.patches, media);
    for change in &changes {
        if let Action::PushName { name } = Action::read(&change.index, &change.value) {
            account.set_name(name);
        }
    }
}

/// Writes an action as the phone, and tells the companions but `except`.
pub(in crate::server) fn write(
    service: &Service,
    account: &Account,
    action: &Action,
    except: Option<u16>,
) -> Result<(), WriteError> {
    let name = action.collection();
    let change = action.change();
    let mut collections = lock(&account.collections);
    let used = Collection::bytes_of(&collections);
    let collection = collections.entry(name.to_owned()).or_default();
    read(&service.media, account, name, collection);
    if collection.patches.len() >= service.config.patches_max {
        return Err(WriteError::Full(name));
    }
    let patch = {
        let state = lock(&account.phone.app_state);
        let mirror = state.mirrors.get(name);
        if let Some(fault) = mirror.and_then(|mirror| mirror.fault.clone()) {
            return Err(WriteError::Broken {
                collection: name,
                fault,
            });
        }
        let empty = Replica::default();
        let replica = mirror.map_or(&empty, |mirror| &mirror.replica);
        replica.compose(name, std::slice::from_ref(&change), &state.keyring)?
    };
    let next = collection.version() + 1;
    let patch = SyncdPatchVersion::stamp(patch, next);
    let bytes_max = service.config.app_state_bytes_max;
    if used + patch.len() > bytes_max {
        return Err(WriteError::NoRoom(bytes_max));
    }
    account.add_patch(collection, name, patch.into());
    read(&service.media, account, name, collection);
    drop(collections);
    announce(service, account, except, name, next);
    Ok(())
}

/// Writes the push name if nobody has: the new companion, which asks anyway, learns its name from there.
pub(super) fn introduce(service: &Service, account: &Account, device: u16) {
    let action = Action::PushName { name: account.name() };
    let is_empty = lock(&account.collections)
        .get(action.collection())
        .is_none_or(|collection| collection.patches.is_empty());
    if is_empty && let Err(error) = write(service, account, &action, Some(device)) {
        tracing::debug!(
            error = error.to_string(),
            "a virtual phone could not write its name"
        );
    }
}

/// Has the phone of a restored account read its collections again.
pub(in crate::server) fn restore(media: &Media, account: &Account) {
    for (name, collection) in &*lock(&account.collections) {
        read(media, account, name, collection);
    }
}

/// Where companions that have nothing of a collection find all of it: the version it had, and the
/// encoded reference. `None` when the phone could not read it, or has nowhere to put it.
pub(in crate::server) fn snapshot(
    service: &Service,
    account: &Account,
    name: &str,
) -> Option<(u64, Vec<u8>)> {
    let mut state = lock(&account.phone.app_state);
    let AppState { keyring, mirrors, .. } = &mut *state;
    let mirror = mirrors.get_mut(name).filter(|mirror| mirror.fault.is_none())?;
    let latest = mirror.replica.version();
    let is_good = |known: &&(u64, ExternalBlobReference)| {
        latest - known.0 < service.config.app_state_snapshot_min as u64
            && blob::is_there(&service.media, &known.1)
    };
    if let Some((version, reference)) = mirror.snapshot.as_ref().filter(is_good) {
        return Some((*version, reference.encode_to_vec()));
    }
    let made = mirror.replica.snapshot(name, keyring).ok()?;
    let reference = blob::upload(&service.media, account, &made.encode_to_vec())?;
    let encoded = reference.encode_to_vec();
    mirror.snapshot = Some((latest, reference));
    Some((latest, encoded))
}

/// The collections as the phone sees them.
pub(in crate::server) fn view(account: &Account) -> Vec<CollectionView> {
    let state = lock(&account.phone.app_state);
    let views = state.mirrors.iter().map(|(name, mirror)| CollectionView {
        name: name.clone(),
        version: mirror.replica.version(),
        fault: mirror.fault.clone(),
        entries: entries(&mirror.replica),
    });
    views.collect()
}

/// The entries by index; of those that say the same under different keys, the latest.
fn entries(replica: &Replica) -> Vec<EntryView> {
    let mut latest = BTreeMap::new();
    for entry in replica.entries() {
        let known = latest.entry(&entry.index).or_insert(entry);
        if known.since < entry.since {
            *known = entry;
        }
    }
    let views = latest.into_values().map(|entry| EntryView {
        action: Action::read(&entry.index, &entry.value),
        index: entry.index.clone(),
        timestamp: entry.value.timestamp,
    });
    views.collect()
}

/// Whether the account has the other one in its address book, by either address.
pub(in crate::server) fn has_contact(account: &Account, other: &Account) -> bool {
    let names = [Domain::Pn, Domain::Lid].map(|domain| other.jid(0, domain).to_string());
    let state = lock(&account.phone.app_state);
    let contacts = state.mirrors.get(Action::CONTACTS);
    contacts.is_some_and(|contacts| {
        let mut entries = contacts.replica.entries();
        entries.any(|entry| match entry.index.as_slice() {
            [kind, jid] => kind == "contact" && names.contains(jid),
            _ => false,
        })
    })
}

/// Makes a new key and keeps it. Returns its id; sharing it is the caller's.
pub(super) fn rotate(account: &Account) -> AppStateKey {
    let mut state = lock(&account.phone.app_state);
    let key = state.rotate();
    account.shelf(0).keep(|rows| state.keep(rows));
    key
}
