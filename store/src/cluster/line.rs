//! One connection that comes back by itself.

use std::time::Duration;

use roost_domain::store::StoreError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::database::{Args, Failure, Remedy, Row, Statement, fetch_postgres};

/// One call at a time. A call that is given up, or fails for want of an answer, takes its connection with it:
/// what it had sent may still be carried out, and its answer is nobody else's.
pub(super) struct Line {
    options: PgConnectOptions,
    limit: Duration,
    connection: Mutex<Option<PgConnection>>,
}

impl Line {
    pub(super) fn new(options: PgConnectOptions, limit: Duration) -> Self {
        Self {
            options,
            limit,
            connection: Mutex::new(None),
        }
    }

    /// Runs a statement within the limit, the time for a connection included.
    pub(super) async fn fetch(&self, statement: &Statement, args: Args) -> Result<Vec<Row>, StoreError> {
        timeout(self.limit, self.attempt(statement, args))
            .await
            .unwrap_or(Err(Failure::TimedOut))
            .map_err(Failure::into_store_error)
    }

    async fn attempt(&self, statement: &Statement, args: Args) -> Result<Vec<Row>, Failure> {
        let mut kept = self.connection.lock().await;
        if let Some(mut connection) = kept.take() {
            match fetch_postgres(&mut connection, statement, args.clone())
                .await
                .map_err(Failure::from)
            {
                // It may have been lost while nothing was said: every call may be made twice.
                Err(failure) if failure.remedy() == Remedy::Reconnect => drop(connection),
                result => {
                    *kept = Some(connection);
                    return result;
                }
            }
        }
        let mut connection = self.connect().await?;
        let rows = fetch_postgres(&mut connection, statement, args).await?;
        *kept = Some(connection);
        Ok(rows)
    }

    /// The database gives up what takes longer than its caller waits, so that nothing is carried out much
    /// later; and each statement sees what was committed before it, whatever the server's default is.
    async fn connect(&self) -> Result<PgConnection, Failure> {
        let mut connection = self.options.connect().await?;
        let set = format!(
            "SET statement_timeout = {}; SET default_transaction_isolation = 'read committed'",
            self.limit.as_millis().max(1)
        );
        connection.execute(sqlx::raw_sql(AssertSqlSafe(set))).await?;
        Ok(connection)
    }
}
