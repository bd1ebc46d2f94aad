//! How a store is opened, and its limits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use roost_domain::cluster::Lease;

use crate::{KeySource, MasterKey, MasterKeys};

/// When SQLite counts a commit as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// After an fsync: survives a power cut.
    #[default]
    Full,
    /// Without one: survives a crash of the process, not one of the machine.
    Normal,
}

/// Limits of the group-commit writer.
#[derive(Debug, Clone)]
pub struct WriterLimits {
    /// Most units that may wait; one more is answered `Overloaded`.
    pub queue_max: usize,
    /// Most operations in one transaction.
    pub batch_max_ops: usize,
    /// How long a status of a message waits for other units to commit with, when nothing else is to be
    /// committed; zero commits it at once.
    pub status_max_wait: Duration,
    /// For how long a batch is tried again while the database is locked, full or away. Once that was
    /// in vain, later batches get one attempt each until one succeeds.
    pub retry_for: Duration,
}

impl Default for WriterLimits {
    fn default() -> Self {
        Self {
            queue_max: 8192,
            batch_max_ops: 1024,
            status_max_wait: Duration::from_millis(2),
            retry_for: Duration::from_secs(3),
        }
    }
}

/// The lease under which a node writes for what it owns. Without one it always may: nobody else can take
/// over, or the epochs in the rows are all that keeps two apart.
#[derive(Clone, Default)]
pub struct Guard(Option<Arc<dyn Lease>>);

impl Guard {
    /// Writes for owners happen only while the lease holds.
    pub fn by(lease: Arc<dyn Lease>) -> Self {
        Self(Some(lease))
    }

    pub(crate) fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|lease| lease.holds())
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.0.is_some() { "a lease" } else { "none" };
        f.debug_tuple("Guard").field(&kind).finish()
    }
}

/// What to open, and how.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `sqlite:<path>` or `postgres://…`.
    pub url: String,
    /// Keys from which every other is derived.
    pub keys: KeySource,
    /// Whether what messages say is encrypted too; secrets are in any case.
    pub encrypt_messages: bool,
    /// When SQLite counts a commit as durable.
    pub synchronous: Synchronous,
    /// Size beyond which a SQLite database does not grow: writes are then `Unavailable` until a sweep
    /// has made room. `None` leaves the disk as the limit.
    pub sqlite_bytes_max: Option<u64>,
    /// Bytes of the disk that SQLite leaves free, beside what copying its write-ahead log back needs.
    /// With less than 16 times as much, commits are smaller and the log is emptied before each.
    pub disk_floor: u64,
    /// Limits of the writer.
    pub writer: WriterLimits,
    /// Connections for reading.
    pub readers_max: u32,
    /// How long a read waits for a connection.
    pub acquire_timeout: Duration,
    /// How long SQLite waits for a lock that another process holds.
    pub busy_timeout: Duration,
    /// How long one transaction may take on PostgreSQL before its connection is given up.
    pub transaction_timeout: Duration,
    /// Bytes of one page of the event log, beyond which the page ends early; the event that passes the
    /// limit is the last.
    pub page_bytes_max: usize,
    /// How long PostgreSQL waits within a transaction for its next statement before it undoes it. For so
    /// long a node that froze in the middle of one keeps its instances from the node that takes over.
    pub idle_transaction_timeout: Duration,
    /// Asked before every transaction and again before its commit: without it what is written for
    /// instances and webhooks is refused as fenced.
    pub guard: Guard,
    /// Whether other nodes work with the database at the same time.
    pub shared: bool,
    /// How long a delivery that an endpoint has taken stays in its webhook's list.
    pub delivery_retention: Duration,
}

impl StoreConfig {
    /// Defaults for a database.
    pub fn new(url: impl Into<String>, master_key: MasterKey) -> Self {
        Self::with_keys(url, KeySource::Given(MasterKeys::one(master_key)))
    }

    /// Defaults for a database whose master keys come from somewhere.
    pub fn with_keys(url: impl Into<String>, keys: KeySource) -> Self {
        Self {
            url: url.into(),
            keys,
            encrypt_messages: false,
            synchronous: Synchronous::Full,
            sqlite_bytes_max: None,
            disk_floor: 4 << 20,
            writer: WriterLimits::default(),
            readers_max: 4,
            acquire_timeout: Duration::from_secs(5),
            busy_timeout: Duration::from_secs(1),
            transaction_timeout: Duration::from_secs(15),
            page_bytes_max: 8 << 20,
            idle_transaction_timeout: Duration::from_secs(3),
            guard: Guard::default(),
            shared: false,
            delivery_retention: Duration::from_secs(7 * 24 * 3600),
        }
    }

    /// Defaults for a SQLite file.
    pub fn sqlite(path: impl Into<PathBuf>, master_key: MasterKey) -> Self {
        Self::new(format!("sqlite:{}", path.into().display()), master_key)
    }
}
