//! Events by their place, id and time.

use std::sync::Arc;

use roost_domain::event::Event;
use roost_domain::page::PAGE_ROWS_MAX;
use roost_domain::store::StoreError;
use roost_domain::{EventId, TenantId, Timestamp};

use crate::SqlStore;
use crate::database::{Column, Statement};
use crate::event;

/// SQLite takes a table of values for a long one, and reads the whole log instead, if `CROSS` does not
/// keep it from choosing the order.
static EVENTS_AT: Statement = Statement::with_rows(
    concat!(
        "SELECT ",
        event::columns!(),
        " FROM {rows} AS r {lite:CROSS }JOIN event AS e ON e.tenant_id = $1 AND e.seq = r.seq ORDER BY e.seq"
    ),
    &[Column::Int("seq")],
);

static EVENT_SEQS: Statement = Statement::with_rows(
    "SELECT e.seq FROM {rows} AS r {lite:CROSS }JOIN event AS e ON e.id = r.id WHERE e.tenant_id = $1 ORDER BY e.seq",
    &[Column::Text("id")],
);

static ENDS: Statement = Statement::new(
    "SELECT (SELECT min(e.seq) FROM event AS e WHERE e.tenant_id = $1), \
     (SELECT max(e.seq) FROM event AS e WHERE e.tenant_id = $1)",
);

static FROM_SEQ: Statement = Statement::new(
    "SELECT e.seq, e.created_at FROM event AS e WHERE e.tenant_id = $1 AND e.seq >= $2 ORDER BY e.seq LIMIT 1",
);

impl SqlStore {
    pub(super) async fn events_by_seq(
        &self,
        tenant: TenantId,
        seqs: &[i64],
    ) -> Result<Vec<Arc<Event>>, StoreError> {
        let mut events = Vec::with_capacity(seqs.len());
        for part in seqs.chunks(PAGE_ROWS_MAX as usize) {
            let mut rows = EVENTS_AT.rows(self.reader().dialect());
            for seq in part {
                rows.int(*seq).end();
            }
            let args = self.reader().args().text(tenant).rows(rows);
            for row in self.reader().fetch(&EVENTS_AT, args).await? {
                events.push(self.event_from(&row).await?);
            }
        }
        Ok(events)
    }

    pub(super) async fn seqs_of_events(
        &self,
        tenant: TenantId,
        ids: &[EventId],
    ) -> Result<Vec<i64>, StoreError> {
        let mut seqs = Vec::with_capacity(ids.len());
        for part in ids.chunks(PAGE_ROWS_MAX as usize) {
            let mut rows = EVENT_SEQS.rows(self.reader().dialect());
            for id in part {
                rows.id(id).end();
            }
            let args = self.reader().args().text(tenant).rows(rows);
            for row in self.reader().fetch(&EVENT_SEQS, args).await? {
                seqs.push(row.int(0)?);
            }
        }
        Ok(seqs)
    }

    pub(super) async fn seqs_between(
        &self,
        tenant: TenantId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        let ends = self
            .reader()
            .fetch_one(&ENDS, self.reader().args().text(tenant))
            .await?;
        let ends = ends.ok_or(StoreError::NotFound)?;
        let (Some(first), Some(last)) = (ends.opt_int(0)?, ends.opt_int(1)?) else {
            return Ok(None);
        };
        let begin = self.first_from(&FROM_SEQ, &tenant, from, first, last + 1).await?;
        let end = self.first_from(&FROM_SEQ, &tenant, to, begin, last + 1).await?;
        Ok((begin < end).then_some((begin, end - 1)))
    }

    /// The first place from which on nothing is older than `time`, or `high`. The order of the log is that
    /// of time, so that the place is found by halving. `probe` gives place and time of the first row of
    /// `key` from a place on.
    pub(super) async fn first_from(
        &self,
        probe: &'static Statement,
        key: &impl ToString,
        time: Timestamp,
        mut low: i64,
        mut high: i64,
    ) -> Result<i64, StoreError> {
        while low < high {
            let middle = low + (high - low) / 2;
            let args = self.reader().args().text(key.to_string()).int(middle);
            match self.reader().fetch_one(probe, args).await? {
                Some(row) if row.time(1)? < time => low = row.int(0)? + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}

#[cfg(test)]
pub(super) const NAMED: &[&Statement] = &[&EVENTS_AT, &EVENT_SEQS];
