//! Lists and single rows of webhooks and deliveries.

use roost_domain::event::EventType;
use roost_domain::page::{Page, PageRequest};
use roost_domain::store::StoreError;
use roost_domain::webhook::store::{DeliveryCounts, DeliveryDetail, DeliveryFilter, Parked, WebhookDuty};
use roost_domain::webhook::{
    DeadReason, Delivery, DeliveryId, DeliveryStatus, Webhook, WebhookOwner, WebhookSecret,
};
use roost_domain::{Slot, TenantId, WebhookId};

use super::row::{self, WebhookRow};
use super::{REPLAYS, SECRETS, attempt};
use crate::SqlStore;
use crate::cluster::rows_by_slots;
use crate::database::{Column, Row, Statement};

/// Rows that one filtered list looks at.
const LOOKS_MAX: i64 = 10_000;
/// Up to where rows are counted.
const COUNT_MAX: i64 = 10_000;

static BY_ID: Statement = Statement::new(concat!(
    "SELECT ",
    row::columns!(),
    " FROM webhook AS w JOIN tenant AS t ON t.id = w.tenant_id WHERE w.id = $1 AND w.tenant_id = $2"
));

static PAGE: Statement = Statement::new(concat!(
    "SELECT ",
    row::columns!(),
    " FROM webhook AS w JOIN tenant AS t ON t.id = w.tenant_id WHERE w.tenant_id = $1 AND w.id > $2 \
     ORDER BY w.id LIMIT $3"
));

static ENABLED: Statement = Statement::new(
    "SELECT w.id, w.tenant_id FROM webhook AS w JOIN tenant AS t ON t.id = w.tenant_id \
     WHERE w.state = 'enabled' AND t.state = 'active' AND w.id > $1 ORDER BY w.id LIMIT $2",
);

static ENABLED_IN_SLOTS: Statement = Statement::with_rows(
    "SELECT w.id, w.tenant_id FROM {rows} AS r {lite:CROSS }JOIN webhook AS w ON w.slot = r.slot \
     JOIN tenant AS t ON t.id = w.tenant_id \
     WHERE w.state = 'enabled' AND t.state = 'active' AND (w.slot > $2 OR w.id > $1) \
     ORDER BY w.slot, w.id LIMIT $3",
    &[Column::Int("slot")],
);

#[cfg(test)]
pub(crate) static ENABLED_IN: &Statement = &ENABLED_IN_SLOTS;

/// The few that wait or are dead have an index of their own, which SQLite does not choose by itself.
static PARKED: Statement = Statement::new(
    "SELECT d.seq, d.order_key, d.attempt_count, d.round, d.next_attempt_at FROM delivery AS d \
     {lite:INDEXED BY delivery_open }WHERE d.webhook_id = $1 AND d.seq > $2 AND d.status = 'pending' AND d.status <> 'delivered' \
     ORDER BY d.seq LIMIT $3",
);

static DEAD: Statement = Statement::new(
    "SELECT d.seq FROM delivery AS d {lite:INDEXED BY delivery_open }WHERE d.webhook_id = $1 AND d.seq >= $2 \
     AND d.seq <= $3 AND d.status = 'dead' AND d.status <> 'delivered' ORDER BY d.seq LIMIT $4",
);

macro_rules! delivery_columns {
    () => {
        "d.webhook_id, d.seq, d.event_id, d.event_type, d.instance_id, d.chat, d.status, d.dead_reason, \
         d.attempt_count, d.next_attempt_at, d.created_at, d.updated_at"
    };
}

static LOOK_END: Statement = Statement::new(
    "SELECT min(s.seq), count(*) FROM (SELECT d.seq FROM delivery AS d WHERE d.webhook_id = $1 AND d.seq < $2 \
     AND d.seq >= $4 ORDER BY d.seq DESC LIMIT $3) AS s",
);

static OPEN_LOOK_END: Statement = Statement::new(
    "SELECT min(s.seq), count(*) FROM (SELECT d.seq FROM delivery AS d {lite:INDEXED BY delivery_open }\
     WHERE d.webhook_id = $1 AND d.seq < $2 AND d.seq >= $4 AND d.status = $5 AND d.status <> 'delivered' \
     ORDER BY d.seq DESC LIMIT $3) AS s",
);

macro_rules! delivery_list {
    ($index:literal, $status:literal) => {
        concat!(
            "SELECT ",
            delivery_columns!(),
            " FROM delivery AS d ",
            $index,
            "WHERE d.webhook_id = $1 AND d.seq < $2 AND d.seq >= $3 AND ",
            $status,
            " AND ($6 = '' OR d.event_type = $6) AND ($7 = '' OR d.instance_id = $7) \
             AND ($8 = '' OR d.chat = $8) ORDER BY d.seq DESC LIMIT $4"
        )
    };
}

static DELIVERIES: Statement = Statement::new(delivery_list!("", "($5 = '' OR d.status = $5)"));
/// Between two of them there may be millions that were delivered.
static OPEN_DELIVERIES: Statement = Statement::new(delivery_list!(
    "{lite:INDEXED BY delivery_open }",
    "d.status = $5 AND d.status <> 'delivered'"
));

/// The first delivery from a place on, and the time of its event.
static DELIVERY_FROM_SEQ: Statement = Statement::new(
    "SELECT d.seq, d.event_at FROM delivery AS d WHERE d.webhook_id = $1 AND d.seq >= $2 ORDER BY d.seq LIMIT 1",
);

static LAST_DELIVERY: Statement =
    Statement::new("SELECT max(d.seq) FROM delivery AS d WHERE d.webhook_id = $1");

static DELIVERY: Statement = Statement::new(concat!(
    "SELECT ",
    delivery_columns!(),
    ", d.attempts FROM webhook AS w JOIN delivery AS d ON d.webhook_id = w.id \
     WHERE w.id = $1 AND d.seq = $2 AND w.tenant_id = $3"
));

static COUNT: Statement = Statement::new(
    "SELECT count(*) FROM (SELECT 1 FROM delivery AS d {lite:INDEXED BY delivery_open }\
     WHERE d.webhook_id = $1 AND d.status = $2 AND d.status <> 'delivered' LIMIT $3) AS s",
);

static OLDEST: Statement = Statement::new(
    "SELECT d.event_at FROM delivery AS d {lite:INDEXED BY delivery_open }WHERE d.webhook_id = $1 \
     AND d.status = 'pending' AND d.status <> 'delivered' ORDER BY d.seq LIMIT 1",
);

/// A pending delivery from its place, order key, attempts, round and due time.
pub(super) fn parked_row(row: &Row) -> Result<Parked, StoreError> {
    Ok(Parked {
        seq: row.int(0)?,
        order_key: row.opt_text(1)?.unwrap_or_default(),
        attempts: count(row.int(2)?),
        round: count(row.int(3)?),
        next_attempt_at: row.opt_time(4)?,
    })
}

fn count(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn delivery(row: &Row) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        id: DeliveryId {
            webhook: row.parse(0)?,
            seq: row.int(1)?,
        },
        event_id: row.parse(2)?,
        event_type: row.name(3, EventType::from_name)?,
        instance_id: row.opt_parse(4)?,
        chat: row.opt_parse(5)?,
        status: row.name(6, DeliveryStatus::from_name)?,
        dead_reason: match row.opt_str(7)? {
            None => None,
            Some(_) => Some(row.name(7, DeadReason::from_name)?),
        },
        attempts: count(row.int(8)?),
        next_attempt_at: row.opt_time(9)?,
        created_at: row.time(10)?,
        updated_at: row.time(11)?,
    })
}

impl SqlStore {
    pub(super) async fn webhook_row(
        &self,
        tenant: TenantId,
        id: WebhookId,
    ) -> Result<WebhookRow, StoreError> {
        let args = self.reader().args().text(id).text(tenant);
        let row = self.reader().fetch_one(&BY_ID, args).await?;
        WebhookRow::read(&row.ok_or(StoreError::NotFound)?, self.keyring())
    }

    pub(super) async fn webhook_page(
        &self,
        tenant: TenantId,
        page: PageRequest<WebhookId>,
    ) -> Result<Page<Webhook, WebhookId>, StoreError> {
        let after = page.after.map(|id| id.to_string()).unwrap_or_default();
        let args = self.reader().args().text(tenant).text(after);
        let args = args.int(i64::from(page.limit) + 1);
        let rows = self.reader().fetch(&PAGE, args).await?;
        let webhooks: Result<Vec<_>, _> = rows
            .iter()
            .map(|row| WebhookRow::read(row, self.keyring()).map(|row| row.webhook))
            .collect();
        Ok(Page::from_rows(webhooks?, page.limit, |webhook| webhook.id))
    }

    pub(super) async fn enabled_page(
        &self,
        slots: &[Slot],
        page: PageRequest<WebhookId>,
    ) -> Result<Page<(WebhookId, TenantId), WebhookId>, StoreError> {
        let wanted = i64::from(page.limit) + 1;
        let rows = if slots.len() == Slot::EVERY.len() {
            let after = page.after.map(|id| id.to_string()).unwrap_or_default();
            let args = self.reader().args().text(after).int(wanted);
            self.reader().fetch(&ENABLED, args).await?
        } else {
            let after = page.after.map(|id| (Slot::of_webhook(id), id.to_string()));
            rows_by_slots(self.reader(), &ENABLED_IN_SLOTS, slots, after, wanted).await?
        };
        let found: Result<Vec<_>, StoreError> = rows
            .iter()
            .map(|row| Ok((row.parse(0)?, row.parse(1)?)))
            .collect();
        Ok(Page::from_rows(found?, page.limit, |found| found.0))
    }

    pub(super) async fn secrets(
        &self,
        tenant: TenantId,
        id: WebhookId,
    ) -> Result<Vec<WebhookSecret>, StoreError> {
        let key = self.tenant_key(tenant).await?;
        let now = self.clock().now().unix_ms();
        let args = self.reader().args().text(id).int(now);
        let rows = self.reader().fetch(&SECRETS, args).await?;
        rows.iter().map(|row| row::secret(row, id, &key)).collect()
    }

    pub(super) async fn duty(&self, owner: WebhookOwner) -> Result<WebhookDuty, StoreError> {
        let row = self.webhook_row(owner.tenant, owner.webhook).await?;
        row.check(owner)?;
        let secrets = self.secrets(owner.tenant, owner.webhook).await?;
        let args = self.reader().args().text(owner.webhook);
        let rows = self.reader().fetch(&REPLAYS, args).await?;
        let replays: Result<Vec<_>, _> = rows.iter().map(row::replay).collect();
        Ok(row.duty(secrets, replays?))
    }

    pub(super) async fn parked_after(
        &self,
        owner: WebhookOwner,
        after: i64,
        limit: u32,
    ) -> Result<Vec<Parked>, StoreError> {
        self.webhook_row(owner.tenant, owner.webhook)
            .await?
            .check(owner)?;
        let args = self.reader().args().text(owner.webhook).int(after);
        let rows = self.reader().fetch(&PARKED, args.int(i64::from(limit))).await?;
        rows.iter().map(parked_row).collect()
    }

    pub(super) async fn dead_between(
        &self,
        owner: WebhookOwner,
        from_seq: i64,
        to_seq: i64,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError> {
        self.webhook_row(owner.tenant, owner.webhook)
            .await?
            .check(owner)?;
        let args = self.reader().args().text(owner.webhook).int(from_seq).int(to_seq);
        let rows = self.reader().fetch(&DEAD, args.int(i64::from(limit))).await?;
        rows.iter().map(|row| row.int(0)).collect()
    }

    /// A page may be short and still have a next one, where a filter let little of what it looked at
    /// pass.
    pub(super) async fn delivery_page(
        &self,
        tenant: TenantId,
        webhook: WebhookId,
        filter: &DeliveryFilter,
        page: PageRequest<i64>,
    ) -> Result<Page<Delivery, i64>, StoreError> {
        self.webhook_row(tenant, webhook).await?;
        let (low, high) = self.bounds(webhook, filter, page.after).await?;
        let (low, more) = self.look(webhook, filter, low, high).await?;
        let list = match filter.status {
            None | Some(DeliveryStatus::Delivered) => &DELIVERIES,
            Some(_) => &OPEN_DELIVERIES,
        };
        let args = self.reader().args().text(webhook).int(high).int(low);
        let args = args
            .int(i64::from(page.limit) + 1)
            .text(filter.status.map_or("", DeliveryStatus::as_str))
            .text(filter.event_type.as_ref().map_or("", EventType::as_str));
        let args = args
            .text(filter.instance.map(|id| id.to_string()).unwrap_or_default())
            .text(filter.chat.as_ref().map(ToString::to_string).unwrap_or_default());
        let rows = self.reader().fetch(list, args).await?;
        let rows: Result<Vec<_>, _> = rows.iter().map(delivery).collect();
        let mut found = Page::from_rows(rows?, page.limit, |delivery| delivery.id.seq);
        if found.next.is_none() && more {
            found.next = Some(low);
        }
        Ok(found)
    }

    /// Places between which a list's deliveries are: from the first up to before the second.
    async fn bounds(
        &self,
        webhook: WebhookId,
        filter: &DeliveryFilter,
        after: Option<i64>,
    ) -> Result<(i64, i64), StoreError> {
        let (mut low, mut high) = (1, after.unwrap_or(i64::MAX));
        if filter.since.is_none() && filter.until.is_none() {
            return Ok((low, high));
        }
        let args = self.reader().args().text(webhook);
        let last = self.reader().fetch_one(&LAST_DELIVERY, args).await?;
        let end = last.map_or(Ok(None), |row| row.opt_int(0))?.unwrap_or(0) + 1;
        let from = async |time| self.first_from(&DELIVERY_FROM_SEQ, &webhook, time, 1, end).await;
        if let Some(since) = filter.since {
            low = from(since).await?;
        }
        if let Some(until) = filter.until {
            high = high.min(from(until).await?);
        }
        Ok((low, high))
    }

    /// Down to where a list looks, and whether it may go on below. Where every row is one of the list,
    /// its own limit bounds it.
    async fn look(
        &self,
        webhook: WebhookId,
        filter: &DeliveryFilter,
        low: i64,
        high: i64,
    ) -> Result<(i64, bool), StoreError> {
        let passes_over = filter.event_type.is_some()
            || filter.instance.is_some()
            || filter.chat.is_some()
            || filter.status == Some(DeliveryStatus::Delivered);
        if !passes_over {
            return Ok((low, false));
        }
        let args = self.reader().args().text(webhook).int(high);
        let args = args.int(LOOKS_MAX).int(low);
        let (end, args) = match filter.status {
            None | Some(DeliveryStatus::Delivered) => (&LOOK_END, args),
            Some(status) => (&OPEN_LOOK_END, args.text(status.as_str())),
        };
        let looked = self.reader().fetch_one(end, args).await?;
        let looked = looked.ok_or(StoreError::NotFound)?;
        let more = looked.int(1)? >= LOOKS_MAX;
        Ok((looked.opt_int(0)?.filter(|_| more).unwrap_or(low), more))
    }

    pub(super) async fn delivery_detail(
        &self,
        tenant: TenantId,
        id: DeliveryId,
    ) -> Result<DeliveryDetail, StoreError> {
        let args = self.reader().args().text(id.webhook).int(id.seq).text(tenant);
        let row = self.reader().fetch_one(&DELIVERY, args).await?;
        let row = row.ok_or(StoreError::NotFound)?;
        let key = self.tenant_key(tenant).await?;
        Ok(DeliveryDetail {
            delivery: delivery(&row)?,
            attempts: attempt::read(row.str(12)?, &key, id.webhook, id.seq)?,
            event: self.events_by_seq(tenant, &[id.seq]).await?.pop(),
        })
    }

    pub(super) async fn counts(&self, webhook: WebhookId) -> Result<DeliveryCounts, StoreError> {
        let args = self.reader().args().text(webhook);
        let oldest = self.reader().fetch_one(&OLDEST, args).await?;
        Ok(DeliveryCounts {
            pending: self.count(webhook, DeliveryStatus::Pending).await?,
            dead: self.count(webhook, DeliveryStatus::Dead).await?,
            oldest_pending: oldest.map(|row| row.time(0)).transpose()?,
        })
    }

    async fn count(&self, webhook: WebhookId, status: DeliveryStatus) -> Result<u64, StoreError> {
        let args = self.reader().args().text(webhook).text(status.as_str());
        let row = self.reader().fetch_one(&COUNT, args.int(COUNT_MAX)).await?;
        let count = row.map_or(Ok(0), |row| row.int(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

#[cfg(test)]
pub(super) const OPEN_LISTS: &[&Statement] =
    &[&PARKED, &DEAD, &OPEN_LOOK_END, &OPEN_DELIVERIES, &COUNT, &OLDEST];
#[cfg(test)]
pub(super) const NAMED: &[&Statement] = &[&DELIVERY];
