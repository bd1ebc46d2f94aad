//! Opening a store, step by step, touching nothing before everything was found in order.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roost_domain::Timestamp;
use roost_domain::store::{CommitObserver, StoreError};
use roost_domain::time::{Clock, Entropy};
use sqlx::ConnectOptions;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

use crate::cluster::place_rows;
use crate::crypto::Keyring;
use crate::database::{Address, Connection, Reader, STATEMENTS_MAX, SqliteFile, WriteConnection};
use crate::inspect::{Inspected, beside, inspect};
use crate::rotation::Rotator;
use crate::schema::{self, Migrated};
use crate::sweep::Progress;
use crate::writer::ids::Ids;
use crate::writer::{Parts, Writer};
use crate::{KeySource, MasterKeyError, MasterKeys, StoreConfig, Synchronous, custody};

/// SQLite's page cache for the writer, in its own notation: 16 MiB, filled as it is needed.
const CACHE: &str = "-16384";
/// Bytes of a page.
const PAGE_BYTES: u32 = 4096;
/// Pages in SQLite's write-ahead log at which a commit copies them back itself, should the thread that
/// does so fall behind.
const CHECKPOINT_PAGES: &str = "65536";
/// Bytes of the log that are kept for reuse when it is begun anew: 64 MiB. A reader that takes long, such as
/// a backup, makes it longer, and the disk has that back afterwards.
const LOG_BYTES_KEPT: &str = "67108864";

/// How long to wait for a process that is just ending, and between looks.
const LOCK_WAIT: Duration = Duration::from_millis(500);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no database.
    #[error("the database URL must be sqlite:<path> or postgres://…: {0}")]
    Url(String),
    /// Another process has the database.
    #[error("another process uses {path}: one Roost owns a SQLite database at a time")]
    InUse {
        /// The database file.
        path: PathBuf,
    },
    /// The database's folder cannot be used.
    #[error("cannot use {path}")]
    Folder {
        /// The folder or lock file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database was written under another master key.
    #[error("the master key is not the one this database was written under")]
    WrongMasterKey,
    /// Parts of the database are under an earlier master key.
    #[error("the database is still partly encrypted under the earlier master key {id}, which is missing")]
    MissingMasterKey {
        /// Its id.
        id: String,
    },
    /// There is a database, and no key file.
    #[error("there is a database, and its master key file {path} is missing: no new key opens it")]
    NoMasterKey {
        /// The file.
        path: PathBuf,
    },
    /// The key file cannot be used.
    #[error("no master key")]
    MasterKey(#[from] MasterKeyError),
    /// What the database keeps for itself cannot be read.
    #[error("the database's own secrets cannot be read")]
    Custody(#[source] StoreError),
    /// The file cannot be read as a database.
    #[error("{path} cannot be read as a database")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The database was migrated by a later release.
    #[error(
        "the database has schema version {found}, and this release knows versions up to {known}: use the release that migrated it, or a later one"
    )]
    NewerSchema {
        /// Version in the database.
        found: i64,
        /// Latest version that this release knows.
        known: i64,
    },
    /// The migrations failed.
    #[error("the database could not be migrated")]
    Migration(#[source] MigrateError),
    /// The database does not answer or refuses.
    #[error("the database could not be opened")]
    Database(#[source] sqlx::Error),
    /// The database refuses its writer.
    #[error("the database could not be opened for writing")]
    Writer(#[source] StoreError),
    /// The system gives no thread for the writer or for a reader.
    #[error("a thread of the database could not be started")]
    Thread(#[source] std::io::Error),
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// Every port of [`roost_domain::store`] on SQLite or PostgreSQL.
pub struct SqlStore {
    reader: Arc<Reader>,
    writer: Arc<Writer>,
    keyring: Arc<Keyring>,
    rotator: Arc<Rotator>,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    delivery_retention: Duration,
    page_bytes_max: usize,
    sweeps: Mutex<Progress>,
}

impl SqlStore {
    /// Opens a database, migrates it, and starts its writer on the current runtime.
    pub async fn open(
        config: StoreConfig,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        observer: Arc<dyn CommitObserver>,
    ) -> Result<Self, OpenError> {
        let address = address(&config)?;
        let keyring = keyring(&config, &address, &entropy).await?;
        let lock = lock(&address).await?;
        let mut connection = address.connect().await?;
        prepare(&mut connection, &keyring).await?;
        connection.close().await?;
        let connection = WriteConnection::open(&address)
            .await
            .map_err(|failure| OpenError::Writer(failure.into_store_error()))?;
        let reader = Arc::new(Reader::new(&address, &config).map_err(OpenError::Thread)?);
        let ids = Arc::new(Ids::new(entropy.clone()));
        let parts = Parts {
            address,
            connection,
            clock: clock.clone(),
            ids: ids.clone(),
            keyring: keyring.clone(),
            observer,
            lock,
        };
        let writer = Arc::new(Writer::start(parts, &config).map_err(OpenError::Thread)?);
        let rotator = Arc::new(Rotator::new(
            reader.clone(),
            writer.clone(),
            keyring.clone(),
            entropy,
            clock.clone(),
            (source(&config)?, config.shared),
        ));
        Ok(Self {
            reader,
            writer,
            keyring,
            rotator,
            clock,
            ids,
            delivery_retention: config.delivery_retention,
            page_bytes_max: config.page_bytes_max,
            sweeps: Mutex::default(),
        })
    }

    /// Commits what is queued, refuses what comes later, and lets go of the database.
    pub async fn close(&self) {
        self.rotator.stop().await;
        self.reader.close().await;
        self.writer.close().await;
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    pub(crate) fn rotator(&self) -> &Arc<Rotator> {
        &self.rotator
    }

    pub(crate) fn page_bytes_max(&self) -> usize {
        self.page_bytes_max
    }

    pub(crate) fn delivery_retention(&self) -> Duration {
        self.delivery_retention
    }

    pub(crate) fn sweeps(&self) -> &Mutex<Progress> {
        &self.sweeps
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// What is written from now on gets ids of this time at least, if the clock that says so is about right.
    pub(crate) fn pass_time(&self, at: Timestamp) {
        if at <= self.clock.now().plus(CLOCKS_APART_MAX) {
            self.ids.pass(at);
        }
    }
}

/// Clocks of nodes that differ by more than this are wrong, and not followed.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60);

/// Migrates a database and leaves it alone: what `roost migrate` does.
pub async fn migrate(config: &StoreConfig, entropy: Arc<dyn Entropy>) -> Result<Migrated, OpenError> {
    let address = address(config)?;
    let keyring = keyring(config, &address, &entropy).await?;
    let lock = lock(&address).await?;
    let mut connection = address.connect().await?;
    let migrated = prepare(&mut connection, &keyring).await?;
    connection.close().await?;
    drop(lock);
    Ok(migrated)
}

/// The keys for a database. Looks at it first, and refuses when it needs others; a key file is made only
/// together with the database.
async fn keyring(
    config: &StoreConfig,
    address: &Address,
    entropy: &Arc<dyn Entropy>,
) -> Result<Arc<Keyring>, OpenError> {
    let found = inspect(address).await?;
    let keys = match &config.keys {
        KeySource::Given(keys) => keys.clone(),
        KeySource::File(path) => match MasterKeys::load(path) {
            Err(MasterKeyError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                if found.is_some() {
                    return Err(OpenError::NoMasterKey { path: path.clone() });
                }
                MasterKeys::create(path, &**entropy)?
            }
            loaded => loaded?,
        },
    };
    let keyring = Arc::new(Keyring::new(&keys, config.encrypt_messages, entropy.clone()));
    if let Some(found) = found {
        check(&found, &keyring)?;
    }
    Ok(keyring)
}

/// Where a rotation finds the keys. No node makes a key that others do not have: of several, each works with
/// those that it was started with.
fn source(config: &StoreConfig) -> Result<KeySource, OpenError> {
    Ok(match &config.keys {
        KeySource::File(path) if config.shared => KeySource::Given(MasterKeys::load(path)?),
        keys => keys.clone(),
    })
}

/// Whether this release and these keys can open what was found.
pub(crate) fn check(found: &Inspected, keyring: &Keyring) -> Result<(), OpenError> {
    check_version(found.version)?;
    found.custody.check(keyring)
}

fn check_version(found: i64) -> Result<(), OpenError> {
    let known = schema::latest();
    if found > known {
        return Err(OpenError::NewerSchema { found, known });
    }
    Ok(())
}

/// Checks schema and master keys, then migrates.
async fn prepare(connection: &mut Connection, keyring: &Keyring) -> Result<Migrated, OpenError> {
    let before = schema::ledger(connection).await?;
    let fresh = before.is_empty();
    if let Some(last) = before.last() {
        check_version(last.version)?;
        custody::Custody::load(connection).await?.check(keyring)?;
    }
    schema::apply(connection).await.map_err(OpenError::Migration)?;
    place_rows(connection).await?;
    custody::adopt(connection, keyring, fresh).await?;
    let ledger = schema::ledger(connection).await?;
    let applied = ledger
        .iter()
        .filter(|migration| !before.contains(migration))
        .cloned()
        .collect();
    Ok(Migrated { applied, ledger })
}

pub(crate) fn address(config: &StoreConfig) -> Result<Address, OpenError> {
    let url = &config.url;
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        // The parser's own words may repeat the URL, and with it the password.
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| OpenError::Url("the PostgreSQL URL is malformed".to_owned()))?;
        let options = options
            .application_name("roost")
            .statement_cache_capacity(STATEMENTS_MAX)
            .disable_statement_logging()
            .options([(
                "idle_in_transaction_session_timeout",
                config.idle_transaction_timeout.as_millis().to_string(),
            )]);
        return Ok(Address::Postgres(Box::new(options)));
    }
    let path = url
        .strip_prefix("sqlite:")
        .ok_or_else(|| OpenError::Url("unknown scheme".to_owned()))?;
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains('?') || path == ":memory:" {
        return Err(OpenError::Url(
            "the path of the SQLite file is missing or not a plain path".to_owned(),
        ));
    }
    let synchronous = match config.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    let mut pragmas = vec![
        ("page_size", PAGE_BYTES.to_string()),
        ("journal_mode", "WAL".to_owned()),
        ("synchronous", synchronous.to_owned()),
        ("foreign_keys", "OFF".to_owned()),
        // What undoes a single statement must not go through a file.
        ("temp_store", "MEMORY".to_owned()),
        ("cache_size", CACHE.to_owned()),
        // What is overwritten does not stay behind in the free space of pages that are written anyway.
        ("secure_delete", "FAST".to_owned()),
        ("wal_autocheckpoint", CHECKPOINT_PAGES.to_owned()),
        ("journal_size_limit", LOG_BYTES_KEPT.to_owned()),
    ];
    if let Some(bytes) = config.sqlite_bytes_max {
        let pages = (bytes / u64::from(PAGE_BYTES)).max(1);
        pragmas.push(("max_page_count", pages.to_string()));
    }
    Ok(Address::Sqlite(SqliteFile {
        path: path.into(),
        pragmas,
        busy_timeout: config.busy_timeout,
    }))
}

/// Takes a SQLite database for this process. PostgreSQL serves many nodes.
pub(crate) async fn lock(address: &Address) -> Result<Option<File>, OpenError> {
    let Address::Sqlite(SqliteFile { path, .. }) = address else {
        return Ok(None);
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|source| folder_error(folder, source))?;
    }
    let lock_path = beside(path, ".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(|source| folder_error(&lock_path, source))?;
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                tokio::time::sleep(LOCK_PAUSE).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(folder_error(&lock_path, source)),
        }
    }
}

fn folder_error(path: &Path, source: std::io::Error) -> OpenError {
    OpenError::Folder {
        path: path.to_owned(),
        source,
    }
}
