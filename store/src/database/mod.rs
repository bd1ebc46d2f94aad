//! One face for both databases: dialects, connections, arguments and rows.
//!
//! SQL is written once, in [`Statement`]s, with marked places where the dialects differ. Hot
//! statements work on many rows at a time: a [`Rows`] argument is a table of values that becomes one
//! JSON parameter on SQLite and one array per column on PostgreSQL.

mod crew;
mod failure;
mod local;
mod reader;
mod row;
mod statement;
mod write;

use std::path::PathBuf;
use std::time::Duration;

use futures::TryStreamExt as _;
use sqlx::postgres::{PgArguments, PgConnectOptions};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions};
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, Connection as _, Executor, PgConnection, SqliteConnection,
};

pub(crate) use failure::{Failure, Remedy};
pub(crate) use local::Local;
pub(crate) use reader::Reader;
pub(crate) use row::Row;
pub(crate) use statement::{Column, Rows, Statement, storable};
pub(crate) use write::WriteConnection;

/// Statements kept prepared per connection: all there are, and room.
pub(crate) const STATEMENTS_MAX: usize = 300;
/// Rows that `sqlx`'s thread for SQLite may run ahead of its reader.
const ROWS_AHEAD: usize = 2048;

/// Which database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// How to reach the database.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Sqlite(SqliteFile),
    Postgres(Box<PgConnectOptions>),
}

/// A SQLite database.
#[derive(Debug, Clone)]
pub(crate) struct SqliteFile {
    pub(crate) path: PathBuf,
    /// Settings of each connection, in the order in which they are made.
    pub(crate) pragmas: Vec<(&'static str, String)>,
    pub(crate) busy_timeout: Duration,
}

impl SqliteFile {
    fn options(&self) -> SqliteConnectOptions {
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(true)
            .busy_timeout(self.busy_timeout)
            .statement_cache_capacity(STATEMENTS_MAX)
            .row_buffer_size(ROWS_AHEAD)
            .disable_statement_logging();
        self.pragmas.iter().fold(options, |options, (name, value)| {
            options.pragma(*name, value.clone())
        })
    }
}

impl Address {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(crate) async fn connect(&self) -> Result<Connection, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(file) => Connection::Sqlite(file.options().connect().await?),
            Self::Postgres(options) => Connection::Postgres(options.connect().await?),
        })
    }
}

/// One connection.
pub(crate) enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Connection {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement and gives its rows.
    pub(crate) async fn fetch(&mut self, statement: &Statement, args: Args) -> Result<Vec<Row>, sqlx::Error> {
        match self {
            Self::Sqlite(connection) => fetch_sqlite(connection, statement, args).await,
            Self::Postgres(connection) => fetch_postgres(connection, statement, args).await,
        }
    }

    /// Runs a statement and gives the number of rows it changed.
    pub(crate) async fn execute(&mut self, statement: &Statement, args: Args) -> Result<u64, sqlx::Error> {
        match self {
            Self::Sqlite(connection) => {
                let query = sqlx::query_with(AssertSqlSafe(statement.sql(Dialect::Sqlite)), args.sqlite()?);
                Ok(connection.execute(query).await?.rows_affected())
            }
            Self::Postgres(connection) => {
                let query =
                    sqlx::query_with(AssertSqlSafe(statement.sql(Dialect::Postgres)), args.postgres()?);
                Ok(connection.execute(query).await?.rows_affected())
            }
        }
    }

    pub(crate) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        }
    }
}

async fn fetch_sqlite(
    connection: &mut SqliteConnection,
    statement: &Statement,
    args: Args,
) -> Result<Vec<Row>, sqlx::Error> {
    let query = sqlx::query_with(AssertSqlSafe(statement.sql(Dialect::Sqlite)), args.sqlite()?);
    Ok(connection
        .fetch_all(query)
        .await?
        .into_iter()
        .map(Row::Sqlite)
        .collect())
}

pub(crate) async fn fetch_postgres(
    connection: &mut PgConnection,
    statement: &Statement,
    args: Args,
) -> Result<Vec<Row>, sqlx::Error> {
    let mut left = args.bytes_max;
    let query = sqlx::query_with(AssertSqlSafe(statement.sql(Dialect::Postgres)), args.postgres()?);
    let mut coming = connection.fetch(query);
    let mut rows = Vec::new();
    while let Some(row) = coming.try_next().await? {
        let row = Row::Postgres(row);
        left = left.saturating_sub(row.size());
        rows.push(row);
        if left == 0 {
            break;
        }
    }
    Ok(rows)
}

/// Arguments of one statement, in the order of their numbers.
#[derive(Clone)]
pub(crate) struct Args {
    values: Values,
    /// Bytes of rows after which no more are read.
    bytes_max: usize,
    /// The first value that could not be encoded.
    error: Option<String>,
}

#[derive(Clone)]
enum Values {
    Sqlite(Vec<Value>),
    Postgres(PgArguments),
}

/// A value on its way to SQLite.
#[derive(Clone)]
enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl Args {
    pub(crate) fn new(dialect: Dialect) -> Self {
        let values = match dialect {
            Dialect::Sqlite => Values::Sqlite(Vec::new()),
            Dialect::Postgres => Values::Postgres(PgArguments::default()),
        };
        Self {
            values,
            bytes_max: usize::MAX,
            error: None,
        }
    }

    /// Has the reading end with the row that brings texts and bytes to this number.
    pub(crate) fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    pub(crate) fn int(self, value: i64) -> Self {
        self.opt_int(Some(value))
    }

    pub(crate) fn opt_int(mut self, value: Option<i64>) -> Self {
        match &mut self.values {
            Values::Sqlite(values) => values.push(Value::Int(value)),
            Values::Postgres(values) => {
                let added = values.add(value);
                self.note(added);
            }
        }
        self
    }

    pub(crate) fn text(self, value: impl ToString) -> Self {
        self.opt_text(Some(value))
    }

    pub(crate) fn opt_text(mut self, value: Option<impl ToString>) -> Self {
        let value = value.map(|value| statement::storable(value.to_string()));
        match &mut self.values {
            Values::Sqlite(values) => values.push(Value::Text(value)),
            Values::Postgres(values) => {
                let added = values.add(value);
                self.note(added);
            }
        }
        self
    }

    pub(crate) fn opt_bytes(mut self, value: Option<Vec<u8>>) -> Self {
        match &mut self.values {
            Values::Sqlite(values) => values.push(Value::Bytes(value)),
            Values::Postgres(values) => {
                let added = values.add(value);
                self.note(added);
            }
        }
        self
    }

    pub(crate) fn bytes(self, value: Vec<u8>) -> Self {
        self.opt_bytes(Some(value))
    }

    /// A table of values; comes after all others.
    pub(crate) fn rows(mut self, rows: Rows) -> Self {
        match (&mut self.values, rows) {
            (Values::Sqlite(values), Rows::Json(rows)) => {
                let (json, blobs) = rows.finish();
                values.push(Value::Text(Some(json)));
                values.extend(blobs.map(|blobs| Value::Bytes(Some(blobs))));
            }
            (Values::Postgres(values), Rows::Arrays(arrays)) => {
                let added = arrays.add_to(values);
                self.note(added);
            }
            (Values::Sqlite(_), Rows::Arrays(_)) | (Values::Postgres(_), Rows::Json(_)) => {
                self.note(Err("rows of the other dialect".into()));
            }
        }
        self
    }

    fn note(&mut self, added: Result<(), sqlx::error::BoxDynError>) {
        if let Err(error) = added {
            self.error.get_or_insert(error.to_string());
        }
    }

    /// For `sqlx`.
    fn sqlite(self) -> Result<SqliteArguments, sqlx::Error> {
        let mut arguments = SqliteArguments::default();
        for value in self.sqlite_values().map_err(encode_error)? {
            match value {
                Value::Int(value) => arguments.add(value),
                Value::Text(value) => arguments.add(value),
                Value::Bytes(value) => arguments.add(value),
            }
            .map_err(sqlx::Error::Encode)?;
        }
        Ok(arguments)
    }

    fn sqlite_values(self) -> Result<Vec<Value>, Option<String>> {
        match (self.error, self.values) {
            (None, Values::Sqlite(values)) => Ok(values),
            (error, _) => Err(error),
        }
    }

    fn postgres(self) -> Result<PgArguments, sqlx::Error> {
        match (self.error, self.values) {
            (None, Values::Postgres(values)) => Ok(values),
            (error, _) => Err(encode_error(error)),
        }
    }
}

fn encode_error(error: Option<String>) -> sqlx::Error {
    sqlx::Error::Encode(
        error
            .unwrap_or_else(|| "arguments of the other dialect".to_owned())
            .into(),
    )
}

#[cfg(test)]
mod tests;
