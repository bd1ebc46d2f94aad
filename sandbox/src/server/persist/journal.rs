//! Where changes gather until they are committed.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};

use serde::Serialize;
use thiserror::Error;
use tokio::sync::{Notify, watch};

use super::table::Table;
use crate::server::sync::{lock, read, write};

/// Which row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub table: Table,
    pub account: u32,
    pub device: u16,
    pub item: u64,
    pub name: Box<str>,
}

/// A row's new value, or none when it is deleted.
pub(super) type Change = (Key, Option<Vec<u8>>);

/// The task that commits has ended: nothing is kept any more.
#[derive(Debug, Error)]
#[error("the sandbox no longer keeps what changes")]
pub(in crate::server) struct Lost;

/// Changes on their way to the database; does nothing without a data folder.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct Journal(Option<Arc<Shared>>);

/// Changes made while this is held are committed together. Never taken twice by one thread: the
/// second would wait for a commit that waits for the first.
pub(in crate::server) type Unit<'a> = RwLockReadGuard<'a, ()>;

#[derive(Debug)]
pub(super) struct Shared {
    gate: RwLock<()>,
    pending: Mutex<Pending>,
    pub dirty: Notify,
    committed: watch::Receiver<u64>,
}

#[derive(Debug)]
struct Pending {
    changes: HashMap<Key, Option<Vec<u8>>>,
    /// The number of the batch that gathers here.
    batch: u64,
}

/// What one transaction writes.
#[derive(Debug)]
pub(super) struct Batch {
    pub number: u64,
    pub changes: Vec<Change>,
}

impl Shared {
    pub fn new(committed: watch::Receiver<u64>) -> Self {
        let pending = Pending {
            changes: HashMap::new(),
            batch: 1,
        };
        Self {
            gate: RwLock::default(),
            pending: Mutex::new(pending),
            dirty: Notify::new(),
            committed,
        }
    }

    /// Takes what has gathered, at a moment when no unit is open.
    pub fn cut(&self) -> Option<Batch> {
        let _no_unit = write(&self.gate);
        let mut pending = lock(&self.pending);
        if pending.changes.is_empty() {
            return None;
        }
        let number = pending.batch;
        pending.batch += 1;
        let changes = mem::take(&mut pending.changes);
        drop(pending);
        let mut changes: Vec<_> = changes.into_iter().collect();
        changes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Some(Batch { number, changes })
    }
}

impl Journal {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(Some(shared))
    }

    pub fn is_durable(&self) -> bool {
        self.0.is_some()
    }

    /// Holds the changes made from now on together, until it is dropped. Not to be held over an await.
    pub fn unit(&self) -> Option<Unit<'_>> {
        self.0.as_ref().map(|shared| read(&shared.gate))
    }

    /// Where the state of a device is kept; device 0 is the phone, and stands for the account too.
    pub fn shelf(&self, account: u32, device: u16) -> Shelf {
        Shelf {
            shared: self.0.clone(),
            account,
            device,
        }
    }

    /// Waits until every change made before is committed.
    pub async fn barrier(&self) -> Result<(), Lost> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let awaited = {
            let pending = lock(&shared.pending);
            pending.batch - u64::from(pending.changes.is_empty())
        };
        let mut committed = shared.committed.clone();
        let waited = committed.wait_for(|number| *number >= awaited).await;
        waited.map(|_| ()).map_err(|_| Lost)
    }
}

/// The journal as one owner of state sees it.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct Shelf {
    shared: Option<Arc<Shared>>,
    account: u32,
    device: u16,
}

impl Shelf {
    /// A shelf that keeps nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// The shelf of another device of the same account.
    pub fn of_device(&self, device: u16) -> Self {
        Self {
            device,
            ..self.clone()
        }
    }

    pub fn is_durable(&self) -> bool {
        self.shared.is_some()
    }

    /// Keeps what `describe` writes. It is not called when nothing is kept.
    pub fn keep(&self, describe: impl FnOnce(&mut Rows)) {
        let Some(shared) = &self.shared else { return };
        let mut rows = Rows {
            account: self.account,
            device: self.device,
            changes: Vec::new(),
        };
        describe(&mut rows);
        let mut pending = lock(&shared.pending);
        let was_empty = pending.changes.is_empty();
        for (key, value) in rows.changes {
            // What was not committed yet and is gone already leaves no trace.
            let is_fleeting = value.is_none()
                && key.table.is_written_once()
                && matches!(pending.changes.get(&key), Some(Some(_)));
            if is_fleeting {
                pending.changes.remove(&key);
            } else {
                pending.changes.insert(key, value);
            }
        }
        drop(pending);
        if was_empty {
            shared.dirty.notify_one();
        }
    }
}

/// Rows of one owner that change together.
pub(in crate::server) struct Rows {
    account: u32,
    device: u16,
    changes: Vec<Change>,
}

impl Rows {
    /// Inserts or replaces a row; `item` is 0 and `name` empty where a table has no use for them.
    pub fn put<T: Serialize + ?Sized>(&mut self, table: Table, item: u64, name: &str, value: &T) {
        let key = self.key(table, item, name);
        match rmp_serde::to_vec_named(value) {
            Ok(value) => self.changes.push((key, Some(value))),
            Err(error) => tracing::error!(table = table.name(), %error, "a row cannot be written"),
        }
    }

    pub fn delete(&mut self, table: Table, item: u64, name: &str) {
        let key = self.key(table, item, name);
        self.changes.push((key, None));
    }

    fn key(&self, table: Table, item: u64, name: &str) -> Key {
        Key {
            table,
            account: self.account,
            device: self.device,
            item,
            name: name.into(),
        }
    }
}
