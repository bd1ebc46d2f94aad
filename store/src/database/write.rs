//! The connection through which everything is written.

use std::time::Duration;

use sqlx::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

use super::local::Local;
use super::{Address, Args, Dialect, Failure, Row, Statement, fetch_postgres};

/// One connection, used by the writer's thread alone: on SQLite its calls block.
pub(crate) enum WriteConnection {
    Sqlite(Local),
    Postgres(PgConnection),
}

impl WriteConnection {
    pub(crate) async fn open(address: &Address) -> Result<Self, Failure> {
        Ok(match address {
            Address::Sqlite(file) => Self::Sqlite(Local::open(file)?),
            Address::Postgres(options) => Self::Postgres(options.connect().await?),
        })
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Begins a transaction. On PostgreSQL gives its number, by which its fate can be asked for.
    pub(crate) async fn begin(&mut self) -> Result<Option<String>, Failure> {
        match self {
            Self::Sqlite(connection) => {
                connection.begin()?;
                Ok(None)
            }
            Self::Postgres(connection) => {
                let rows = sqlx::raw_sql("BEGIN; SELECT pg_current_xact_id()::text")
                    .fetch_all(connection)
                    .await?;
                let number = rows.into_iter().next().map(|row| Row::Postgres(row).text(0));
                Ok(Some(number.transpose()?.unwrap_or_default()))
            }
        }
    }

    pub(crate) async fn commit(&mut self) -> Result<(), Failure> {
        self.run("COMMIT").await
    }

    /// Undoes the transaction, if there still is one.
    pub(crate) async fn roll_back(&mut self) -> Result<(), Failure> {
        match self {
            // Some errors have undone it already.
            Self::Sqlite(connection) if !connection.in_transaction() => Ok(()),
            _ => self.run("ROLLBACK").await,
        }
    }

    /// On SQLite, copies back what is left in the write-ahead log.
    pub(crate) fn checkpoint(&mut self) -> Result<(), Failure> {
        if let Self::Sqlite(connection) = self {
            connection.checkpoint()?;
        }
        Ok(())
    }

    /// On SQLite, copies all of the write-ahead log back and gives its room to the disk again. Readers that
    /// take longer than `patience` keep that from happening.
    pub(crate) fn empty_log(&mut self, patience: Duration) -> Result<bool, Failure> {
        match self {
            Self::Sqlite(connection) => Ok(connection.empty_log(patience)?),
            Self::Postgres(_) => Ok(true),
        }
    }

    /// On SQLite, about how many bytes the open transaction makes the database grow by.
    pub(crate) fn given(&self) -> u64 {
        match self {
            Self::Sqlite(connection) => connection.given(),
            Self::Postgres(_) => 0,
        }
    }

    /// Runs a statement and gives its rows.
    pub(crate) async fn fetch(&mut self, statement: &Statement, args: Args) -> Result<Vec<Row>, Failure> {
        Ok(match self {
            Self::Sqlite(connection) => connection.fetch(statement, args)?,
            Self::Postgres(connection) => fetch_postgres(connection, statement, args).await?,
        })
    }

    /// Runs a statement and gives the number of rows it changed.
    pub(crate) async fn execute(&mut self, statement: &Statement, args: Args) -> Result<u64, Failure> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute(statement, args)?),
            Self::Postgres(connection) => {
                let sql = AssertSqlSafe(statement.sql(Dialect::Postgres));
                let query = sqlx::query_with(sql, args.postgres()?);
                Ok(connection.execute(query).await?.rows_affected())
            }
        }
    }

    pub(crate) async fn close(self) -> Result<(), Failure> {
        match self {
            Self::Sqlite(connection) => Ok(connection.close()?),
            Self::Postgres(connection) => Ok(connection.close().await?),
        }
    }

    async fn run(&mut self, sql: &'static str) -> Result<(), Failure> {
        match self {
            Self::Sqlite(connection) => connection.run(sql)?,
            Self::Postgres(connection) => {
                connection.execute(sqlx::raw_sql(sql)).await?;
            }
        }
        Ok(())
    }
}
