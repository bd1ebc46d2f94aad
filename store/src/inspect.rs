//! What is in a database, found out without touching it: nothing is made, migrated, locked or copied back
//! from a log before it is known that the database is ours and its master keys are there.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rusqlite::{Connection as Sqlite, OpenFlags, OptionalExtension};

use crate::custody::Custody;
use crate::database::{Address, SqliteFile};
use crate::open::OpenError;
use crate::schema;

/// What was found.
pub(crate) struct Inspected {
    /// Version of its shape.
    pub(crate) version: i64,
    pub(crate) custody: Custody,
}

/// Looks at a database; `None` when there is none, or an empty one.
pub(crate) async fn inspect(address: &Address) -> Result<Option<Inspected>, OpenError> {
    match address {
        Address::Sqlite(SqliteFile { path, .. }) => inspect_file(path),
        Address::Postgres(_) => {
            let mut connection = address.connect().await?;
            let ledger = schema::ledger(&mut connection).await?;
            let found = match ledger.last() {
                None => None,
                Some(last) => Some(Inspected {
                    version: last.version,
                    custody: Custody::load(&mut connection).await?,
                }),
            };
            connection.close().await?;
            Ok(found)
        }
    }
}

/// The same for a SQLite file.
pub(crate) fn inspect_file(path: &Path) -> Result<Option<Inspected>, OpenError> {
    let bytes = match std::fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(source) => {
            return Err(OpenError::Folder {
                path: path.to_owned(),
                source,
            });
        }
    };
    if bytes == 0 {
        return Ok(None);
    }
    let found = read(path, has_log(path)).or_else(|_| {
        // A log may have come about meanwhile.
        read(path, true)
    });
    found.map_err(|source| OpenError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn read(path: &Path, has_log: bool) -> rusqlite::Result<Option<Inspected>> {
    let connection = open_to_read(path, has_log)?;
    let migrated = connection
        .query_row(
            "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'",
            [],
            |_| Ok(()),
        )
        .optional()?;
    if migrated.is_none() {
        return Ok(None);
    }
    let version: Option<i64> =
        connection.query_row("SELECT max(version) FROM _sqlx_migrations", [], |row| row.get(0))?;
    let Some(version) = version else {
        return Ok(None);
    };
    let mut statement = connection.prepare("SELECT name, value FROM meta")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(String, String)> = rows.collect::<Result<_, _>>()?;
    Ok(Some(Inspected {
        version,
        custody: Custody::new(rows),
    }))
}

/// Opens a SQLite file to read. Without a log it is read as a file that does not change, so that SQLite
/// makes no files beside it.
pub(crate) fn open_to_read(path: &Path, has_log: bool) -> rusqlite::Result<Sqlite> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if has_log {
        return Sqlite::open_with_flags(path, flags);
    }
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.push_str(&format!("%{byte:02x}")),
            byte if byte.is_ascii() => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    Sqlite::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
}

/// Whether a SQLite file has a write-ahead log beside it.
pub(crate) fn has_log(path: &Path) -> bool {
    std::fs::metadata(beside(path, "-wal")).is_ok_and(|log| log.len() > 0)
}

/// The path of a file that belongs to a SQLite file.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
