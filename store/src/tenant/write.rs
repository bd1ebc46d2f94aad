//! Making and changing tenants.

use async_trait::async_trait;
use roost_domain::api_key::{ApiKey, KeySecret, Principal};
use roost_domain::store::{OPERATORS, Outcome, Stamp, StoreError};
use roost_domain::tenant::{Tenant, TenantPatch, TenantState};
use roost_domain::{TenantId, Timestamp};

use super::from_row;
use crate::crypto::SALT_BYTES;
use crate::database::{Failure, Statement};
use crate::key;
use crate::writer::Transaction;
use crate::writer::draft::{Draft, Needs};
use crate::writer::unit::Direct;

static INSERT: Statement = Statement::new(
    "INSERT INTO tenant (id, name, key_salt, state, plan, limits, retention_days, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
);

static INSERT_LOG: Statement = Statement::new("INSERT INTO tenant_log (tenant_id, last_seq) VALUES ($1, 0)");

static FOR_UPDATE: Statement = Statement::new(concat!(
    "SELECT ",
    super::columns!(),
    " FROM tenant AS t WHERE t.id = $1 {pg:FOR UPDATE OF t}"
));

static UPDATE: Statement = Statement::new(
    "UPDATE tenant SET name = $2, state = $3, plan = $4, limits = $5, retention_days = $6, updated_at = $7 \
     WHERE id = $1",
);

/// A tenant's row, held until the commit.
pub(super) async fn fetch(
    transaction: &mut Transaction<'_>,
    tenant: TenantId,
) -> Result<Option<Tenant>, Failure> {
    let args = transaction.args().text(tenant);
    let rows = transaction.fetch(&FOR_UPDATE, args).await?;
    Ok(rows.first().map(|row| from_row(row, 0)).transpose()?)
}

fn limits_json(tenant: &Tenant) -> String {
    // A struct with text keys can always be written.
    serde_json::to_string(&tenant.limits).unwrap_or_default()
}

/// Makes a tenant.
pub(super) struct Create {
    pub(super) tenant: Tenant,
    pub(super) salt: [u8; SALT_BYTES],
    pub(super) key: Option<(ApiKey, KeySecret)>,
    pub(super) stamp: Stamp,
}

#[async_trait]
impl Direct for Create {
    type Output = Outcome<Tenant>;

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> Result<Result<Outcome<Tenant>, StoreError>, Failure> {
        let tenant = &self.tenant;
        let mut needs = Needs::default();
        needs.stamp(OPERATORS, &self.stamp);
        let mut draft = Draft::load(transaction, needs).await?;
        match draft.reply(OPERATORS, &self.stamp) {
            Err(error) => return Ok(Err(error)),
            Ok(Some(replay)) => return Ok(Ok(Outcome::Replayed(replay))),
            Ok(None) => {}
        }
        if let Some((key, _)) = &self.key
            && key.principal != Principal::Tenant(tenant.id)
        {
            return Ok(Err(StoreError::NotFound));
        }
        let args = transaction
            .args()
            .text(tenant.id)
            .text(&tenant.name)
            .bytes(self.salt.to_vec())
            .text(tenant.state.as_str())
            .opt_text(tenant.plan.as_deref())
            .text(limits_json(tenant))
            .opt_int(tenant.retention_days.map(i64::from))
            .int(tenant.created_at.unix_ms())
            .int(tenant.updated_at.unix_ms());
        transaction.execute(&INSERT, args).await?;
        let args = transaction.args().text(tenant.id);
        transaction.execute(&INSERT_LOG, args).await?;
        if let Some((key, secret)) = &self.key {
            key::insert(transaction, key, secret).await?;
        }
        draft.keep(OPERATORS, &self.stamp, tenant.id, || {
            key::with_key(tenant, self.key.as_ref().map(|(key, _)| key))
        });
        draft.flush(transaction).await?;
        Ok(Ok(Outcome::Done(tenant.clone())))
    }
}

/// Changes what an operator may change.
pub(super) struct Patch {
    pub(super) tenant: TenantId,
    pub(super) patch: TenantPatch,
    pub(super) at: Timestamp,
}

#[async_trait]
impl Direct for Patch {
    type Output = Tenant;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<Tenant, StoreError>, Failure> {
        let Some(mut tenant) = fetch(transaction, self.tenant).await? else {
            return Ok(Err(StoreError::NotFound));
        };
        if matches!(tenant.state, TenantState::Deleting | TenantState::Deleted) {
            let detail = format!("the tenant is {}", tenant.state.as_str());
            return Ok(Err(StoreError::Conflict(detail)));
        }
        let patch = &self.patch;
        if let Some(name) = &patch.name {
            tenant.name.clone_from(name);
        }
        if let Some(plan) = &patch.plan {
            tenant.plan.clone_from(plan);
        }
        if let Some(limits) = patch.limits {
            tenant.limits = limits;
        }
        if let Some(days) = patch.retention_days {
            tenant.retention_days = days;
        }
        match patch.suspended {
            Some(true) => tenant.state = TenantState::Suspended,
            Some(false) => tenant.state = TenantState::Active,
            None => {}
        }
        tenant.updated_at = self.at;
        let args = transaction
            .args()
            .text(tenant.id)
            .text(&tenant.name)
            .text(tenant.state.as_str())
            .opt_text(tenant.plan.as_deref())
            .text(limits_json(&tenant))
            .opt_int(tenant.retention_days.map(i64::from))
            .int(tenant.updated_at.unix_ms());
        transaction.execute(&UPDATE, args).await?;
        Ok(Ok(tenant))
    }
}
