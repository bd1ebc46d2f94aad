//! The event log: rows and the port.

use async_trait::async_trait;
use roost_domain::event::{Event, EventFilter, EventType, NewEvent};
use roost_domain::page::PAGE_ROWS_MAX;
use roost_domain::store::{EventBatch, EventLog, StoreError};
use roost_domain::webhook::EventPattern;
use roost_domain::{Owner, TenantId};
use serde_json::value::RawValue;
use std::sync::Arc;

use crate::SqlStore;
use crate::crypto::{Place, TenantKey, sealed};
use crate::database::{Column, Row, Rows, Statement};
use crate::writer::draft::{Draft, Needs};
use crate::writer::unit::Planned;

/// Rows of the log that one filtered read looks at.
const SCAN_MAX: i64 = 2000;

macro_rules! columns {
    () => {
        "e.tenant_id, e.seq, e.id, e.instance_id, e.chat, e.type, e.payload, e.created_at"
    };
}
pub(crate) use columns;

pub(crate) static INSERT: Statement = Statement::with_rows(
    "INSERT {lite:OR ROLLBACK }INTO event (tenant_id, seq, id, instance_id, chat, type, payload, created_at) \
     SELECT r.tenant_id, r.seq, r.id, r.instance_id, r.chat, r.type, r.payload, r.created_at FROM {rows} AS r",
    &[
        Column::Text("tenant_id"),
        Column::Int("seq"),
        Column::Text("id"),
        Column::Text("instance_id"),
        Column::Text("chat"),
        Column::Text("type"),
        Column::Text("payload"),
        Column::Int("created_at"),
    ],
);

static LAST_SEQ: Statement = Statement::new("SELECT last_seq FROM tenant_log WHERE tenant_id = $1");

static LAST_SEQS: Statement = Statement::with_rows(
    "SELECT l.tenant_id, l.last_seq FROM {rows} AS r JOIN tenant_log AS l ON l.tenant_id = r.tenant_id",
    &[Column::Text("tenant_id")],
);

static PAGE: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    " FROM event AS e WHERE e.tenant_id = $1 AND e.seq > $2 AND e.seq <= $3 ORDER BY e.seq LIMIT $4"
));

/// Where a bounded look at the log ends.
static SCAN_END: Statement = Statement::new(
    "SELECT max(s.seq) FROM (SELECT e.seq FROM event AS e WHERE e.tenant_id = $1 AND e.seq > $2 \
     ORDER BY e.seq LIMIT $3) AS s",
);

static FILTERED: Statement = Statement::with_rows(
    concat!(
        "SELECT ",
        columns!(),
        " FROM event AS e WHERE e.tenant_id = $1 AND e.seq > $2 AND e.seq <= $3 \
         AND ($5 = 0 OR e.type IN (SELECT r.value FROM {rows} AS r WHERE r.kind = 1) \
              OR EXISTS (SELECT 1 FROM {rows} AS r WHERE r.kind = 3 AND substr(e.type, 1, length(r.value)) = r.value)) \
         AND ($6 = 0 OR e.instance_id IN (SELECT r.value FROM {rows} AS r WHERE r.kind = 2)) \
         ORDER BY e.seq LIMIT $4"
    ),
    &[Column::Int("kind"), Column::Text("value")],
);

/// Whether what events of a type say is sealed in any case: codes that pair a phone, and URLs of webhooks,
/// which often are credentials.
pub(crate) fn is_secret(kind: &str) -> bool {
    [
        EventType::InstanceQr.as_str(),
        EventType::InstancePairingCode.as_str(),
    ]
    .contains(&kind)
        || kind.starts_with("webhook.")
}

/// A row for [`INSERT`], sealed if there is a key. Returns the bytes of its payload.
pub(crate) fn insert_row(
    rows: &mut Rows,
    event: &Event,
    key: Option<&TenantKey>,
) -> Result<usize, StoreError> {
    let seq = event.seq;
    let sealed = key
        .map(|key| key.events(seq).seal_text(Place::Event { seq }, event.data.get()))
        .transpose()?;
    let payload = sealed.as_deref().unwrap_or(event.data.get());
    rows.id(event.tenant_id).int(event.seq).id(event.id);
    match event.instance_id {
        Some(instance) => rows.id(instance),
        None => rows.opt_text(None),
    };
    match &event.chat {
        Some(chat) => rows.id(chat),
        None => rows.opt_text(None),
    };
    rows.id(event.kind.as_str());
    match &sealed {
        // Nothing in it has to be escaped.
        Some(sealed) => rows.id(sealed),
        None => rows.text(payload),
    };
    rows.int(event.timestamp.unix_ms()).end();
    Ok(payload.len())
}

fn from_row(row: &Row, payload: String) -> Result<Arc<Event>, StoreError> {
    let data = RawValue::from_string(payload)
        .map_err(|_| StoreError::Corrupt("an event's payload is not JSON".to_owned()))?;
    Ok(Arc::new(Event {
        tenant_id: row.parse(0)?,
        seq: row.int(1)?,
        id: row.parse(2)?,
        instance_id: row.opt_parse(3)?,
        chat: row.opt_parse(4)?,
        kind: row.name(5, EventType::from_name)?,
        data,
        timestamp: row.time(7)?,
    }))
}

/// Appends events about an instance.
struct Append {
    owner: Owner,
    events: Vec<NewEvent>,
}

impl Planned for Append {
    type Output = i64;

    fn weight(&self) -> usize {
        self.events.len()
    }

    fn needs(&self, needs: &mut Needs) {
        needs.log(self.owner);
    }

    fn plan(&self, draft: &mut Draft) -> Result<i64, StoreError> {
        draft.check(self.owner)?;
        for event in &self.events {
            draft.append(self.owner.tenant, event.clone());
        }
        Ok(draft.last_seq(self.owner.tenant))
    }
}

#[async_trait]
impl EventLog for SqlStore {
    async fn append(&self, owner: Owner, events: Vec<NewEvent>) -> Result<i64, StoreError> {
        self.writer().planned(Append { owner, events }).await
    }

    async fn events(
        &self,
        tenant: TenantId,
        after: i64,
        limit: u32,
        filter: &EventFilter,
    ) -> Result<EventBatch, StoreError> {
        let limit = limit.clamp(1, PAGE_ROWS_MAX);
        let last = self.last_seq(tenant).await?;
        if last <= after {
            return Ok(EventBatch {
                events: Vec::new(),
                scanned_to: after,
            });
        }
        let (rows, looked_to) = if !restricts(&filter.types) && filter.instances.is_empty() {
            let args = self
                .reader()
                .args()
                .text(tenant)
                .int(after)
                .int(last)
                .int(i64::from(limit));
            let args = args.bytes_max(self.page_bytes_max());
            (self.reader().fetch(&PAGE, args).await?, last)
        } else {
            let args = self.reader().args().text(tenant).int(after).int(SCAN_MAX);
            let end = self.reader().fetch_one(&SCAN_END, args).await?;
            // Without a row the events up to `last` are gone by retention.
            let end = end
                .map(|row| row.opt_int(0))
                .transpose()?
                .flatten()
                .unwrap_or(last);
            let args = self
                .reader()
                .args()
                .text(tenant)
                .int(after)
                .int(end)
                .int(i64::from(limit));
            let args = args
                .bytes_max(self.page_bytes_max())
                .int(i64::from(restricts(&filter.types)))
                .int(i64::from(!filter.instances.is_empty()));
            (
                self.reader()
                    .fetch(&FILTERED, args.rows(self.filter_rows(filter)))
                    .await?,
                end,
            )
        };
        let mut events = Vec::with_capacity(rows.len());
        for row in &rows {
            events.push(self.event_from(row).await?);
        }
        let bytes: usize = rows.iter().map(Row::size).sum();
        let full = events.len() == limit as usize || bytes >= self.page_bytes_max();
        let scanned_to = events
            .last()
            .filter(|_| full)
            .map_or(looked_to, |event| event.seq);
        Ok(EventBatch { events, scanned_to })
    }

    async fn last_seq(&self, tenant: TenantId) -> Result<i64, StoreError> {
        let row = self
            .reader()
            .fetch_one(&LAST_SEQ, self.reader().args().text(tenant))
            .await?;
        row.ok_or(StoreError::NotFound)?.int(0)
    }

    async fn last_seqs(&self, tenants: &[TenantId]) -> Result<Vec<(TenantId, i64)>, StoreError> {
        let mut rows = LAST_SEQS.rows(self.reader().dialect());
        for tenant in tenants {
            rows.id(tenant).end();
        }
        let args = self.reader().args().rows(rows);
        let rows = self.reader().fetch(&LAST_SEQS, args).await?;
        rows.iter().map(|row| Ok((row.parse(0)?, row.int(1)?))).collect()
    }
}

fn restricts(types: &[EventPattern]) -> bool {
    !types.is_empty() && !types.contains(&EventPattern::All)
}

impl SqlStore {
    /// An event from its row, its payload opened if it is sealed.
    pub(crate) async fn event_from(&self, row: &Row) -> Result<Arc<Event>, StoreError> {
        let stored = row.str(6)?;
        if !sealed::is_sealed(stored) {
            return from_row(row, stored.to_owned());
        }
        let key = self.tenant_key(row.parse(0)?).await?;
        let seq = row.int(1)?;
        let payload = key.events(seq).open_text(Place::Event { seq }, stored)?;
        from_row(row, payload.into_owned())
    }

    fn filter_rows(&self, filter: &EventFilter) -> Rows {
        let mut rows = FILTERED.rows(self.reader().dialect());
        for pattern in &filter.types {
            match pattern {
                EventPattern::Exact(kind) => rows.int(1).id(kind).end(),
                EventPattern::Family(family) => rows.int(3).text(&format!("{family}.")).end(),
                EventPattern::All => {}
            }
        }
        for instance in &filter.instances {
            rows.int(2).id(instance).end();
        }
        rows
    }
}
