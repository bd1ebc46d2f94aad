//! What an error of the database means for the work at hand.

use roost_domain::store::StoreError;
use rusqlite::ffi;

/// Why a transaction or a read did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database said so, or could not be reached.
    Database(sqlx::Error),
    /// SQLite said so to the writer.
    Sqlite(rusqlite::Error),
    /// A stored row cannot be understood.
    Stored(StoreError),
    /// The commit was sent and its answer lost; whether it happened could not be found out.
    CommitUnknown,
    /// The connection was given up because it took too long.
    TimedOut,
    /// The node's lease ended while it wrote for what it owned.
    LeaseLost,
    /// The disk would not have room left to copy SQLite's log back.
    DiskShort {
        /// Bytes that are free.
        free: u64,
        /// Bytes that have to be.
        needed: u64,
        /// Of these, for the batch itself; zero before it was run.
        batch: u64,
    },
}

/// What can be done about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Wait, and try the same again on the same connection.
    Wait,
    /// The connection is no longer usable: try the same again on another one.
    Reconnect,
    /// Somebody else was first: the same again will see what they wrote.
    Reread,
    /// The same again, in which owners are refused.
    Refuse,
    /// The same will fail again.
    None,
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Stored(error)
    }
}

impl Failure {
    pub(crate) fn remedy(&self) -> Remedy {
        match self {
            Self::Stored(_) => Remedy::None,
            Self::CommitUnknown | Self::DiskShort { .. } => Remedy::None,
            Self::TimedOut => Remedy::Reconnect,
            Self::LeaseLost => Remedy::Refuse,
            Self::Database(error) => remedy(error),
            Self::Sqlite(error) => local_remedy(error),
        }
    }

    /// Whether one unit of a batch may be at fault, so that the others would succeed without it. A
    /// database that is away is nobody's fault, and what may have been committed is not run again.
    pub(crate) fn blames_a_unit(&self) -> bool {
        match self {
            Self::Stored(StoreError::Unavailable(_))
            | Self::CommitUnknown
            | Self::TimedOut
            | Self::LeaseLost => false,
            // Each unit alone may be small enough.
            Self::DiskShort { batch, .. } => *batch > 0,
            Self::Stored(_) | Self::Database(_) | Self::Sqlite(_) => {
                matches!(self.remedy(), Remedy::None | Remedy::Reread)
            }
        }
    }

    /// Whether a batch of so many units would fail for lack of room whatever is in it.
    pub(crate) fn is_for_all(&self, units: usize) -> bool {
        matches!(self, Self::DiskShort { .. }) && (units == 1 || !self.blames_a_unit())
    }

    /// Whether the disk, or the size that the database may have, was reached.
    pub(crate) fn is_full(&self) -> bool {
        let Self::Sqlite(error) = self else {
            return false;
        };
        error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
    }

    pub(crate) fn into_store_error(self) -> StoreError {
        let remedy = self.remedy();
        match self {
            Self::Stored(error) => error,
            Self::CommitUnknown => {
                StoreError::Unavailable("the connection was lost during a commit".to_owned())
            }
            Self::TimedOut => StoreError::Unavailable("the database takes too long to answer".to_owned()),
            Self::LeaseLost => StoreError::Fenced,
            Self::DiskShort { free, needed, .. } => StoreError::Unavailable(format!(
                "the disk is almost full: {} KiB are free, {} KiB have to be",
                free >> 10,
                needed >> 10
            )),
            Self::Database(sqlx::Error::Database(error)) => told(remedy, error.message().to_owned()),
            Self::Database(error) => told(remedy, error.to_string()),
            Self::Sqlite(error) => told(remedy, error.to_string()),
        }
    }
}

/// What is told of an error, in the database's own words.
fn told(remedy: Remedy, words: String) -> StoreError {
    match remedy {
        Remedy::Wait | Remedy::Reconnect => StoreError::Unavailable(words),
        Remedy::Reread => StoreError::Conflict("such a row is there already".to_owned()),
        Remedy::None | Remedy::Refuse => StoreError::Corrupt(words),
    }
}

fn remedy(error: &sqlx::Error) -> Remedy {
    match error {
        sqlx::Error::Database(error) if error.is_unique_violation() => Remedy::Reread,
        sqlx::Error::Database(error) => {
            let code = error.code();
            let code = code.as_deref().unwrap_or_default();
            match code.parse::<i32>() {
                // SQLSTATE has five characters; SQLite's extended codes have up to four.
                Ok(number) if code.len() < 5 => sqlite_remedy(number & 0xff),
                _ => postgres_remedy(code),
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => Remedy::Reconnect,
        _ => Remedy::None,
    }
}

fn local_remedy(error: &rusqlite::Error) -> Remedy {
    match error.sqlite_error().map(|error| error.extended_code) {
        Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => Remedy::Reread,
        Some(code) => sqlite_remedy(code & 0xff),
        None => Remedy::None,
    }
}

fn sqlite_remedy(primary: i32) -> Remedy {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const NOMEM: i32 = 7;
    const READONLY: i32 = 8;
    const INTERRUPT: i32 = 9;
    const IOERR: i32 = 10;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    const PROTOCOL: i32 = 15;
    match primary {
        BUSY | LOCKED | NOMEM | INTERRUPT | FULL | PROTOCOL => Remedy::Wait,
        // After these a connection may hold files that are no longer the right ones.
        READONLY | IOERR | CANTOPEN => Remedy::Reconnect,
        _ => Remedy::None,
    }
}

fn postgres_remedy(code: &str) -> Remedy {
    match (code.get(..2), code) {
        // Serialization failures and deadlocks; locks that did not come.
        (Some("40"), _) | (_, "55P03") => Remedy::Wait,
        // Out of disk, memory or connections.
        (Some("53"), _) => Remedy::Reconnect,
        // Connection exceptions; shutdowns; a transaction in which the server heard nothing for too long; a
        // read-only transaction, as on a demoted primary;
        // passwords and databases that are not there while a server is being set up.
        (Some("08" | "57" | "58" | "28" | "3D"), _) | (_, "25006" | "25P03") => Remedy::Reconnect,
        _ => Remedy::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_their_code() {
        assert_eq!(sqlite_remedy(5), Remedy::Wait);
        assert_eq!(sqlite_remedy(13), Remedy::Wait);
        assert_eq!(sqlite_remedy(10), Remedy::Reconnect);
        assert_eq!(sqlite_remedy(19), Remedy::None);
        assert_eq!(postgres_remedy("57P01"), Remedy::Reconnect);
        assert_eq!(postgres_remedy("53100"), Remedy::Reconnect);
        assert_eq!(postgres_remedy("25P03"), Remedy::Reconnect);
        assert_eq!(postgres_remedy("40P01"), Remedy::Wait);
        assert_eq!(postgres_remedy("22021"), Remedy::None);
    }

    #[test]
    fn a_lost_database_is_unavailable_and_a_wrong_statement_is_not() {
        let lost = Failure::Database(sqlx::Error::PoolTimedOut);
        assert!(matches!(lost.into_store_error(), StoreError::Unavailable(_)));
        let wrong = Failure::Database(sqlx::Error::RowNotFound);
        assert!(matches!(wrong.into_store_error(), StoreError::Corrupt(_)));
        assert!(matches!(
            Failure::TimedOut.into_store_error(),
            StoreError::Unavailable(_)
        ));
    }
}
