//! Copies of a SQLite database: made while a gateway works with it, checked, and put back.
//!
//! A backup is a read transaction of its own: it shows one moment, holds up no writer, and has neither the
//! log nor free pages in it. A file comes into being beside its place and is moved there when it is complete
//! and on disk, so that after a crash it is there or not. Neither has a master key in it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roost_domain::Timestamp;
use roost_domain::time::Entropy;
use rusqlite::{Connection as Sqlite, OpenFlags};

use crate::crypto::Keyring;
use crate::database::{Address, SqliteFile};
use crate::inspect::{beside, has_log, inspect_file, open_to_read};
use crate::open::{self, OpenError};
use crate::{KeySource, MasterKeys, StoreConfig};

/// Why a database could not be copied or put back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is not a SQLite database.
    #[error("this is for SQLite; a PostgreSQL database is backed up with pg_dump")]
    NotSqlite,
    /// There is nothing to copy.
    #[error("there is no database at {0}")]
    Nothing(PathBuf),
    /// Something is there already.
    #[error("{0} is there already")]
    Exists(PathBuf),
    /// The database cannot be opened, or what is to be put back cannot be.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The copy is damaged.
    #[error("{path} is damaged: {found}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        found: String,
    },
    /// A file cannot be used.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite cannot.
    #[error("the database cannot be copied")]
    Sqlite(#[from] rusqlite::Error),
}

/// What a backup has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackedUp {
    /// Its size.
    pub bytes: u64,
    /// Version of its shape.
    pub version: i64,
}

/// What was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Where.
    pub path: PathBuf,
    /// Version of its shape.
    pub version: i64,
    /// Where the database is that was there before.
    pub replaced: Option<PathBuf>,
}

/// Writes a copy of the database, as it is at this moment, to a new file. Other processes may work with
/// the database meanwhile.
pub fn backup(config: &StoreConfig, to: &Path, entropy: &dyn Entropy) -> Result<BackedUp, BackupError> {
    let file = sqlite(config)?;
    if !file.path.exists() {
        return Err(BackupError::Nothing(file.path));
    }
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let draft = Draft::make(to, entropy)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Sqlite::open_with_flags(&file.path, flags)?;
    source.busy_timeout(file.busy_timeout)?;
    source.execute("VACUUM INTO ?1", [draft.path.to_string_lossy()])?;
    drop(source);
    let found = inspect_file(&draft.path)?.ok_or_else(|| BackupError::Nothing(file.path.clone()))?;
    let bytes = std::fs::metadata(&draft.path)
        .map_err(|source| file_error(&draft.path, source))?
        .len();
    draft.keep()?;
    Ok(BackedUp {
        bytes,
        version: found.version,
    })
}

/// Puts a backup in the database's place, when no gateway has the database. One that is there is kept
/// beside it, and only replaced if `replace` says so. Everything is checked before anything is changed.
pub async fn restore(
    config: &StoreConfig,
    from: &Path,
    replace: bool,
    now: Timestamp,
    entropy: Arc<dyn Entropy>,
) -> Result<Restored, BackupError> {
    let file = sqlite(config)?;
    if !from.exists() {
        return Err(BackupError::Nothing(from.to_owned()));
    }
    if has_log(from) {
        return Err(BackupError::Damaged {
            path: from.to_owned(),
            found: "it has a write-ahead log beside it, so that it is no backup but a database in use"
                .to_owned(),
        });
    }
    let keys = match &config.keys {
        KeySource::Given(keys) => keys.clone(),
        KeySource::File(path) => MasterKeys::load(path).map_err(OpenError::MasterKey)?,
    };
    let keyring = Keyring::new(&keys, false, entropy.clone());
    let found = inspect_file(from)?.ok_or_else(|| BackupError::Nothing(from.to_owned()))?;
    open::check(&found, &keyring)?;
    let lock = open::lock(&Address::Sqlite(file.clone())).await?;
    let there = std::fs::metadata(&file.path).is_ok_and(|there| there.len() > 0);
    if there && !replace {
        return Err(BackupError::Exists(file.path));
    }
    let draft = Draft::make(&file.path, &*entropy)?;
    std::fs::copy(from, &draft.path).map_err(|source| file_error(&draft.path, source))?;
    check_pages(&draft.path)?;
    let replaced = match there {
        false => None,
        true => Some(set_aside(&file.path, now)?),
    };
    draft.put()?;
    drop(lock);
    Ok(Restored {
        path: file.path,
        version: found.version,
        replaced,
    })
}

/// Rewrites the database without its free pages, in which earlier values may still be found.
pub async fn compact(config: &StoreConfig) -> Result<(), BackupError> {
    let file = sqlite(config)?;
    let lock = open::lock(&Address::Sqlite(file.clone())).await?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Sqlite::open_with_flags(&file.path, flags)?;
    connection.busy_timeout(file.busy_timeout)?;
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")?;
    connection.close().map_err(|(_, error)| error)?;
    drop(lock);
    Ok(())
}

fn sqlite(config: &StoreConfig) -> Result<SqliteFile, BackupError> {
    match open::address(config)? {
        Address::Sqlite(file) => Ok(file),
        Address::Postgres(_) => Err(BackupError::NotSqlite),
    }
}

/// Whether every page of a file is as SQLite wrote it.
fn check_pages(path: &Path) -> Result<(), BackupError> {
    let connection = open_to_read(path, false)?;
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" {
        return Ok(());
    }
    Err(BackupError::Damaged {
        path: path.to_owned(),
        found,
    })
}

/// Keeps the database that is there under another name, complete and without a log, so that what takes
/// its place has none either. The place itself stays taken until then.
fn set_aside(path: &Path, now: Timestamp) -> Result<PathBuf, BackupError> {
    let aside = beside(path, &format!(".replaced-{}", now.unix_ms()));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let whole = Sqlite::open_with_flags(path, flags).and_then(|connection| {
        connection.execute_batch("PRAGMA journal_mode = DELETE")?;
        connection.close().map_err(|(_, error)| error)
    });
    std::fs::hard_link(path, &aside).map_err(|source| file_error(&aside, source))?;
    if whole.is_err() {
        // It is damaged: its log goes with it, as it is.
        for (suffix, keep) in [("-wal", true), ("-shm", false)] {
            let log = beside(path, suffix);
            if !log.exists() {
                continue;
            }
            let moved = match keep {
                true => std::fs::rename(&log, beside(&aside, suffix)),
                false => std::fs::remove_file(&log),
            };
            moved.map_err(|source| file_error(&log, source))?;
        }
    }
    Ok(aside)
}

/// A file that is being made beside its place; it goes when it is not kept.
struct Draft {
    path: PathBuf,
    place: PathBuf,
}

impl Draft {
    /// Makes it, empty and readable by its owner only.
    fn make(place: &Path, entropy: &dyn Entropy) -> Result<Self, BackupError> {
        let path = beside(place, &format!(".{:032x}", entropy.bits()));
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| file_error(&path, source))?;
        Ok(Self {
            path,
            place: place.to_owned(),
        })
    }

    /// Moves it to its place, where nothing may be.
    fn keep(self) -> Result<(), BackupError> {
        self.sync()?;
        match std::fs::hard_link(&self.path, &self.place) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(BackupError::Exists(self.place.clone()));
            }
            linked => linked.map_err(|source| file_error(&self.place, source))?,
        }
        self.sync_folder()
    }

    /// Moves it to its place, whatever is there.
    fn put(self) -> Result<(), BackupError> {
        self.sync()?;
        std::fs::rename(&self.path, &self.place).map_err(|source| file_error(&self.place, source))?;
        self.sync_folder()
    }

    fn sync(&self) -> Result<(), BackupError> {
        File::open(&self.path)
            .and_then(|file| file.sync_all())
            .map_err(|source| file_error(&self.path, source))
    }

    fn sync_folder(&self) -> Result<(), BackupError> {
        let folder = self
            .place
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| file_error(folder, source))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a move it is not there any more.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn file_error(path: &Path, source: std::io::Error) -> BackupError {
    BackupError::File {
        path: path.to_owned(),
        source,
    }
}
