//! Instances: rows and the port.

mod write;

use async_trait::async_trait;
use roost_domain::api_key::{ApiKey, KeySecret};
use roost_domain::instance::DesiredState;
use roost_domain::instance::{
    HistoryEntry, Instance, InstancePatch, InstanceState, NewInstance, Pacing, Policy, StateChange,
};
use roost_domain::page::{Page, PageRequest};
use roost_domain::store::{Instances, Outcome, Stamp, StoreError};
use roost_domain::{Epoch, InstanceId, Owner, Slot, TenantId, Timestamp};

use crate::SqlStore;
use crate::cluster::rows_by_slots;
use crate::crypto::{self, Keyring, Place};
use crate::database::{Column, Row, Rows, Statement};

/// Columns of an instance `i` with its tenant `t`, in the order in which [`from_row`] reads them.
macro_rules! columns {
    () => {
        "i.id, i.tenant_id, i.name, i.state, i.state_reason, i.desired_state, i.phone_number, i.lid, \
         i.push_name, i.proxy, i.created_at, i.updated_at, i.connected_at, i.epoch, t.key_salt, i.history_count, \
         i.pacing, i.reply_only"
    };
}

/// Index of `history_count` among the columns.
pub(crate) const HISTORY_COUNT: usize = 15;

pub(crate) static BY_IDS: Statement = Statement::with_rows(
    concat!(
        "SELECT ",
        columns!(),
        " FROM {rows} AS r JOIN instance AS i ON i.id = r.id JOIN tenant AS t ON t.id = i.tenant_id \
         ORDER BY i.id {pg:FOR UPDATE OF i}"
    ),
    &[Column::Text("id")],
);

static BY_ID: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    " FROM instance AS i JOIN tenant AS t ON t.id = i.tenant_id WHERE i.id = $1 AND i.tenant_id = $2"
));

static OF_TENANT: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    " FROM instance AS i JOIN tenant AS t ON t.id = i.tenant_id \
     WHERE i.tenant_id = $1 AND i.id > $2 ORDER BY i.id LIMIT $3"
));

static AMONG: Statement = Statement::with_rows(
    concat!(
        "SELECT ",
        columns!(),
        " FROM (SELECT DISTINCT id FROM {rows} AS n) AS r {lite:CROSS }JOIN instance AS i ON i.id = r.id \
         JOIN tenant AS t ON t.id = i.tenant_id \
         WHERE i.tenant_id = $1 AND i.id > $2 ORDER BY i.id LIMIT $3"
    ),
    &[Column::Text("id")],
);

/// A suspended tenant's rest, and one that is being deleted has none any more.
static RUNNING: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    " FROM instance AS i JOIN tenant AS t ON t.id = i.tenant_id \
     WHERE i.desired_state = 'running' AND t.state = 'active' AND i.id > $1 ORDER BY i.id LIMIT $2"
));

/// The same, of some slots.
static RUNNING_IN_SLOTS: Statement = Statement::with_rows(
    concat!(
        "SELECT ",
        columns!(),
        " FROM {rows} AS r {lite:CROSS }JOIN instance AS i ON i.slot = r.slot JOIN tenant AS t ON t.id = i.tenant_id \
         WHERE i.desired_state = 'running' AND t.state = 'active' AND (i.slot > $2 OR i.id > $1) \
         ORDER BY i.slot, i.id LIMIT $3"
    ),
    &[Column::Int("slot")],
);

#[cfg(test)]
pub(crate) static RUNNING_IN: &Statement = &RUNNING_IN_SLOTS;

static COUNT: Statement = Statement::new("SELECT count(*) FROM instance WHERE tenant_id = $1");

static EXISTS: Statement = Statement::new("SELECT 1 FROM instance WHERE id = $1 AND tenant_id = $2");

static HISTORY: Statement = Statement::new(
    "SELECT h.number, h.state, h.reason, h.at FROM instance_history AS h \
     WHERE h.instance_id = $1 AND h.tenant_id = $2 AND h.number < $3 ORDER BY h.number DESC LIMIT $4",
);

pub(crate) static INSERT: Statement = Statement::with_rows(
    "INSERT {lite:OR ROLLBACK }INTO instance (id, tenant_id, name, state, state_reason, desired_state, created_at, updated_at, \
     epoch, history_count, pacing, reply_only, slot) \
     SELECT r.id, r.tenant_id, r.name, r.state, r.state_reason, r.desired_state, r.created_at, r.updated_at, \
     r.epoch, r.history_count, r.pacing, r.reply_only, r.slot FROM {rows} AS r",
    &[
        Column::Text("id"),
        Column::Text("tenant_id"),
        Column::Text("name"),
        Column::Text("state"),
        Column::Text("state_reason"),
        Column::Text("desired_state"),
        Column::Int("created_at"),
        Column::Int("updated_at"),
        Column::Int("epoch"),
        Column::Int("history_count"),
        Column::Text("pacing"),
        Column::Int("reply_only"),
        Column::Int("slot"),
    ],
);

/// Everything that a session changes; name, proxy, pace and policy are the tenant's to change.
pub(crate) static UPDATE: Statement = Statement::with_rows(
    "UPDATE {lite:OR ROLLBACK }instance SET state = r.state, state_reason = r.state_reason, desired_state = r.desired_state, \
     phone_number = r.phone_number, lid = r.lid, push_name = r.push_name, updated_at = r.updated_at, \
     connected_at = r.connected_at, epoch = r.epoch, history_count = r.history_count \
     FROM {rows} AS r WHERE instance.id = r.id",
    &[
        Column::Text("id"),
        Column::Text("state"),
        Column::Text("state_reason"),
        Column::Text("desired_state"),
        Column::Text("phone_number"),
        Column::Text("lid"),
        Column::Text("push_name"),
        Column::Int("updated_at"),
        Column::Int("connected_at"),
        Column::Int("epoch"),
        Column::Int("history_count"),
    ],
);

pub(crate) fn from_row(row: &Row, keyring: &Keyring) -> Result<Instance, StoreError> {
    let id: InstanceId = row.parse(0)?;
    let tenant_id: TenantId = row.parse(1)?;
    let proxy = match row.opt_bytes(9)? {
        None => None,
        // What was sealed with a key that is destroyed is gone.
        Some(_) if crypto::is_destroyed(&row.bytes(14)?) => None,
        Some(sealed) => {
            let plain = keyring
                .tenant(tenant_id, &row.bytes(14)?)
                .instance(id)
                .open(Place::Proxy, sealed)?;
            Some(
                String::from_utf8(plain)
                    .map_err(|_| StoreError::Corrupt("a proxy is not text".to_owned()))?,
            )
        }
    };
    Ok(Instance {
        id,
        tenant_id,
        name: row.text(2)?,
        state: row.name(3, InstanceState::from_name)?,
        state_reason: row.opt_text(4)?,
        desired_state: row.name(5, DesiredState::from_name)?,
        phone_number: row.opt_parse(6)?,
        lid: row.opt_parse(7)?,
        push_name: row.opt_text(8)?,
        proxy,
        pacing: pacing(row)?,
        policy: Policy {
            reply_only: row.int(17)? != 0,
        },
        created_at: row.time(10)?,
        updated_at: row.time(11)?,
        connected_at: row.opt_time(12)?,
        epoch: Epoch(row.int(13)?),
    })
}

fn pacing(row: &Row) -> Result<Option<Pacing>, StoreError> {
    let Some(json) = row.opt_text(16)? else {
        return Ok(None);
    };
    let pacing = serde_json::from_str(&json);
    pacing
        .map(Some)
        .map_err(|error| StoreError::Corrupt(format!("the pace of an instance cannot be read: {error}")))
}

/// A pace as it is stored.
fn pacing_json(pacing: Option<Pacing>) -> Option<String> {
    // A struct of numbers can always be written.
    pacing.map(|pacing| serde_json::to_string(&pacing).unwrap_or_default())
}

/// A row for [`INSERT`]. The proxy is sealed and written apart.
pub(crate) fn insert_row(rows: &mut Rows, instance: &Instance, history_count: i64) {
    rows.id(instance.id)
        .id(instance.tenant_id)
        .text(&instance.name)
        .id(instance.state.as_str());
    rows.opt_text(instance.state_reason.as_deref())
        .id(instance.desired_state.as_str());
    rows.int(instance.created_at.unix_ms())
        .int(instance.updated_at.unix_ms());
    rows.int(instance.epoch.0).int(history_count);
    rows.opt_text(pacing_json(instance.pacing).as_deref())
        .int(i64::from(instance.policy.reply_only));
    rows.int(i64::from(Slot::of(instance.id).number())).end();
}

/// A row for [`UPDATE`].
pub(crate) fn update_row(rows: &mut Rows, instance: &Instance, history_count: i64) {
    rows.id(instance.id)
        .id(instance.state.as_str())
        .opt_text(instance.state_reason.as_deref());
    rows.id(instance.desired_state.as_str());
    rows.opt_text(instance.phone_number.as_ref().map(ToString::to_string).as_deref());
    rows.opt_text(instance.lid.as_ref().map(ToString::to_string).as_deref());
    rows.opt_text(instance.push_name.as_deref())
        .int(instance.updated_at.unix_ms());
    rows.opt_int(instance.connected_at.map(Timestamp::unix_ms))
        .int(instance.epoch.0)
        .int(history_count)
        .end();
}

impl SqlStore {
    /// Whether an instance is its tenant's.
    pub(crate) async fn check_instance(&self, tenant: TenantId, id: InstanceId) -> Result<(), StoreError> {
        let args = self.reader().args().text(id).text(tenant);
        self.reader()
            .fetch_one(&EXISTS, args)
            .await?
            .map(drop)
            .ok_or(StoreError::NotFound)
    }

    fn instances_of(&self, rows: &[Row], limit: u32) -> Result<Page<Instance, InstanceId>, StoreError> {
        let rows: Result<Vec<_>, _> = rows.iter().map(|row| from_row(row, self.keyring())).collect();
        Ok(Page::from_rows(rows?, limit, |instance| instance.id))
    }
}

/// A text before every id.
fn after_text(after: Option<InstanceId>) -> String {
    after.map(|id| id.to_string()).unwrap_or_default()
}

#[async_trait]
impl Instances for SqlStore {
    async fn create_instance(
        &self,
        tenant: TenantId,
        new: NewInstance,
        key: Option<(&ApiKey, &KeySecret)>,
        stamp: Stamp,
    ) -> Result<Outcome<Instance>, StoreError> {
        self.writer()
            .direct(write::Create {
                tenant,
                new,
                key: key.map(|(key, secret)| (key.clone(), secret.clone())),
                stamp,
            })
            .await
    }

    async fn instance(&self, tenant: TenantId, id: InstanceId) -> Result<Instance, StoreError> {
        let args = self.reader().args().text(id).text(tenant);
        let row = self
            .reader()
            .fetch_one(&BY_ID, args)
            .await?
            .ok_or(StoreError::NotFound)?;
        from_row(&row, self.keyring())
    }

    async fn instances(
        &self,
        tenant: TenantId,
        among: &[InstanceId],
        page: PageRequest<InstanceId>,
    ) -> Result<Page<Instance, InstanceId>, StoreError> {
        let args = self
            .reader()
            .args()
            .text(tenant)
            .text(after_text(page.after))
            .int(i64::from(page.limit) + 1);
        let rows = if among.is_empty() {
            self.reader().fetch(&OF_TENANT, args).await?
        } else {
            let mut rows = AMONG.rows(self.reader().dialect());
            for id in among {
                rows.id(id).end();
            }
            self.reader().fetch(&AMONG, args.rows(rows)).await?
        };
        self.instances_of(&rows, page.limit)
    }

    async fn instance_count(&self, tenant: TenantId) -> Result<u64, StoreError> {
        let row = self
            .reader()
            .fetch_one(&COUNT, self.reader().args().text(tenant))
            .await?;
        let count = row.map(|row| row.int(0)).transpose()?.unwrap_or(0);
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn patch_instance(
        &self,
        tenant: TenantId,
        id: InstanceId,
        patch: InstancePatch,
        at: Timestamp,
    ) -> Result<Instance, StoreError> {
        self.writer()
            .direct(write::Patch {
                tenant,
                id,
                patch,
                at,
            })
            .await
    }

    async fn delete_instance(&self, owner: Owner, at: Timestamp) -> Result<(), StoreError> {
        // Long queues are failed in bounded transactions first; what is left goes with the instance.
        self.fail_all_pending(owner, roost_domain::message::FailureReason::InstanceGone, at)
            .await?;
        self.writer().direct(write::Delete { owner, at }).await
    }

    async fn change_state(&self, owner: Owner, change: StateChange) -> Result<Instance, StoreError> {
        self.writer().planned(write::Step { owner, change }).await
    }

    async fn history(
        &self,
        tenant: TenantId,
        id: InstanceId,
        page: PageRequest<i64>,
    ) -> Result<Page<HistoryEntry, i64>, StoreError> {
        let before = page.after.unwrap_or(i64::MAX);
        let args = self
            .reader()
            .args()
            .text(id)
            .text(tenant)
            .int(before)
            .int(i64::from(page.limit) + 1);
        let rows = self.reader().fetch(&HISTORY, args).await?;
        if rows.is_empty() {
            self.check_instance(tenant, id).await?;
        }
        let entries: Result<Vec<_>, StoreError> = rows
            .iter()
            .map(|row| {
                Ok(HistoryEntry {
                    number: row.int(0)?,
                    state: row.name(1, InstanceState::from_name)?,
                    reason: row.opt_text(2)?,
                    at: row.time(3)?,
                })
            })
            .collect();
        Ok(Page::from_rows(entries?, page.limit, |entry| entry.number))
    }

    async fn activate(&self, owner: Owner) -> Result<Instance, StoreError> {
        self.writer().planned(write::Activate { owner }).await
    }

    async fn running_instances(
        &self,
        slots: &[Slot],
        page: PageRequest<InstanceId>,
    ) -> Result<Page<Instance, InstanceId>, StoreError> {
        let wanted = i64::from(page.limit) + 1;
        let rows = if slots.len() == Slot::EVERY.len() {
            let args = self.reader().args().text(after_text(page.after)).int(wanted);
            self.reader().fetch(&RUNNING, args).await?
        } else {
            let after = page.after.map(|id| (Slot::of(id), id.to_string()));
            rows_by_slots(self.reader(), &RUNNING_IN_SLOTS, slots, after, wanted).await?
        };
        self.instances_of(&rows, page.limit)
    }
}
