//! The data folder: a lock file that says whose it is, and one SQLite file.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{Connection, Row as _, SqliteConnection};

use super::PersistError;
use super::pen::Pen;
use super::saved::{Row, Saved};
use super::table::Table;

/// Raised when the rows change in a way that older sandboxes cannot read.
const FORMAT: i64 = 1;

pub(super) struct Database {
    connection: SqliteConnection,
    path: PathBuf,
    /// The lock ends with the file handle, also when the process is killed.
    _lock: File,
}

impl Database {
    pub async fn open(folder: &Path) -> Result<Self, PersistError> {
        let lock = take(folder)?;
        let path = folder.join("sandbox.db");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Off);
        let connection = SqliteConnection::connect_with(&options).await?;
        let mut database = Self {
            connection,
            path: path.clone(),
            _lock: lock,
        };
        match database.number("PRAGMA user_version").await? {
            // Tables that came later are made when they are missing.
            FORMAT => database.create().await?,
            0 if database.number("SELECT count(*) FROM sqlite_schema").await? == 0 => {
                database.create().await?
            }
            found if found > FORMAT => {
                return Err(PersistError::Newer {
                    path: folder.to_owned(),
                    found,
                    known: FORMAT,
                });
            }
            _ => return Err(PersistError::Foreign { path }),
        }
        Ok(database)
    }

    async fn number(&mut self, query: &'static str) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(query).fetch_one(&mut self.connection).await
    }

    async fn create(&mut self) -> Result<(), sqlx::Error> {
        let mut transaction = self.connection.begin().await?;
        for table in Table::ALL {
            sqlx::query(table.statements().create)
                .execute(&mut *transaction)
                .await?;
        }
        // The version is part of the transaction: a file has all tables or none.
        const { assert!(FORMAT == 1, "the statement below names the format") };
        sqlx::query("PRAGMA user_version = 1")
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    pub async fn read(&mut self) -> Result<Saved, PersistError> {
        let mut saved = Saved::default();
        for table in Table::ALL {
            let mut rows = sqlx::query(table.statements().read).fetch(&mut self.connection);
            while let Some(row) = rows.try_next().await? {
                let (account, row) = parse(*table, &row)?;
                saved.accounts.entry(account).or_default().add(row);
            }
        }
        Ok(saved)
    }

    /// What writes to the same file from now on.
    pub fn pen(&self) -> Result<Pen, rusqlite::Error> {
        Pen::open(&self.path)
    }

    pub async fn close(self) -> Result<(), sqlx::Error> {
        self.connection.close().await
    }
}

fn parse(table: Table, row: &SqliteRow) -> Result<(u32, Row), PersistError> {
    let parsed = || -> Result<_, sqlx::Error> {
        let item: i64 = row.try_get(2)?;
        let name: String = row.try_get(3)?;
        let row_of = Row::new(
            table,
            row.try_get(1)?,
            item.cast_unsigned(),
            name.into(),
            row.try_get(4)?,
        );
        Ok((row.try_get(0)?, row_of))
    };
    parsed().map_err(|error| PersistError::Corrupt {
        table: table.name(),
        source: error.into(),
    })
}

/// Makes the folder if need be, readable by its owner only, and locks it.
fn take(folder: &Path) -> Result<File, PersistError> {
    let failed = |source| PersistError::Folder {
        path: folder.to_owned(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(failed)?;
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(folder.join("lock"))
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(PersistError::InUse {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}
