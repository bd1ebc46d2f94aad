//! What the node itself needs: epochs, the health check, the sweep.

use std::time::Duration;

use async_trait::async_trait;
use roost_domain::store::{Node, StoreError};
use roost_domain::{Epoch, MessageId, Timestamp};

use crate::SqlStore;
use crate::database::{Failure, Statement};
use crate::webhook::{ExpireDeliveries, ExpireEvents};
use crate::writer::Transaction;
use crate::writer::unit::Direct;

/// Rows that one statement of a sweep removes, and statements of each kind in one sweep: with one sweep
/// a minute, 3,333 rows of a kind per second do not pile up.
const SWEEP_ROWS: i64 = 1000;
const SWEEP_STATEMENTS: u32 = 200;

static NEXT_EPOCH: Statement = Statement::new(
    "INSERT INTO meta (name, value) VALUES ('epoch', '1') \
     ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(meta.value AS bigint) + 1 AS text) \
     RETURNING CAST(value AS bigint)",
);

static HEARTBEAT: Statement = Statement::new(
    "INSERT INTO heartbeat (id, at) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET at = excluded.at",
);

/// Up to where a statement of a sweep removes.
enum Until {
    Now,
    Retention,
    /// The retention of deliveries that were taken.
    DeliveryRetention,
    /// The retention, as a message id: ids sort by time.
    RetentionId,
}

/// What a sweep removes.
static SWEEPS: [(Statement, Until); 6] = [
    (
        Statement::new(
            "DELETE FROM link_state WHERE (instance_id, collection, key) IN (SELECT s.instance_id, s.collection, \
             s.key FROM link_state AS s WHERE s.expires_at IS NOT NULL AND s.expires_at <= $1 \
             ORDER BY s.expires_at LIMIT $2)",
        ),
        Until::Now,
    ),
    (
        Statement::new(
            "DELETE FROM idempotency WHERE (tenant_id, key) IN (SELECT k.tenant_id, k.key FROM idempotency AS k \
             WHERE k.expires_at <= $1 ORDER BY k.expires_at LIMIT $2)",
        ),
        Until::Now,
    ),
    (
        // An accepted message is never swept: it has its own deadline.
        Statement::new(
            "DELETE FROM message WHERE id IN (SELECT m.id FROM message AS m \
             WHERE m.id < $1 AND m.status <> 'accepted' ORDER BY m.id LIMIT $2)",
        ),
        Until::RetentionId,
    ),
    (
        Statement::new(
            "DELETE FROM amendment WHERE (instance_id, whatsapp_id, chat, sender) IN (SELECT a.instance_id, \
             a.whatsapp_id, a.chat, a.sender FROM amendment AS a WHERE a.at < $1 ORDER BY a.at LIMIT $2)",
        ),
        Until::Retention,
    ),
    (
        Statement::new(
            "DELETE FROM delivery WHERE (webhook_id, seq) IN (SELECT d.webhook_id, d.seq FROM delivery AS d \
             WHERE d.status = 'dead' AND d.updated_at < $1 ORDER BY d.updated_at LIMIT $2)",
        ),
        Until::Retention,
    ),
    (
        Statement::new(
            "DELETE FROM delivery WHERE (webhook_id, seq) IN (SELECT d.webhook_id, d.seq FROM delivery AS d \
             WHERE d.status = 'delivered' AND d.updated_at < $1 ORDER BY d.updated_at LIMIT $2)",
        ),
        Until::DeliveryRetention,
    ),
];

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
        let args = transaction.args().int(transaction.now.unix_ms());
        transaction.execute(&HEARTBEAT, args).await?;
        Ok(Ok(()))
    }
}

/// One statement of a sweep: short, so that the queue never waits for long.
struct Sweep {
    statement: &'static Statement,
    until: &'static Until,
    now: Timestamp,
    oldest: Timestamp,
    oldest_delivery: Timestamp,
}

#[async_trait]
impl Direct for Sweep {
    type Output = u64;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<u64, StoreError>, Failure> {
        let args = match self.until {
            Until::Now => transaction.args().int(self.now.unix_ms()),
            Until::Retention => transaction.args().int(self.oldest.unix_ms()),
            Until::DeliveryRetention => transaction.args().int(self.oldest_delivery.unix_ms()),
            Until::RetentionId => {
                let ms = u64::try_from(self.oldest.unix_ms()).unwrap_or(0);
                transaction.args().text(MessageId::from_parts(ms, 0))
            }
        };
        Ok(Ok(transaction
            .execute(self.statement, args.int(SWEEP_ROWS))
            .await?))
    }
}

#[async_trait]
impl Node for SqlStore {
    async fn next_epoch(&self) -> Result<Epoch, StoreError> {
        self.writer().direct(NextEpoch).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.writer().direct(Heartbeat).await
    }

    async fn sweep(&self, now: Timestamp, retention: Duration) -> Result<u64, StoreError> {
        let oldest = before(now, retention);
        let oldest_delivery = before(now, self.delivery_retention().min(retention));
        let mut total = self.expire(oldest).await?;
        for (statement, until) in &SWEEPS {
            for _ in 0..SWEEP_STATEMENTS {
                let removed = self
                    .writer()
                    .direct(Sweep {
                        statement,
                        until,
                        now,
                        oldest,
                        oldest_delivery,
                    })
                    .await?;
                total += removed;
                if removed < SWEEP_ROWS.unsigned_abs() {
                    break;
                }
            }
        }
        Ok(total)
    }
}

impl SqlStore {
    /// Removes events that have had their time, after those that wait for them were told.
    async fn expire(&self, oldest_kept: Timestamp) -> Result<u64, StoreError> {
        for _ in 0..SWEEP_STATEMENTS {
            let expire = ExpireDeliveries {
                oldest_kept,
                rows: SWEEP_ROWS,
            };
            if self.writer().direct(expire).await? < SWEEP_ROWS.unsigned_abs() {
                break;
            }
        }
        let mut total = 0;
        // By rows, because a transaction takes fewer of them while a webhook lags behind.
        while total < u64::from(SWEEP_STATEMENTS) * SWEEP_ROWS.unsigned_abs() {
            let (removed, more) = self.writer().direct(ExpireEvents { oldest_kept }).await?;
            total += removed;
            if !more {
                break;
            }
        }
        Ok(total)
    }
}

fn before(now: Timestamp, time: Duration) -> Timestamp {
    let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_unix_ms(now.unix_ms().saturating_sub(ms))
}

#[cfg(test)]
pub(crate) fn sweep_statements() -> impl Iterator<Item = &'static Statement> {
    SWEEPS.iter().map(|(statement, _)| statement)
}
