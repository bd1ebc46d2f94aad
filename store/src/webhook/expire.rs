//! The end of retention: what was not delivered until then becomes a dead letter, and old rows go.

use async_trait::async_trait;
use roost_domain::Timestamp;
use roost_domain::event::Event;
use roost_domain::store::StoreError;
use serde_json::value::RawValue;

use super::row;
use crate::database::{Args, Column, Failure, Row, Statement};
use crate::sweep::{self, Place};
use crate::writer::Transaction;
use crate::writer::unit::Direct;

/// Events that go in one transaction; fewer where a webhook has not got all of them, because each may
/// then become a dead letter of many.
const EVENTS: i64 = 1000;
const LAGGING_EVENTS: i64 = 100;

/// Where a window of `$3` events and one more ends, after `$1` and before `$2`.
static END: Statement = Statement::new(
    "SELECT e.id FROM event AS e WHERE e.id > $1 AND e.id < $2 ORDER BY e.id LIMIT 1 OFFSET $3",
);

/// Events of a window, after `$1` and up to `$2`, whose tenants keep them for `$3` days.
macro_rules! window {
    () => {
        "event AS e {lite:CROSS }JOIN tenant AS t ON t.id = e.tenant_id"
    };
}

macro_rules! in_window {
    () => {
        " WHERE e.id > $1 AND e.id <= $2 AND coalesce(t.retention_days, -1) = $3"
    };
}

/// One node at a time: what is found undelivered below is what is removed. The row is always there, and
/// nothing else changes it.
static TAKE_TURNS: Statement =
    Statement::new("SELECT 1 FROM meta WHERE name = 'master_key_check' {pg:FOR UPDATE}");

static IS_LAGGING: Statement = Statement::new(concat!(
    "SELECT 1 FROM ",
    window!(),
    " JOIN webhook AS w ON w.tenant_id = e.tenant_id AND w.cursor_seq < e.seq",
    in_window!(),
    " LIMIT 1"
));

/// Events that a webhook has neither got nor parked. The webhook is held: a dead letter of one that goes would
/// stay behind.
static UNREAD: Statement = Statement::new(concat!(
    "SELECT e.tenant_id, e.seq, e.id, e.instance_id, e.chat, e.type, e.created_at, w.id, w.filter FROM ",
    window!(),
    " JOIN webhook AS w ON w.tenant_id = e.tenant_id AND w.cursor_seq < e.seq",
    in_window!(),
    " AND NOT EXISTS (SELECT 1 FROM delivery AS d WHERE d.webhook_id = w.id AND d.seq = e.seq) {pg:FOR KEY SHARE OF w}"
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

static DELETE: Statement = Statement::new(concat!(
    "DELETE FROM event WHERE (tenant_id, seq) IN (SELECT e.tenant_id, e.seq FROM ",
    window!(),
    in_window!(),
    ") RETURNING tenant_id, octet_length(payload)"
));

static EXPIRE_PENDING: Statement = Statement::new(
    "UPDATE delivery SET status = 'dead', dead_reason = 'expired', order_key = NULL, next_attempt_at = NULL, \
     updated_at = $3 WHERE (webhook_id, seq) IN (SELECT d.webhook_id, d.seq FROM delivery AS d \
     {lite:CROSS }JOIN tenant AS t ON t.id = d.tenant_id WHERE d.status = 'pending' AND d.event_at < $1 \
     AND coalesce(t.retention_days, -1) = $4 ORDER BY d.event_at LIMIT $2)",
);

/// Removes the oldest events of a class of tenants, at most one transaction's worth, and makes dead letters of
/// those that a webhook has not got.
pub(crate) struct ExpireEvents {
    pub(crate) from: Place,
    pub(crate) before: Place,
    pub(crate) days: i64,
}

/// What came of [`ExpireEvents`].
pub(crate) struct Expired {
    pub(crate) removed: u64,
    /// How many were looked at.
    pub(crate) rows: u64,
    /// Where to go on, unless these were the last.
    pub(crate) next: Option<String>,
}

#[async_trait]
impl Direct for ExpireEvents {
    type Output = Expired;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<Expired, StoreError>, Failure> {
        let args = transaction.args();
        transaction.fetch(&TAKE_TURNS, args).await?;
        let (mut size, mut next) = (EVENTS, self.end(transaction, EVENTS).await?);
        let args = self.window(transaction, next.as_deref());
        let lagging = !transaction.fetch(&IS_LAGGING, args).await?.is_empty();
        if lagging {
            (size, next) = (LAGGING_EVENTS, self.end(transaction, LAGGING_EVENTS).await?);
            let args = self.window(transaction, next.as_deref());
            let unread = transaction.fetch(&UNREAD, args).await?;
            bury(transaction, &unread).await?;
        }
        let args = self.window(transaction, next.as_deref());
        let gone = transaction.fetch(&DELETE, args).await?;
        let removed = sweep::count_gone(transaction, &gone)?;
        Ok(Ok(Expired {
            removed,
            rows: size.unsigned_abs(),
            next,
        }))
    }
}

impl ExpireEvents {
    async fn end(&self, transaction: &mut Transaction<'_>, rows: i64) -> Result<Option<String>, Failure> {
        let args = self.before.add_to(self.from.add_to(transaction.args()));
        let rows = transaction.fetch(&END, args.int(rows - 1)).await?;
        Ok(rows.first().map(|row| row.text(0)).transpose()?)
    }

    /// Arguments for what is done with a window that ends there, or with all that is left.
    fn window(&self, transaction: &Transaction<'_>, end: Option<&str>) -> Args {
        let args = self.from.add_to(transaction.args());
        let args = match end {
            Some(end) => args.text(end),
            // The first id of its millisecond, which no event has.
            None => self.before.add_to(args),
        };
        args.int(self.days)
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

/// Makes dead letters of deliveries that wait for events of a class which go. Returns how many.
pub(crate) struct ExpireDeliveries {
    pub(crate) oldest_kept: Timestamp,
    pub(crate) days: i64,
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
            .int(transaction.now.unix_ms())
            .int(self.days);
        Ok(Ok(transaction.execute(&EXPIRE_PENDING, args).await?))
    }
}

#[cfg(test)]
pub(super) const SWEEPS: &[&Statement] = &[&END, &IS_LAGGING, &UNREAD, &DELETE, &EXPIRE_PENDING];
