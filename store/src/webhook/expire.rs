//! The end of retention: what was not delivered until then becomes a dead letter, and old rows go.

use async_trait::async_trait;
use roost_domain::event::Event;
use roost_domain::store::StoreError;
use roost_domain::{EventId, Timestamp};
use serde_json::value::RawValue;

use super::row;
use crate::database::{Column, Failure, Row, Statement};
use crate::writer::Transaction;
use crate::writer::unit::Direct;

/// Events that go in one transaction; fewer where a webhook has not got all of them, because each may
/// then become a dead letter of many.
const EVENTS: i64 = 1000;
const LAGGING_EVENTS: i64 = 100;

macro_rules! oldest {
    () => {
        "(SELECT o.tenant_id, o.seq, o.id, o.instance_id, o.chat, o.type, o.created_at FROM event AS o \
         WHERE o.id < $1 ORDER BY o.id LIMIT $2) AS e"
    };
}

/// One node at a time: what is found undelivered below is what is removed. The row is always there, and
/// nothing else changes it.
static TAKE_TURNS: Statement =
    Statement::new("SELECT 1 FROM meta WHERE name = 'master_key_check' {pg:FOR UPDATE}");

static IS_LAGGING: Statement = Statement::new(concat!(
    "SELECT 1 FROM ",
    oldest!(),
    " JOIN webhook AS w ON w.tenant_id = e.tenant_id AND w.cursor_seq < e.seq LIMIT 1"
));

/// Events that a webhook has neither got nor parked.
static UNREAD: Statement = Statement::new(concat!(
    "SELECT e.tenant_id, e.seq, e.id, e.instance_id, e.chat, e.type, e.created_at, w.id, w.filter FROM ",
    oldest!(),
    " JOIN webhook AS w ON w.tenant_id = e.tenant_id AND w.cursor_seq < e.seq \
     WHERE NOT EXISTS (SELECT 1 FROM delivery AS d WHERE d.webhook_id = w.id AND d.seq = e.seq)"
));

static BURY: Statement = Statement::with_rows(
    "INSERT {lite:OR ROLLBACK }INTO delivery (webhook_id, seq, tenant_id, event_id, event_type, instance_id, chat, \
     event_at, status, dead_reason, attempt_count, round, attempts, created_at, updated_at) \
     SELECT r.webhook_id, r.seq, r.tenant_id, r.event_id, r.event_type, r.instance_id, r.chat, r.event_at, \
     'dead', 'expired', 0, 0, '', r.at, r.at FROM {rows} AS r WHERE true ON CONFLICT (webhook_id, seq) DO NOTHING",
    &[
        Column::Text("webhook_id"),
        Column::Int("seq"),
        Column::Text("tenant_id"),
        Column::Text("event_id"),
        Column::Text("event_type"),
        Column::Text("instance_id"),
        Column::Text("chat"),
        Column::Int("event_at"),
        Column::Int("at"),
    ],
);

static DELETE: Statement = Statement::new(
    "DELETE FROM event WHERE (tenant_id, seq) IN (SELECT o.tenant_id, o.seq FROM event AS o \
     WHERE o.id < $1 ORDER BY o.id LIMIT $2)",
);

static EXPIRE_PENDING: Statement = Statement::new(
    "UPDATE delivery SET status = 'dead', dead_reason = 'expired', order_key = NULL, next_attempt_at = NULL, \
     updated_at = $3 WHERE (webhook_id, seq) IN (SELECT d.webhook_id, d.seq FROM delivery AS d \
     WHERE d.status = 'pending' AND d.event_at < $1 ORDER BY d.event_at LIMIT $2)",
);

/// Removes the oldest events, at most one transaction's worth, and makes dead letters of those that a
/// webhook has not got. Returns how many went and whether there may be more.
pub(crate) struct ExpireEvents {
    pub(crate) oldest_kept: Timestamp,
}

#[async_trait]
impl Direct for ExpireEvents {
    type Output = (u64, bool);

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> Result<Result<(u64, bool), StoreError>, Failure> {
        let unix_ms = u64::try_from(self.oldest_kept.unix_ms()).unwrap_or(0);
        // Ids begin with the time.
        let end = EventId::from_parts(unix_ms, 0);
        let args = transaction.args();
        transaction.fetch(&TAKE_TURNS, args).await?;
        let args = transaction.args().text(end).int(EVENTS);
        let lagging = !transaction.fetch(&IS_LAGGING, args).await?.is_empty();
        let limit = if lagging { LAGGING_EVENTS } else { EVENTS };
        if lagging {
            let args = transaction.args().text(end).int(limit);
            let unread = transaction.fetch(&UNREAD, args).await?;
            bury(transaction, &unread).await?;
        }
        let args = transaction.args().text(end).int(limit);
        let removed = transaction.execute(&DELETE, args).await?;
        Ok(Ok((removed, removed >= limit.unsigned_abs())))
    }
}

async fn bury(transaction: &mut Transaction<'_>, unread: &[Row]) -> Result<(), Failure> {
    let at = transaction.now.unix_ms();
    let mut rows = transaction.rows(&BURY);
    let mut any = false;
    for found in unread {
        if !row::filter(found, 8)?.matches(&event(found)?) {
            continue;
        }
        any = true;
        rows.text(found.str(7)?).int(found.int(1)?).text(found.str(0)?);
        rows.text(found.str(2)?).text(found.str(5)?);
        rows.opt_text(found.opt_str(3)?).opt_text(found.opt_str(4)?);
        rows.int(found.int(6)?).int(at).end();
    }
    if any {
        transaction.execute_rows(&BURY, rows).await?;
    }
    Ok(())
}

/// An event without its data, which filters do not look at.
fn event(row: &Row) -> Result<Event, StoreError> {
    Ok(Event {
        tenant_id: row.parse(0)?,
        seq: row.int(1)?,
        id: row.parse(2)?,
        instance_id: row.opt_parse(3)?,
        chat: row.opt_parse(4)?,
        kind: row.name(5, roost_domain::event::EventType::from_name)?,
        timestamp: row.time(6)?,
        data: Box::<RawValue>::default(),
    })
}

/// Makes dead letters of deliveries that wait for events which go. Returns how many.
pub(crate) struct ExpireDeliveries {
    pub(crate) oldest_kept: Timestamp,
    pub(crate) rows: i64,
}

#[async_trait]
impl Direct for ExpireDeliveries {
    type Output = u64;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<u64, StoreError>, Failure> {
        let args = transaction
            .args()
            .int(self.oldest_kept.unix_ms())
            .int(self.rows)
            .int(transaction.now.unix_ms());
        Ok(Ok(transaction.execute(&EXPIRE_PENDING, args).await?))
    }
}

#[cfg(test)]
pub(super) const SWEEPS: &[&Statement] = &[&IS_LAGGING, &UNREAD, &DELETE, &EXPIRE_PENDING];
