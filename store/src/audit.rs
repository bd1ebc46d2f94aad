//! The audit log: rows and the port. Rows are appended, and never changed or removed.
//!
//! A call that a group commit carries brings its row along: all of a transaction are one statement.

use async_trait::async_trait;
use roost_domain::api_key::Principal;
use roost_domain::audit::{ActorKind, AuditEvent, AuditFilter, AuditResult};
use roost_domain::page::{Page, PageRequest};
use roost_domain::store::{Audit, StoreError};
use roost_domain::{AuditEventId, ErrorCode, Timestamp};

use crate::SqlStore;
use crate::database::{Args, Column, Failure, Row, Statement};
use crate::writer::Transaction;
use crate::writer::unit::Direct;

#[cfg(test)]
mod tests;

/// Rows that one list looks at where no index leads to those it wants; with fewer than it was asked for it
/// says where to go on.
const LOOKED_AT_MAX: i64 = 5_000;

static INSERT: Statement = Statement::with_rows(
    "INSERT {lite:OR ROLLBACK }INTO audit_event (tenant_id, id, at, actor_kind, actor_id, source, action, target, \
     result, status, code, request_id, count) \
     SELECT r.tenant_id, r.id, r.at, r.actor_kind, r.actor_id, r.source, r.action, r.target, r.result, \
     r.status, r.code, r.request_id, r.count FROM {rows} AS r",
    &[
        Column::Text("tenant_id"),
        Column::Text("id"),
        Column::Int("at"),
        Column::Text("actor_kind"),
        Column::Text("actor_id"),
        Column::Text("source"),
        Column::Text("action"),
        Column::Text("target"),
        Column::Text("result"),
        Column::Int("status"),
        Column::Text("code"),
        Column::Text("request_id"),
        Column::Int("count"),
    ],
);

macro_rules! columns {
    () => {
        "a.id, a.tenant_id, a.at, a.actor_kind, a.actor_id, a.source, a.action, a.target, a.result, a.status, \
         a.code, a.request_id, a.count"
    };
}

/// A page, newest first: `$2` and `$3` bound the ids, `$4` the rows; the others are filters.
macro_rules! page {
    ($from:literal) => {
        Statement::new(concat!(
            "SELECT ",
            columns!(),
            " FROM ",
            $from,
            " AND ($5{pg:::text} IS NULL OR a.actor_id = $5) AND ($6{pg:::text} IS NULL OR a.action = $6) \
             AND ($7{pg:::text} IS NULL OR a.target = $7) AND ($8{pg:::text} IS NULL OR a.result = $8) \
             ORDER BY a.id DESC LIMIT $4"
        ))
    };
}

/// By an action that is in the index.
static BY_ACTION: Statement = page!(
    "audit_event AS a {lite:INDEXED BY audit_event_action }WHERE a.tenant_id = $1 AND a.action = $6 AND a.action <> 'send_message' \
     AND a.action <> 'publish_event' AND a.id < $2 AND a.id >= $3"
);

/// What was denied or failed.
static BY_RESULT: Statement = page!(
    "audit_event AS a {lite:INDEXED BY audit_event_result }WHERE a.tenant_id = $1 AND a.result = $8 AND a.result <> 'done' AND a.id < $2 \
     AND a.id >= $3"
);

/// Everything, a window at a time.
static IN_WINDOW: Statement = page!(
    "(SELECT w.* FROM audit_event AS w WHERE w.tenant_id = $1 AND w.id < $2 AND w.id >= $3 \
     ORDER BY w.id DESC LIMIT $9) AS a WHERE true"
);

/// The last row of such a window, when it is a full one.
static WINDOW_END: Statement = Statement::new(
    "SELECT w.id FROM audit_event AS w WHERE w.tenant_id = $1 AND w.id < $2 AND w.id >= $3 \
     ORDER BY w.id DESC LIMIT 1 OFFSET $4",
);

/// Actions that happen all the time and are not in the index of actions.
fn is_common(action: &str) -> bool {
    matches!(action, "send_message" | "publish_event")
}

/// Whose log, as it is stored.
fn log_name(of: Principal) -> String {
    of.tenant().map(|tenant| tenant.to_string()).unwrap_or_default()
}

fn from_row(row: &Row) -> Result<AuditEvent, StoreError> {
    let status = row.opt_int(9)?.map(u16::try_from).transpose();
    let status = status.map_err(|_| StoreError::Corrupt("a status is out of range".to_owned()))?;
    let tenant = row.str(1)?;
    Ok(AuditEvent {
        id: row.parse(0)?,
        tenant_id: if tenant.is_empty() {
            None
        } else {
            Some(row.parse(1)?)
        },
        at: row.time(2)?,
        actor_kind: row.name(3, ActorKind::from_name)?,
        actor_id: row.opt_text(4)?,
        source: row.opt_text(5)?,
        action: row.text(6)?,
        target: row.opt_text(7)?,
        result: row.name(8, AuditResult::from_name)?,
        status,
        code: code(row)?,
        request_id: row.opt_text(11)?,
        count: u32::try_from(row.int(12)?).unwrap_or(u32::MAX),
    })
}

fn code(row: &Row) -> Result<Option<ErrorCode>, StoreError> {
    match row.opt_str(10)? {
        None => Ok(None),
        Some(_) => row.name(10, named).map(Some),
    }
}

fn named(name: &str) -> Option<ErrorCode> {
    ErrorCode::ALL.iter().copied().find(|code| code.as_str() == name)
}

/// Writes the rows of a transaction.
pub(crate) async fn flush(events: Vec<AuditEvent>, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let mut rows = transaction.rows(&INSERT);
    for event in &events {
        match event.tenant_id {
            Some(tenant) => rows.id(tenant),
            None => rows.id(""),
        };
        rows.id(event.id)
            .int(event.at.unix_ms())
            .id(event.actor_kind.as_str());
        rows.opt_text(event.actor_id.as_deref())
            .opt_text(event.source.as_deref());
        rows.text(&event.action).opt_text(event.target.as_deref());
        rows.id(event.result.as_str())
            .opt_int(event.status.map(i64::from));
        rows.opt_text(event.code.map(ErrorCode::as_str))
            .opt_text(event.request_id.as_deref());
        rows.int(i64::from(event.count)).end();
    }
    transaction.execute_rows(&INSERT, rows).await?;
    Ok(())
}

struct Append {
    events: Vec<AuditEvent>,
}

#[async_trait]
impl Direct for Append {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<(), StoreError>, Failure> {
        transaction.audit.extend(self.events.iter().cloned());
        Ok(Ok(()))
    }
}

/// Ids between which a list looks: from the first of them on, up to before the second.
fn bounds(filter: &AuditFilter, after: Option<AuditEventId>) -> (String, String) {
    let first_of = |at: Timestamp| {
        let unix_ms = u64::try_from(at.unix_ms()).unwrap_or(0);
        AuditEventId::from_parts(unix_ms, 0).to_string()
    };
    let from = filter.from.map(first_of).unwrap_or_default();
    // Every id begins with letters that sort before this one.
    let to = filter.to.map_or_else(|| "b".to_owned(), first_of);
    let to = after.map_or(to.clone(), |after| to.min(after.to_string()));
    (from, to)
}

#[async_trait]
impl Audit for SqlStore {
    async fn append_audit(&self, events: Vec<AuditEvent>) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        self.writer().direct(Append { events }).await
    }

    async fn audit_events(
        &self,
        of: Principal,
        filter: &AuditFilter,
        page: PageRequest<AuditEventId>,
    ) -> Result<Page<AuditEvent, AuditEventId>, StoreError> {
        let (from, to) = bounds(filter, page.after);
        let args = |limit: i64| {
            self.reader()
                .args()
                .text(log_name(of))
                .text(&to)
                .text(&from)
                .int(limit)
        };
        let filters = |args: Args| {
            args.opt_text(filter.actor_id.as_deref())
                .opt_text(filter.action.as_deref())
                .opt_text(filter.target.as_deref())
                .opt_text(filter.result.map(AuditResult::as_str))
        };
        let limit = i64::from(page.limit);
        let wanted = filters(args(limit + 1));
        let indexed = if filter.action.as_deref().is_some_and(|action| !is_common(action)) {
            Some(&BY_ACTION)
        } else if filter.result.is_some_and(|result| result != AuditResult::Done) {
            Some(&BY_RESULT)
        } else {
            None
        };
        let rows = match indexed {
            Some(statement) => self.reader().fetch(statement, wanted).await?,
            None => self.reader().fetch(&IN_WINDOW, wanted.int(LOOKED_AT_MAX)).await?,
        };
        let events: Vec<_> = rows.iter().map(from_row).collect::<Result<_, _>>()?;
        let mut page = Page::from_rows(events, page.limit, |event| event.id);
        if page.next.is_none() && indexed.is_none() {
            let rows = self.reader().fetch(&WINDOW_END, args(LOOKED_AT_MAX - 1)).await?;
            page.next = rows.first().map(|row| row.parse(0)).transpose()?;
        }
        Ok(page)
    }
}
