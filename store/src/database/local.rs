//! SQLite on the calling thread: the writer's and the readers', which have threads of their own.
//!
//! `sqlx` runs SQLite on a thread beside its caller and hands over every statement, every row and every
//! end. For the handful of short statements of a commit that costs more than the statements do.

use std::cell::Cell;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value as Stored};
use rusqlite::{CachedStatement, OpenFlags};

use super::{Args, Dialect, Row, STATEMENTS_MAX, SqliteFile, Statement, Value};

/// SQLite's page cache of a connection for reading, in its own notation: 2 MiB. What is read is seldom
/// read again through the same connection, and the system keeps the file's pages anyway.
const READING_CACHE: &str = "-2048";

/// A connection whose calls block.
pub(crate) struct Local {
    connection: rusqlite::Connection,
    busy_timeout: Duration,
    /// Bytes given to statements since the transaction began.
    given: Cell<u64>,
}

impl Local {
    /// Opens a database that is there.
    pub(crate) fn open(file: &SqliteFile) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(&file.path, flags)?;
        connection.busy_timeout(file.busy_timeout)?;
        for (name, value) in &file.pragmas {
            connection.pragma_update(None, name, value)?;
        }
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(Self::of(connection, file))
    }

    /// Opens a database that is there, for reading alone.
    pub(super) fn open_for_reading(file: &SqliteFile) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = rusqlite::Connection::open_with_flags(&file.path, flags)?;
        connection.busy_timeout(file.busy_timeout)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "cache_size", READING_CACHE)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(Self::of(connection, file))
    }

    fn of(connection: rusqlite::Connection, file: &SqliteFile) -> Self {
        Self {
            connection,
            busy_timeout: file.busy_timeout,
            given: Cell::new(0),
        }
    }

    pub(super) fn fetch(&self, statement: &Statement, args: Args) -> rusqlite::Result<Vec<Row>> {
        let mut left = args.bytes_max;
        let mut prepared = self.prepare(statement, args)?;
        let columns = prepared.column_count();
        let mut rows = prepared.raw_query();
        let mut found = Vec::new();
        while left > 0
            && let Some(row) = rows.next()?
        {
            let cells = (0..columns).map(|at| row.get::<_, Stored>(at));
            let row = Row::Local(cells.collect::<Result<_, _>>()?);
            left = left.saturating_sub(row.size());
            found.push(row);
        }
        Ok(found)
    }

    pub(super) fn execute(&self, statement: &Statement, args: Args) -> rusqlite::Result<u64> {
        // A count of rows always fits.
        Ok(self.prepare(statement, args)?.raw_execute()? as u64)
    }

    /// Runs a statement without arguments.
    pub(super) fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.raw_execute()?;
        Ok(())
    }

    /// Copies back what the write-ahead log holds and nobody reads any more. Returns the pages in the log.
    pub(crate) fn checkpoint(&self) -> rusqlite::Result<u32> {
        self.connection
            .prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?
            .query_row([], |row| row.get::<_, i64>(1))
            // -1 when there is no log.
            .map(|pages| u32::try_from(pages).unwrap_or(0))
    }

    /// Copies all of the write-ahead log back and gives its room to the disk again, unless somebody still
    /// reads it after so long. Returns whether that was done.
    pub(super) fn empty_log(&self, patience: Duration) -> rusqlite::Result<bool> {
        self.connection.busy_timeout(patience)?;
        let done = self
            .connection
            .prepare_cached("PRAGMA wal_checkpoint(TRUNCATE)")
            .and_then(|mut statement| statement.query_row([], |row| row.get::<_, i64>(0)));
        self.connection.busy_timeout(self.busy_timeout)?;
        Ok(done? == 0)
    }

    /// Begins a transaction that writes.
    pub(super) fn begin(&self) -> rusqlite::Result<()> {
        self.given.set(0);
        self.run("BEGIN IMMEDIATE")
    }

    /// Bytes given to statements since the transaction began: about what it makes the database grow by.
    pub(super) fn given(&self) -> u64 {
        self.given.get()
    }

    /// Whether a transaction is open.
    pub(super) fn in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    pub(super) fn close(self) -> rusqlite::Result<()> {
        self.connection.close().map_err(|(_, error)| error)
    }

    fn prepare(&self, statement: &Statement, args: Args) -> rusqlite::Result<CachedStatement<'_>> {
        let values = args.sqlite_values().map_err(|error| {
            let error = error.unwrap_or_else(|| "arguments of the other dialect".to_owned());
            rusqlite::Error::ToSqlConversionFailure(error.into())
        })?;
        let mut prepared = self.connection.prepare_cached(&statement.sql(Dialect::Sqlite))?;
        let mut given = self.given.get();
        for (at, value) in values.iter().enumerate() {
            given += value.size();
            prepared.raw_bind_parameter(at + 1, value)?;
        }
        self.given.set(given);
        Ok(prepared)
    }
}

impl Value {
    fn size(&self) -> u64 {
        let bytes = match self {
            Self::Int(_) => size_of::<i64>(),
            Self::Text(value) => value.as_ref().map_or(0, String::len),
            Self::Bytes(value) => value.as_ref().map_or(0, Vec::len),
        };
        // A length always fits.
        bytes as u64
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Int(value) => value.to_sql(),
            Self::Text(value) => value.to_sql(),
            Self::Bytes(value) => value.to_sql(),
        }
    }
}
