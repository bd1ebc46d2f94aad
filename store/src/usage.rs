//! What tenants use, by day: counted in the transactions that make it, with one statement for each.
//!
//! Bytes that are kept are counted alike: what comes and what goes is added to the row of its day, so that
//! the sum over all days is what is there.

use std::collections::BTreeMap;

use async_trait::async_trait;
use roost_domain::TenantId;
use roost_domain::store::{StoreError, UsageLog};
use roost_domain::usage::{Day, Usage, UsageDay};

use crate::SqlStore;
use crate::database::{Column, Failure, Row, Statement};
use crate::writer::Transaction;
use crate::writer::unit::Direct;

static ADD: Statement = Statement::with_rows(
    "INSERT {lite:OR ROLLBACK }INTO usage_day (tenant_id, day, api_calls, messages_in, messages_out, deliveries, \
     media_bytes, instance_seconds, stored_bytes) \
     SELECT r.tenant_id, r.day, r.api_calls, r.messages_in, r.messages_out, r.deliveries, r.media_bytes, \
     r.instance_seconds, r.stored_bytes FROM {rows} AS r WHERE true \
     ON CONFLICT (tenant_id, day) DO UPDATE SET api_calls = usage_day.api_calls + excluded.api_calls, \
     messages_in = usage_day.messages_in + excluded.messages_in, \
     messages_out = usage_day.messages_out + excluded.messages_out, \
     deliveries = usage_day.deliveries + excluded.deliveries, \
     media_bytes = usage_day.media_bytes + excluded.media_bytes, \
     instance_seconds = usage_day.instance_seconds + excluded.instance_seconds, \
     stored_bytes = usage_day.stored_bytes + excluded.stored_bytes",
    &[
        Column::Text("tenant_id"),
        Column::Int("day"),
        Column::Int("api_calls"),
        Column::Int("messages_in"),
        Column::Int("messages_out"),
        Column::Int("deliveries"),
        Column::Int("media_bytes"),
        Column::Int("instance_seconds"),
        Column::Int("stored_bytes"),
    ],
);

/// Days on which only stored bytes moved are no days of use.
static DAYS: Statement = Statement::new(
    "SELECT u.day, u.api_calls, u.messages_in, u.messages_out, u.deliveries, u.media_bytes, u.instance_seconds \
     FROM usage_day AS u WHERE u.tenant_id = $1 AND u.day >= $2 AND u.day <= $3 \
     AND (u.api_calls > 0 OR u.messages_in > 0 OR u.messages_out > 0 OR u.deliveries > 0 \
     OR u.media_bytes > 0 OR u.instance_seconds > 0) ORDER BY u.day",
);

static STORED: Statement = Statement::new(
    "SELECT CAST(coalesce(sum(u.stored_bytes), 0) AS bigint) FROM usage_day AS u WHERE u.tenant_id = $1",
);

/// What one transaction adds.
#[derive(Default)]
pub(crate) struct Tally(BTreeMap<(TenantId, Day), Counted>);

#[derive(Default)]
pub(crate) struct Counted {
    pub(crate) usage: Usage,
    /// What came less what went.
    pub(crate) stored_bytes: i64,
}

impl Counted {
    /// Notes bytes that are kept from now on.
    pub(crate) fn came(&mut self, bytes: usize) {
        self.stored_bytes += i64::try_from(bytes).unwrap_or(i64::MAX);
    }
}

impl Tally {
    pub(crate) fn of(&mut self, tenant: TenantId, day: Day) -> &mut Counted {
        self.0.entry((tenant, day)).or_default()
    }

    /// Written last but for the heartbeat, and in the order of tenants on every node: whoever waits for a row
    /// here holds no row that another waits for.
    pub(crate) async fn flush(self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Ok(());
        }
        let mut rows = transaction.rows(&ADD);
        for ((tenant, day), counted) in &self.0 {
            let usage = &counted.usage;
            rows.id(tenant).int(day.number());
            rows.int(int(usage.api_calls))
                .int(int(usage.messages_in))
                .int(int(usage.messages_out))
                .int(int(usage.deliveries))
                .int(int(usage.media_bytes))
                .int(int(usage.instance_seconds));
            rows.int(counted.stored_bytes).end();
        }
        transaction.execute_rows(&ADD, rows).await?;
        Ok(())
    }
}

fn int(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn count(row: &Row, at: usize) -> Result<u64, StoreError> {
    Ok(u64::try_from(row.int(at)?).unwrap_or(0))
}

struct Add {
    day: Day,
    used: Vec<(TenantId, Usage)>,
}

#[async_trait]
impl Direct for Add {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<(), StoreError>, Failure> {
        for (tenant, used) in &self.used {
            let usage = &mut transaction.tally.of(*tenant, self.day).usage;
            usage.api_calls += used.api_calls;
            usage.messages_in += used.messages_in;
            usage.messages_out += used.messages_out;
            usage.deliveries += used.deliveries;
            usage.media_bytes += used.media_bytes;
            usage.instance_seconds += used.instance_seconds;
        }
        Ok(Ok(()))
    }
}

impl SqlStore {
    /// Bytes of messages and events that are kept for a tenant.
    pub(crate) async fn stored_bytes(&self, tenant: TenantId) -> Result<u64, StoreError> {
        let row = self
            .reader()
            .fetch_one(&STORED, self.reader().args().text(tenant))
            .await?;
        row.map_or(Ok(0), |row| count(&row, 0))
    }
}

#[async_trait]
impl UsageLog for SqlStore {
    async fn add_usage(&self, day: Day, used: Vec<(TenantId, Usage)>) -> Result<(), StoreError> {
        if used.is_empty() {
            return Ok(());
        }
        self.writer().direct(Add { day, used }).await
    }

    async fn usage(&self, tenant: TenantId, from: Day, to: Day) -> Result<Vec<UsageDay>, StoreError> {
        let args = self
            .reader()
            .args()
            .text(tenant)
            .int(from.number())
            .int(to.number());
        let rows = self.reader().fetch(&DAYS, args).await?;
        rows.iter()
            .map(|row| {
                Ok(UsageDay {
                    day: Day::from_number(row.int(0)?),
                    usage: Usage {
                        api_calls: count(row, 1)?,
                        messages_in: count(row, 2)?,
                        messages_out: count(row, 3)?,
                        deliveries: count(row, 4)?,
                        media_bytes: count(row, 5)?,
                        instance_seconds: count(row, 6)?,
                    },
                })
            })
            .collect()
    }
}
