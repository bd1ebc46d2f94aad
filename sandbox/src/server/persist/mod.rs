//! What survives a restart, when there is a data folder: rows in one SQLite file.
//!
//! Owners of state write what they change to their [`Shelf`] while they hold their own lock. The
//! changes gather in the [`Journal`]; one task, the [`Writer`], commits what has gathered in one
//! transaction, again and again. A [`Unit`] keeps the changes of one stanza, one job or one control
//! call in the same transaction.
//!
//! Nothing leaves the process before what it rests on is committed: connections and control calls
//! wait at [`Journal::barrier`] before they write. So after a `kill -9` the other side has seen
//! nothing that is not there, and no ratchet is older than what it has sent. A commit has reached the
//! kernel, not the disk: a crash of the machine may lose the latest ones.
//!
//! Without a data folder a journal is nothing, and costs nothing.

mod database;
mod journal;
mod pen;
mod saved;
mod stanza;
mod table;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use thiserror::Error;

use database::Database;
pub(super) use journal::{Journal, Rows, Shelf};
pub(super) use saved::{Row, Saved, SavedAccount};
pub(super) use stanza::{pack, unpack};
pub(super) use table::Table;
pub(super) use writer::Writer;

/// Why a data folder cannot be used.
#[derive(Debug, Error)]
pub enum PersistError {
    #[error("the data folder {} cannot be used", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the data folder {} is in use by another sandbox", path.display())]
    InUse { path: PathBuf },
    #[error(
        "the data folder {} was written by a newer sandbox (format {found}; this one reads {known})",
        path.display()
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error("{} is not a sandbox's database", path.display())]
    Foreign { path: PathBuf },
    #[error("the sandbox's database failed")]
    Database(#[from] sqlx::Error),
    #[error("the sandbox's database cannot be written")]
    Pen(#[from] rusqlite::Error),
    #[error("a row of table {table} cannot be read")]
    Corrupt {
        table: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("an account lacks its row in table {table}")]
    Incomplete { table: &'static str },
}

/// A data folder that is ours: what it holds, and where changes go.
pub(super) struct Opened {
    pub journal: Journal,
    pub saved: Saved,
    pub writer: Writer,
}

/// Takes a data folder, making it if need be, and reads all of it.
pub(super) async fn open(folder: &Path) -> Result<Opened, PersistError> {
    let mut database = Database::open(folder).await?;
    let saved = database.read().await?;
    let pen = database.pen()?;
    let (journal, writer) = writer::start(database, pen);
    Ok(Opened {
        journal,
        saved,
        writer,
    })
}
