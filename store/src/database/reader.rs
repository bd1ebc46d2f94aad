//! Connections for reading.

use std::time::Duration;

use roost_domain::store::StoreError;
use sqlx::pool::PoolOptions;
use sqlx::{Connection as _, Database, PgPool, SqlitePool};

use super::{Address, Args, Dialect, Failure, Remedy, Row, Statement};
use crate::StoreConfig;

/// A connection that rested for longer is asked whether it still lives before it is used.
const RESTED: Duration = Duration::from_secs(2);
/// SQLite's page cache per connection, in its own notation: 2 MiB. What is read is seldom read again
/// through the same connection, and the system keeps the file's pages anyway.
const CACHE: &str = "-2048";
/// Connections that nobody has used for so long are closed.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// A bounded pool of connections for reading. What the writer has acknowledged is visible to every
/// read that starts afterwards.
pub(crate) struct Reader {
    pool: Pool,
    attempts: u32,
}

enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Reader {
    pub(crate) fn new(address: &Address, config: &StoreConfig) -> Self {
        let pool = match address {
            Address::Sqlite(file) => {
                let options = file.options().read_only(true).pragma("cache_size", CACHE);
                Pool::Sqlite(pool_options(config).connect_lazy_with(options))
            }
            Address::Postgres(options) => {
                Pool::Postgres(pool_options(config).connect_lazy_with((**options).clone()))
            }
        };
        // Every connection of the pool may be dead at once, after a restart of the server.
        Self {
            pool,
            attempts: config.readers_max + 1,
        }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.pool {
            Pool::Sqlite(_) => Dialect::Sqlite,
            Pool::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(crate) fn args(&self) -> Args {
        Args::new(self.dialect())
    }

    pub(crate) async fn fetch(&self, statement: &Statement, args: Args) -> Result<Vec<Row>, StoreError> {
        let mut attempt = 1;
        loop {
            let failure = match self.fetch_once(statement, args.clone()).await {
                Ok(rows) => return Ok(rows),
                Err(error) => Failure::from(error),
            };
            let gone = matches!(
                failure,
                Failure::Database(sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed)
            );
            if failure.remedy() != Remedy::Reconnect || gone || attempt >= self.attempts {
                return Err(failure.into_store_error());
            }
            attempt += 1;
        }
    }

    pub(crate) async fn fetch_one(
        &self,
        statement: &Statement,
        args: Args,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch(statement, args).await?.into_iter().next())
    }

    async fn fetch_once(&self, statement: &Statement, args: Args) -> Result<Vec<Row>, sqlx::Error> {
        match &self.pool {
            Pool::Sqlite(pool) => super::fetch_sqlite(&mut *pool.acquire().await?, statement, args).await,
            Pool::Postgres(pool) => super::fetch_postgres(&mut *pool.acquire().await?, statement, args).await,
        }
    }

    pub(crate) async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(pool) => pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }
}

fn pool_options<DB: Database>(config: &StoreConfig) -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(config.readers_max)
        .acquire_timeout(config.acquire_timeout)
        .idle_timeout(IDLE_MAX)
        .test_before_acquire(false)
        .before_acquire(|connection: &mut DB::Connection, meta| {
            Box::pin(async move {
                if meta.idle_for < RESTED {
                    return Ok(true);
                }
                Ok(connection.ping().await.is_ok())
            })
        })
}
