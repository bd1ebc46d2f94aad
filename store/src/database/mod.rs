//! One face for both databases: dialects, connections, arguments and rows.
//!
//! SQL is written once, in [`Statement`]s, with marked places where the dialects differ. Hot
//! statements work on many rows at a time: a [`Rows`] argument is a table of values that becomes one
//! JSON parameter on SQLite and one array per column on PostgreSQL.

mod failure;
mod reader;
mod row;
mod statement;

use sqlx::postgres::{PgArguments, PgConnectOptions};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions};
use sqlx::{
    Arguments, AssertSqlSafe, ConnectOptions, Connection as _, Executor, PgConnection, SqliteConnection,
};

pub(crate) use failure::{Failure, Remedy};
pub(crate) use reader::Reader;
pub(crate) use row::Row;
pub(crate) use statement::{Column, Rows, Statement, storable};

/// Which database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// How to reach the database.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Sqlite(Box<SqliteConnectOptions>),
    Postgres(Box<PgConnectOptions>),
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
            Self::Sqlite(options) => Connection::Sqlite(options.connect().await?),
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

    /// Runs statements without arguments, as they are.
    pub(crate) async fn run(&mut self, sql: &'static str) -> Result<Vec<Row>, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(connection) => sqlx::raw_sql(sql)
                .fetch_all(connection)
                .await?
                .into_iter()
                .map(Row::Sqlite)
                .collect(),
            Self::Postgres(connection) => sqlx::raw_sql(sql)
                .fetch_all(connection)
                .await?
                .into_iter()
                .map(Row::Postgres)
                .collect(),
        })
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

async fn fetch_postgres(
    connection: &mut PgConnection,
    statement: &Statement,
    args: Args,
) -> Result<Vec<Row>, sqlx::Error> {
    let query = sqlx::query_with(AssertSqlSafe(statement.sql(Dialect::Postgres)), args.postgres()?);
    Ok(connection
        .fetch_all(query)
        .await?
        .into_iter()
        .map(Row::Postgres)
        .collect())
}

/// Arguments of one statement, in the order of their numbers.
#[derive(Clone)]
pub(crate) struct Args {
    values: Values,
    /// The first value that could not be encoded.
    error: Option<String>,
}

#[derive(Clone)]
enum Values {
    Sqlite(SqliteArguments),
    Postgres(PgArguments),
}

impl Args {
    pub(crate) fn new(dialect: Dialect) -> Self {
        let values = match dialect {
            Dialect::Sqlite => Values::Sqlite(SqliteArguments::default()),
            Dialect::Postgres => Values::Postgres(PgArguments::default()),
        };
        Self { values, error: None }
    }

    pub(crate) fn int(self, value: i64) -> Self {
        self.opt_int(Some(value))
    }

    pub(crate) fn opt_int(mut self, value: Option<i64>) -> Self {
        let added = match &mut self.values {
            Values::Sqlite(values) => values.add(value),
            Values::Postgres(values) => values.add(value),
        };
        self.note(added)
    }

    pub(crate) fn text(self, value: impl ToString) -> Self {
        self.opt_text(Some(value))
    }

    pub(crate) fn opt_text(mut self, value: Option<impl ToString>) -> Self {
        let value = value.map(|value| statement::storable(value.to_string()));
        let added = match &mut self.values {
            Values::Sqlite(values) => values.add(value),
            Values::Postgres(values) => values.add(value),
        };
        self.note(added)
    }

    pub(crate) fn opt_bytes(mut self, value: Option<Vec<u8>>) -> Self {
        let added = match &mut self.values {
            Values::Sqlite(values) => values.add(value),
            Values::Postgres(values) => values.add(value),
        };
        self.note(added)
    }

    pub(crate) fn bytes(self, value: Vec<u8>) -> Self {
        self.opt_bytes(Some(value))
    }

    /// A table of values; comes after all others.
    pub(crate) fn rows(mut self, rows: Rows) -> Self {
        let added = match (&mut self.values, rows) {
            (Values::Sqlite(values), Rows::Json(json)) => json.add_to(values),
            (Values::Postgres(values), Rows::Arrays(arrays)) => arrays.add_to(values),
            (Values::Sqlite(_), Rows::Arrays(_)) | (Values::Postgres(_), Rows::Json(_)) => {
                Err("rows of the other dialect".into())
            }
        };
        self.note(added)
    }

    fn note(mut self, added: Result<(), sqlx::error::BoxDynError>) -> Self {
        if let Err(error) = added {
            self.error.get_or_insert(error.to_string());
        }
        self
    }

    fn sqlite(self) -> Result<SqliteArguments, sqlx::Error> {
        match (self.error, self.values) {
            (None, Values::Sqlite(values)) => Ok(values),
            (error, _) => Err(encode_error(error)),
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
