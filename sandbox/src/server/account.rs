//! An account: its two addresses, its companions, its virtual phone, its app state.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::config::SandboxConfig;
use super::device::{Device, DeviceRow};
use super::persist::{PersistError, Row, SavedAccount, Shelf, Table};
use super::phone::VirtualPhone;
use super::picture::Slot;
use super::profile::Profile;
use super::sync::{lock, now_s, read, write};
use crate::signal::{KeyPair, adv};
use crate::wire::jid::{Domain, Jid};

/// Highest companion number; numbers are used again only after that.
pub(super) const DEVICE_ID_MAX: u16 = 99;
/// Devices that are told about changes of an account's device list or presence.
const WATCHERS_MAX: usize = 4_096;

/// A device anywhere: the phone number of its account and its number.
pub(super) type DeviceRef = (Arc<str>, u16);

pub(super) struct Account {
    pub pn: Arc<str>,
    /// Its own number, which stays whatever its addresses are.
    pub raw_id: u32,
    pub phone: VirtualPhone,
    pub collections: Mutex<HashMap<String, Collection>>,
    pub presence: Mutex<Presence>,
    pub profile: Mutex<Profile>,
    pub picture: Slot,
    lid: RwLock<Arc<str>>,
    name: RwLock<String>,
    /// The phone's identity; it signs companions.
    key: RwLock<Key>,
    is_closed: AtomicBool,
    companions: RwLock<Companions>,
    key_index: Mutex<Option<Arc<KeyIndex>>>,
    watchers: Mutex<HashSet<DeviceRef>>,
    shelf: Shelf,
}

/// Who an account is, as it is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct AccountRow {
    pub pn: Box<str>,
    pub lid: Box<str>,
    pub name: String,
    /// The number was given up; nobody finds the account any more.
    #[serde(default)]
    pub is_closed: bool,
}

/// The phone's identity, and how often there was another one before.
struct Key {
    pair: KeyPair,
    epoch: u32,
}

/// Numbers of accounts are below this; above it is the epoch of their key.
const RAW_ID_BITS: u32 = 20;

/// Names of the settings that are kept.
const PROFILE: &str = "profile";
const PICTURE: &str = "picture";
const KEY_EPOCH: &str = "key_epoch";
const LAST_DEVICE: &str = "last_device";
const HIGHEST_DEVICE: &str = "highest_device";

#[derive(Default)]
struct Companions {
    devices: Vec<Arc<Device>>,
    last_id: u16,
    /// The highest number of a companion so far.
    highest_id: u16,
    /// Numbers promised to companions that are still pairing.
    promised: Vec<u16>,
}

/// The signed list of companions, kept until the list changes: signing is slow.
pub(super) struct KeyIndex {
    pub timestamp: u64,
    pub bytes: Bytes,
}

/// One app-state collection. Patches are opaque; the first has version 1.
#[derive(Default)]
pub(super) struct Collection {
    pub patches: Vec<Bytes>,
    /// Of all patches.
    bytes: usize,
}

impl Collection {
    fn push(&mut self, patch: Bytes) {
        self.bytes += patch.len();
        self.patches.push(patch);
    }

    /// What the collections of one account take together.
    pub(super) fn bytes_of(collections: &HashMap<String, Self>) -> usize {
        collections.values().map(|collection| collection.bytes).sum()
    }

    pub(super) fn version(&self) -> u64 {
        self.patches.len() as u64
    }
}

#[derive(Default)]
pub(super) struct Presence {
    pub available: bool,
    pub last_seen_s: u64,
    /// Who wants to know, and under which addressing.
    pub subscribers: HashMap<DeviceRef, Domain>,
}

impl Presence {
    pub(super) fn subscribe(&mut self, device: DeviceRef, domain: Domain) {
        if self.subscribers.len() < WATCHERS_MAX {
            self.subscribers.insert(device, domain);
        }
    }
}

/// Why a companion cannot be linked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyCompanions;

impl Account {
    /// A new account. It is kept before this returns.
    pub(super) fn new(row: AccountRow, raw_id: u32, mut phone: VirtualPhone, shelf: Shelf) -> Self {
        shelf.keep(|rows| rows.put(Table::Account, 0, "", &row));
        phone.shelve(shelf.clone());
        Self::of(row, raw_id, phone, shelf)
    }

    fn of(row: AccountRow, raw_id: u32, phone: VirtualPhone, shelf: Shelf) -> Self {
        Self {
            pn: row.pn.into(),
            lid: RwLock::new(row.lid.into()),
            raw_id,
            key: RwLock::new(Key {
                pair: phone.identity(),
                epoch: 0,
            }),
            is_closed: AtomicBool::new(row.is_closed),
            phone,
            collections: Mutex::default(),
            presence: Mutex::default(),
            profile: Mutex::default(),
            picture: Slot::new(shelf.clone(), PICTURE),
            name: RwLock::new(row.name),
            companions: RwLock::default(),
            key_index: Mutex::default(),
            watchers: Mutex::default(),
            shelf,
        }
    }

    /// An account as it was kept; what waits for its phone comes back later.
    pub(super) fn restore(
        saved: &mut SavedAccount,
        raw_id: u32,
        shelf: Shelf,
        config: &SandboxConfig,
    ) -> Result<Self, PersistError> {
        let mut settings = HashMap::new();
        for row in saved.take(Table::Setting, 0) {
            settings.insert(row.name.clone(), row);
        }
        let phone = VirtualPhone::restore(saved, &settings, shelf.clone(), config)?;
        let account = Self::of(saved.only(Table::Account)?, raw_id, phone, shelf);
        if let Some(epoch) = settings.get(KEY_EPOCH) {
            write(&account.key).epoch = epoch.value()?;
        }
        if let Some(profile) = settings.get(PROFILE) {
            *lock(&account.profile) = profile.value()?;
        }
        if let Some(picture) = settings.get(PICTURE) {
            account.picture.restore(picture)?;
        }
        let mut collections = HashMap::<String, Collection>::new();
        for row in saved.take(Table::Patch, 0) {
            let patch: ByteBuf = row.value()?;
            let collection = collections.entry(row.name.into()).or_default();
            collection.push(patch.into_vec().into());
        }
        *lock(&account.collections) = collections;
        for row in saved.take_all(Table::Watcher) {
            account.watch((Arc::from(row.name), row.device));
        }
        account.restore_devices(saved, &settings, config)?;
        Ok(account)
    }

    fn restore_devices(
        &self,
        saved: &mut SavedAccount,
        settings: &HashMap<Box<str>, Row>,
        config: &SandboxConfig,
    ) -> Result<(), PersistError> {
        let number = |name: &str| settings.get(name).map_or(Ok(0), Row::value);
        let mut companions = write(&self.companions);
        companions.last_id = number(LAST_DEVICE)?;
        companions.highest_id = number(HIGHEST_DEVICE)?;
        for row in saved.take_all(Table::Device) {
            let kept: DeviceRow = row.value()?;
            let device = Device::new(row.device, kept, self.shelf(row.device), config);
            device.restore(saved)?;
            companions.devices.push(Arc::new(device));
        }
        Ok(())
    }

    /// Where the state of one of the account's devices is kept.
    pub(super) fn shelf(&self, device: u16) -> Shelf {
        self.shelf.of_device(device)
    }

    pub(super) fn name(&self) -> String {
        read(&self.name).clone()
    }

    /// Sets the name others see, and keeps it.
    pub(super) fn set_name(&self, name: String) {
        {
            let mut current = write(&self.name);
            if *current == name {
                return;
            }
            *current = name;
        }
        self.keep();
    }

    fn keep(&self) {
        self.shelf.keep(|rows| {
            let row = AccountRow {
                pn: (&*self.pn).into(),
                lid: (&*self.lid()).into(),
                name: self.name(),
                is_closed: self.is_closed(),
            };
            rows.put(Table::Account, 0, "", &row);
        });
    }

    pub(super) fn lid(&self) -> Arc<str> {
        read(&self.lid).clone()
    }

    /// Replaces the LID, and keeps it. Returns the old one.
    pub(super) fn set_lid(&self, lid: Arc<str>) -> Arc<str> {
        let old = std::mem::replace(&mut *write(&self.lid), lid);
        self.keep();
        old
    }

    /// Whether its number was given up.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        self.keep();
    }

    /// The phone's identity.
    pub(super) fn key(&self) -> KeyPair {
        read(&self.key).pair.clone()
    }

    /// What names the account, under its present key, in what that key signs.
    pub(super) fn adv_raw_id(&self) -> u32 {
        self.raw_id.wrapping_add(read(&self.key).epoch << RAW_ID_BITS)
    }

    /// Gives the phone new keys. Companions are to be gone before.
    pub(super) fn renew_key(&self) {
        let mut key = write(&self.key);
        key.pair = self.phone.renew();
        key.epoch = key.epoch.wrapping_add(1);
        self.shelf
            .keep(|rows| rows.put(Table::Setting, 0, KEY_EPOCH, &key.epoch));
        drop(key);
        *lock(&self.key_index) = None;
    }

    /// Drops all app state.
    pub(super) fn forget_collections(&self) {
        let mut collections = lock(&self.collections);
        self.shelf.keep(|rows| {
            for (name, collection) in &*collections {
                (1..=collection.version()).for_each(|version| rows.delete(Table::Patch, version, name));
            }
        });
        collections.clear();
    }

    /// The address of a device of this account; `domain` chooses between phone number and LID.
    pub(super) fn jid(&self, device: u16, domain: Domain) -> Jid {
        match domain {
            Domain::Lid => Jid::new(&*self.lid(), device, Domain::Lid),
            _ => Jid::new(&*self.pn, device, Domain::Pn),
        }
    }

    pub(super) fn device_ref(&self, device: u16) -> DeviceRef {
        (self.pn.clone(), device)
    }

    /// Who a stanza comes from, whatever the addressing.
    pub(super) fn origin(&self, device: u16) -> u64 {
        u64::from(self.raw_id) << 16 | u64::from(device)
    }

    pub(super) fn devices(&self) -> Vec<Arc<Device>> {
        read(&self.companions).devices.clone()
    }

    pub(super) fn device(&self, id: u16) -> Option<Arc<Device>> {
        read(&self.companions)
            .devices
            .iter()
            .find(|device| device.id == id)
            .cloned()
    }

    /// Sets a number aside for a companion that is about to pair.
    pub(super) fn promise_device_id(&self, companions_max: usize) -> Result<u16, TooManyCompanions> {
        let mut companions = write(&self.companions);
        if companions.devices.len() + companions.promised.len() >= companions_max {
            return Err(TooManyCompanions);
        }
        let is_free = |companions: &Companions, id: u16| {
            !companions.promised.contains(&id) && companions.devices.iter().all(|device| device.id != id)
        };
        let after_last = companions.last_id + 1..=DEVICE_ID_MAX;
        let id = after_last
            .chain(1..=DEVICE_ID_MAX)
            .find(|id| is_free(&companions, *id))
            .ok_or(TooManyCompanions)?;
        companions.last_id = id;
        companions.promised.push(id);
        Ok(id)
    }

    pub(super) fn withdraw_promise(&self, id: u16) {
        write(&self.companions)
            .promised
            .retain(|promised| *promised != id);
    }

    pub(super) fn add_device(&self, device: Arc<Device>) {
        let mut companions = write(&self.companions);
        companions.promised.retain(|promised| *promised != device.id);
        companions.highest_id = companions.highest_id.max(device.id);
        device.keep();
        self.shelf.keep(|rows| {
            rows.put(Table::Setting, 0, LAST_DEVICE, &companions.last_id);
            rows.put(Table::Setting, 0, HIGHEST_DEVICE, &companions.highest_id);
        });
        companions.devices.push(device);
        drop(companions);
        *lock(&self.key_index) = None;
    }

    pub(super) fn remove_device(&self, id: u16) -> Option<Arc<Device>> {
        let mut companions = write(&self.companions);
        let at = companions.devices.iter().position(|device| device.id == id)?;
        let device = companions.devices.remove(at);
        device.abandon();
        drop(companions);
        *lock(&self.key_index) = None;
        Some(device)
    }

    pub(super) fn key_index(&self) -> Arc<KeyIndex> {
        let mut cached = lock(&self.key_index);
        if let Some(list) = &*cached {
            return list.clone();
        }
        let (valid, current) = {
            let companions = read(&self.companions);
            let ids = companions.devices.iter().map(|device| u32::from(device.id));
            (ids.collect::<Vec<_>>(), u32::from(companions.highest_id))
        };
        let timestamp = now_s();
        let indexes = adv::KeyIndexes {
            raw_id: self.adv_raw_id(),
            timestamp,
            current,
            valid: &valid,
        };
        let bytes = adv::sign_key_index_list(&self.key(), &indexes);
        let list = Arc::new(KeyIndex {
            timestamp,
            bytes: bytes.into(),
        });
        *cached = Some(list.clone());
        list
    }

    /// Changes the profile, and keeps it.
    pub(super) fn change_profile<T>(&self, change: impl FnOnce(&mut Profile) -> T) -> T {
        let mut profile = lock(&self.profile);
        let changed = change(&mut profile);
        self.shelf
            .keep(|rows| rows.put(Table::Setting, 0, PROFILE, &*profile));
        changed
    }

    /// Adds a patch to a collection. Returns the version it makes.
    pub(super) fn add_patch(&self, collection: &mut Collection, name: &str, patch: Bytes) -> u64 {
        let version = collection.version() + 1;
        self.shelf
            .keep(|rows| rows.put(Table::Patch, version, name, serde_bytes::Bytes::new(&patch)));
        collection.push(patch);
        version
    }

    /// Remembers that a device holds this account's device list.
    pub(super) fn watch(&self, device: DeviceRef) {
        let mut watchers = lock(&self.watchers);
        if watchers.len() < WATCHERS_MAX && !watchers.contains(&device) {
            let (pn, id) = &device;
            self.shelf(*id).keep(|rows| rows.put(Table::Watcher, 0, pn, &()));
            watchers.insert(device);
        }
    }

    pub(super) fn watchers(&self) -> Vec<DeviceRef> {
        lock(&self.watchers).iter().cloned().collect()
    }
}
