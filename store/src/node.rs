//! What the node itself needs: epochs, the health check, and the sweep, which is in [`crate::sweep`].

use std::time::Duration;

use async_trait::async_trait;
use roost_domain::store::{Node, StoreError};
use roost_domain::{Epoch, Timestamp};

use crate::SqlStore;
use crate::database::{Failure, Statement};
use crate::writer::Transaction;
use crate::writer::unit::Direct;

static NEXT_EPOCH: Statement = Statement::new(
    "INSERT INTO meta (name, value) VALUES ('epoch', '1') \
     ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(meta.value AS bigint) + 1 AS text) \
     RETURNING CAST(value AS bigint)",
);

static HEARTBEAT: Statement = Statement::new(
    "INSERT INTO heartbeat (id, at) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET at = excluded.at",
);

struct NextEpoch;

#[async_trait]
impl Direct for NextEpoch {
    type Output = Epoch;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<Epoch, StoreError>, Failure> {
        let args = transaction.args();
        let rows = transaction.fetch(&NEXT_EPOCH, args).await?;
        let epoch = rows
            .first()
            .ok_or_else(|| StoreError::Corrupt("the epoch did not come back".to_owned()))?;
        Ok(Ok(Epoch(epoch.int(0)?)))
    }
}

struct Heartbeat;

#[async_trait]
impl Direct for Heartbeat {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<(), StoreError>, Failure> {
        transaction.beats = true;
        Ok(Ok(()))
    }
}

/// Writes the one row that all nodes write: at the end of a transaction, so that nobody who waits for it holds
/// what its holder still needs.
pub(crate) async fn beat(transaction: &mut Transaction<'_>) -> Result<(), Failure> {
    let args = transaction.args().int(transaction.now.unix_ms());
    transaction.execute(&HEARTBEAT, args).await?;
    Ok(())
}

#[async_trait]
impl Node for SqlStore {
    async fn next_epoch(&self) -> Result<Epoch, StoreError> {
        self.writer().direct(NextEpoch).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.writer().direct(Heartbeat).await
    }

    fn not_before(&self, at: Timestamp) {
        self.pass_time(at);
    }

    async fn sweep(&self, now: Timestamp, retention: Duration) -> Result<u64, StoreError> {
        self.remove_what_is_over(now, retention).await
    }
}
