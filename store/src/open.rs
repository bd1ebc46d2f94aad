//! Opening a store, step by step, touching nothing before everything was found in order.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use roost_domain::store::{CommitObserver, StoreError};
use roost_domain::time::{Clock, Entropy};
use sqlx::ConnectOptions;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;
use tokio::time::Instant;

use crate::crypto::Keyring;
use crate::database::{
    Address, Args, Connection, Reader, STATEMENTS_MAX, SqliteFile, Statement, WriteConnection,
};
use crate::schema::{self, Migrated};
use crate::sweep::Progress;
use crate::writer::{Parts, Writer};
use crate::{StoreConfig, Synchronous};

/// SQLite's page cache for the writer, in its own notation: 16 MiB, filled as it is needed.
const CACHE: &str = "-16384";
/// Bytes of a page.
const PAGE_BYTES: u32 = 4096;
/// Pages in SQLite's write-ahead log at which a commit copies them back itself, should the thread that
/// does so fall behind.
const CHECKPOINT_PAGES: &str = "65536";

/// How long to wait for a process that is just ending, and between looks.
const LOCK_WAIT: Duration = Duration::from_millis(500);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

static MASTER_KEY_CHECK: Statement = Statement::new("SELECT value FROM meta WHERE name = 'master_key_check'");

static KEEP_MASTER_KEY_CHECK: Statement = Statement::new(
    "INSERT INTO meta (name, value) VALUES ('master_key_check', $1) ON CONFLICT (name) DO NOTHING",
);

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
    /// The system gives no thread for the writer.
    #[error("the writer's thread could not be started")]
    Thread(#[source] std::io::Error),
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// Every port of [`roost_domain::store`] on SQLite or PostgreSQL.
pub struct SqlStore {
    reader: Reader,
    writer: Writer,
    keyring: Arc<Keyring>,
    clock: Arc<dyn Clock>,
    delivery_retention: Duration,
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
        let lock = lock(&address).await?;
        let keyring = Arc::new(Keyring::new(&config.master_key, entropy.clone()));
        let mut connection = address.connect().await?;
        prepare(&mut connection, &keyring).await?;
        connection.close().await?;
        let connection = WriteConnection::open(&address)
            .await
            .map_err(|failure| OpenError::Writer(failure.into_store_error()))?;
        let reader = Reader::new(&address, &config);
        let parts = Parts {
            address,
            connection,
            clock: clock.clone(),
            entropy,
            keyring: keyring.clone(),
            observer,
            lock,
        };
        let writer = Writer::start(parts, &config).map_err(OpenError::Thread)?;
        Ok(Self {
            reader,
            writer,
            keyring,
            clock,
            delivery_retention: config.delivery_retention,
            sweeps: Mutex::default(),
        })
    }

    /// Commits what is queued, refuses what comes later, and lets go of the database.
    pub async fn close(&self) {
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

    pub(crate) fn delivery_retention(&self) -> Duration {
        self.delivery_retention
    }

    pub(crate) fn sweeps(&self) -> &Mutex<Progress> {
        &self.sweeps
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}

/// Migrates a database and leaves it alone: what `roost migrate` does.
pub async fn migrate(config: &StoreConfig, entropy: Arc<dyn Entropy>) -> Result<Migrated, OpenError> {
    let address = address(config)?;
    let lock = lock(&address).await?;
    let keyring = Keyring::new(&config.master_key, entropy);
    let mut connection = address.connect().await?;
    let migrated = prepare(&mut connection, &keyring).await?;
    connection.close().await?;
    drop(lock);
    Ok(migrated)
}

/// Checks schema and master key, then migrates.
async fn prepare(connection: &mut Connection, keyring: &Keyring) -> Result<Migrated, OpenError> {
    let before = schema::ledger(connection).await?;
    let found = before
        .iter()
        .map(|migration| migration.version)
        .max()
        .unwrap_or(0);
    if found > schema::latest() {
        return Err(OpenError::NewerSchema {
            found,
            known: schema::latest(),
        });
    }
    if !before.is_empty() {
        check_master_key(connection, keyring).await?;
    }
    schema::apply(connection).await.map_err(OpenError::Migration)?;
    let args = Args::new(connection.dialect()).text(keyring.check_value());
    connection.execute(&KEEP_MASTER_KEY_CHECK, args).await?;
    // Another node may have been first with another key.
    check_master_key(connection, keyring).await?;
    let ledger = schema::ledger(connection).await?;
    let applied = ledger
        .iter()
        .filter(|migration| !before.contains(migration))
        .cloned()
        .collect();
    Ok(Migrated { applied, ledger })
}

async fn check_master_key(connection: &mut Connection, keyring: &Keyring) -> Result<(), OpenError> {
    let args = Args::new(connection.dialect());
    let rows = connection.fetch(&MASTER_KEY_CHECK, args).await?;
    match rows.first().map(|row| row.text(0)) {
        Some(Ok(value)) if value != keyring.check_value() => Err(OpenError::WrongMasterKey),
        _ => Ok(()),
    }
}

fn address(config: &StoreConfig) -> Result<Address, OpenError> {
    let url = &config.url;
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        // The parser's own words may repeat the URL, and with it the password.
        let options = PgConnectOptions::from_str(url)
            .map_err(|_| OpenError::Url("the PostgreSQL URL is malformed".to_owned()))?;
        let options = options
            .application_name("roost")
            .statement_cache_capacity(STATEMENTS_MAX)
            .disable_statement_logging();
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
        ("wal_autocheckpoint", CHECKPOINT_PAGES.to_owned()),
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
async fn lock(address: &Address) -> Result<Option<File>, OpenError> {
    let Address::Sqlite(SqliteFile { path, .. }) = address else {
        return Ok(None);
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|source| folder_error(folder, source))?;
    }
    let mut name = OsString::from(path);
    name.push(".lock");
    let lock_path = PathBuf::from(name);
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
