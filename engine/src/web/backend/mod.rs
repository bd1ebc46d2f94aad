//! The library's storage on the link-state port.
//!
//! One small value per link: it knows its owner, and every write of a former owner fails as fenced
//! and ends the link. [`writer`] decides what is written when; the other modules are the library's
//! traits, one each. Sweeps are no-ops: rows carry their expiry, and the node sweeps once for all.

mod app_sync;
mod device;
mod key;
mod protocol;
mod secret;
mod signal;
mod writer;

pub(super) use device::DeviceError;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use roost_domain::store::{Collection, LinkState, StateOp, StoreError};
use roost_domain::time::Clock;
use roost_domain::{Owner, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use whatsapp_rust::wacore::store::Device;
use whatsapp_rust::wacore::store::error::StoreError as LibraryError;

use crate::web::redelivery::Redelivery;
use crate::web::report::Reporter;
use writer::Writer;

type Result<T> = std::result::Result<T, LibraryError>;

/// Rows that one read of a whole collection takes at most.
const SCAN_MAX: u32 = 200_000;
/// Rows that one read of single rows takes at most.
const ROWS_PER_READ: usize = 128;
/// Reads of more rows than that, of all links at a time: each login reads all prekeys, and after a
/// restart thousands log in at once.
pub(super) const LONG_READS_MAX: usize = 4;

/// Storage of one link.
pub(super) struct Backend {
    writer: Writer,
    clock: Arc<dyn Clock>,
    /// Long reads of the whole node at a time.
    long_reads: Arc<Semaphore>,
    /// Read-modify-write steps take turns.
    exclusive: tokio::sync::Mutex<()>,
    /// The device as it was read when the link was opened, until the library asks for it. Boxed: it is
    /// large, and soon gone.
    loaded: Mutex<Option<Box<Device>>>,
    /// Hash of the device as it was last stored: the library saves it more often than it changes.
    saved: Mutex<Option<u64>>,
    hasher: std::hash::RandomState,
    /// Messages decrypted so far, and how many of them are in sessions that are known to be stored.
    decrypted: AtomicU64,
    settled: AtomicU64,
    /// Knows which redelivered messages are done, once there is a client.
    redelivery: OnceLock<Arc<Redelivery>>,
}

impl Backend {
    pub(super) fn new(
        state: Arc<dyn LinkState>,
        owner: Owner,
        clock: Arc<dyn Clock>,
        reporter: Arc<Reporter>,
        long_reads: Arc<Semaphore>,
    ) -> Self {
        Self {
            writer: Writer::new(state, owner, reporter),
            clock,
            long_reads,
            exclusive: tokio::sync::Mutex::default(),
            loaded: Mutex::default(),
            saved: Mutex::default(),
            hasher: std::hash::RandomState::new(),
            decrypted: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            redelivery: OnceLock::new(),
        }
    }

    /// Tells who knows which redelivered messages are done; said once, before anything is received.
    pub(super) fn judge_by(&self, redelivery: Arc<Redelivery>) {
        let _ = self.redelivery.set(redelivery);
    }

    /// How many messages were decrypted, when sessions may have moved since they were last settled.
    pub(super) fn unsettled(&self) -> Option<u64> {
        let decrypted = self.decrypted.load(Ordering::Acquire);
        (decrypted > self.settled.load(Ordering::Acquire)).then_some(decrypted)
    }

    /// The sessions of that many decrypted messages are stored.
    pub(super) fn settle(&self, decrypted: u64) {
        self.settled.fetch_max(decrypted, Ordering::AcqRel);
    }

    /// Stores what is not stored yet; called when the link ends.
    pub(super) async fn flush(&self) -> std::result::Result<(), StoreError> {
        self.writer.flush().await
    }

    async fn get(&self, collection: Collection, key: &str) -> Result<Option<Bytes>> {
        self.writer.get(collection, key).await.map_err(failed)
    }

    async fn write(&self, ops: Vec<StateOp>) -> Result<()> {
        if ops.is_empty() {
            return Ok(());
        }
        self.writer.write(ops).await.map_err(failed)
    }

    fn expiry(&self, seconds: u64) -> Option<Timestamp> {
        Some(self.clock.now().plus(std::time::Duration::from_secs(seconds)))
    }
}

fn put(collection: Collection, key: String, value: impl Into<Bytes>) -> StateOp {
    StateOp::Put {
        collection,
        key,
        value: value.into(),
        expires_at: None,
    }
}

fn delete(collection: Collection, key: String) -> StateOp {
    StateOp::Delete { collection, key }
}

fn failed(error: StoreError) -> LibraryError {
    LibraryError::Database(Box::new(error))
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> LibraryError {
    LibraryError::Serialization(Box::new(error))
}

/// With field names, so that a later version of the library can read what this one wrote.
fn encode(value: &impl Serialize) -> Result<Bytes> {
    rmp_serde::to_vec_named(value)
        .map(Bytes::from)
        .map_err(unreadable)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    rmp_serde::from_slice(bytes).map_err(unreadable)
}

#[cfg(test)]
mod tests;
