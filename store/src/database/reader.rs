//! Connections for reading.

use std::time::Duration;

use roost_domain::store::StoreError;
use sqlx::pool::PoolOptions;
use sqlx::{Connection as _, PgConnection, PgPool, Postgres};

use super::crew::Crew;
use super::{Address, Args, Dialect, Failure, Remedy, Row, Statement};
use crate::StoreConfig;

/// A connection that rested for longer is asked whether it still lives before it is used.
const RESTED: Duration = Duration::from_secs(2);
/// Connections that nobody has used for so long are closed.
const IDLE_MAX: Duration = Duration::from_secs(300);

/// A bounded number of connections for reading. What the writer has acknowledged is visible to every
/// read that starts afterwards.
pub(crate) struct Reader {
    connections: Connections,
    /// Tries at most: every connection may be dead at once, after a restart of the server.
    attempts: u32,
}

enum Connections {
    Sqlite(Crew),
    Postgres(PgPool),
}

impl Reader {
    /// Fails when the system gives no threads.
    pub(crate) fn new(address: &Address, config: &StoreConfig) -> std::io::Result<Self> {
        let (readers, patience) = (config.readers_max, config.acquire_timeout);
        Ok(match address {
            Address::Sqlite(file) => Self {
                connections: Connections::Sqlite(Crew::start(file.clone(), readers, patience)?),
                // A thread has tried again itself.
                attempts: 1,
            },
            Address::Postgres(options) => Self {
                connections: Connections::Postgres(
                    pool_options(config).connect_lazy_with((**options).clone()),
                ),
                attempts: readers + 1,
            },
        })
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self.connections {
            Connections::Sqlite(_) => Dialect::Sqlite,
            Connections::Postgres(_) => Dialect::Postgres,
        }
    }

    pub(crate) fn args(&self) -> Args {
        Args::new(self.dialect())
    }

    pub(crate) async fn fetch(
        &self,
        statement: &'static Statement,
        args: Args,
    ) -> Result<Vec<Row>, StoreError> {
        let mut attempt = 1;
        loop {
            let failure = match self.fetch_once(statement, args.clone()).await {
                Ok(rows) => return Ok(rows),
                Err(failure) => failure,
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
        statement: &'static Statement,
        args: Args,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.fetch(statement, args).await?.into_iter().next())
    }

    async fn fetch_once(&self, statement: &'static Statement, args: Args) -> Result<Vec<Row>, Failure> {
        match &self.connections {
            Connections::Sqlite(crew) => crew.fetch(statement, args).await,
            Connections::Postgres(pool) => {
                Ok(super::fetch_postgres(&mut *pool.acquire().await?, statement, args).await?)
            }
        }
    }

    pub(crate) async fn close(&self) {
        match &self.connections {
            Connections::Sqlite(crew) => crew.close().await,
            Connections::Postgres(pool) => pool.close().await,
        }
    }
}

fn pool_options(config: &StoreConfig) -> PoolOptions<Postgres> {
    PoolOptions::new()
        .max_connections(config.readers_max)
        .acquire_timeout(config.acquire_timeout)
        .idle_timeout(IDLE_MAX)
        .test_before_acquire(false)
        .before_acquire(|connection: &mut PgConnection, meta| {
            Box::pin(async move {
                if meta.idle_for < RESTED {
                    return Ok(true);
                }
                Ok(connection.ping().await.is_ok())
            })
        })
}
