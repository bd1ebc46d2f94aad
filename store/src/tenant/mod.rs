//! Tenants: rows and the port, and the key that is derived for each.
//!
//! `write` makes and changes tenants, `delete` is their end.

mod delete;
pub(crate) mod remains;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use roost_domain::api_key::{ApiKey, KeySecret};
use roost_domain::page::{Page, PageRequest};
use roost_domain::store::{OPERATORS, Outcome, Stamp, StoreError, Tenants};
use roost_domain::tenant::{Tenant, TenantPatch, TenantState};
use roost_domain::{TenantId, Timestamp};

use crate::SqlStore;
use crate::crypto::{Keyring, TenantKey};
use crate::database::{Failure, Reader, Row, Statement};
use crate::writer::Transaction;

/// Columns of a tenant `t`, in the order in which [`from_row`] reads them.
macro_rules! columns {
    () => {
        "t.id, t.name, t.state, t.plan, t.limits, t.retention_days, t.created_at, t.updated_at, t.deleted_at"
    };
}
pub(crate) use columns;

static BY_ID: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    " FROM tenant AS t WHERE t.id = $1"
));

static PAGE: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    " FROM tenant AS t WHERE t.id > $1 ORDER BY t.id LIMIT $2"
));

static RESTING: Statement = Statement::new(
    "SELECT t.id, t.state FROM tenant AS t WHERE t.id > $1 AND t.state IN ('suspended', 'deleting') \
     ORDER BY t.id LIMIT $2",
);

/// Of a tenant whose key is destroyed the salt says nothing any more.
static SALT: Statement =
    Statement::new("SELECT key_salt FROM tenant WHERE id = $1 AND state IN ('active', 'suspended')");

/// Reads a tenant whose columns begin at `first`.
pub(crate) fn from_row(row: &Row, first: usize) -> Result<Tenant, StoreError> {
    let limits = serde_json::from_str(row.str(first + 4)?)
        .map_err(|_| StoreError::Corrupt("a tenant's limits cannot be read".to_owned()))?;
    let retention_days = row.opt_int(first + 5)?.map(u32::try_from).transpose();
    Ok(Tenant {
        id: row.parse(first)?,
        name: row.text(first + 1)?,
        state: row.name(first + 2, TenantState::from_name)?,
        plan: row.opt_text(first + 3)?,
        limits,
        retention_days: retention_days
            .map_err(|_| StoreError::Corrupt("a tenant's retention is out of range".to_owned()))?,
        created_at: row.time(first + 6)?,
        updated_at: row.time(first + 7)?,
        deleted_at: row.opt_time(first + 8)?,
    })
}

/// In place of a salt, for the operator's own records.
const OPERATORS_SALT: &[u8] = b"operators";

/// A tenant's key, inside a transaction.
pub(crate) async fn key(
    transaction: &mut Transaction<'_>,
    tenant: TenantId,
) -> Result<Arc<TenantKey>, Failure> {
    if let Some(key) = known_key(&transaction.keyring, tenant) {
        return Ok(key);
    }
    let args = transaction.args().text(tenant);
    let rows = transaction.fetch(&SALT, args).await?;
    let salt = rows.first().ok_or(StoreError::NotFound)?.bytes(0)?;
    Ok(transaction.keyring.tenant(tenant, &salt))
}

/// A tenant's key. Not found once it is destroyed.
pub(crate) async fn key_for(
    reader: &Reader,
    keyring: &Keyring,
    tenant: TenantId,
) -> Result<Arc<TenantKey>, StoreError> {
    if let Some(key) = known_key(keyring, tenant) {
        return Ok(key);
    }
    let row = reader.fetch_one(&SALT, reader.args().text(tenant)).await?;
    let salt = row.ok_or(StoreError::NotFound)?.bytes(0)?;
    Ok(keyring.tenant(tenant, &salt))
}

fn known_key(keyring: &Keyring, tenant: TenantId) -> Option<Arc<TenantKey>> {
    let cached = keyring.cached(tenant);
    cached.or_else(|| (tenant == OPERATORS).then(|| keyring.tenant(tenant, OPERATORS_SALT)))
}

impl SqlStore {
    /// A tenant's key.
    pub(crate) async fn tenant_key(&self, tenant: TenantId) -> Result<Arc<TenantKey>, StoreError> {
        key_for(self.reader(), self.keyring(), tenant).await
    }
}

#[async_trait]
impl Tenants for SqlStore {
    async fn create_tenant(
        &self,
        tenant: &Tenant,
        key: Option<(&ApiKey, &KeySecret)>,
        stamp: Stamp,
    ) -> Result<Outcome<Tenant>, StoreError> {
        let create = write::Create {
            tenant: tenant.clone(),
            salt: self.keyring().new_salt(),
            key: key.map(|(key, secret)| (key.clone(), secret.clone())),
            stamp,
        };
        self.writer().direct(create).await
    }

    async fn tenant(&self, tenant: TenantId) -> Result<Tenant, StoreError> {
        let row = self
            .reader()
            .fetch_one(&BY_ID, self.reader().args().text(tenant))
            .await?;
        from_row(&row.ok_or(StoreError::NotFound)?, 0)
    }

    async fn tenants(&self, page: PageRequest<TenantId>) -> Result<Page<Tenant, TenantId>, StoreError> {
        let after = page.after.map(|id| id.to_string()).unwrap_or_default();
        let args = self.reader().args().text(after).int(i64::from(page.limit) + 1);
        let rows = self.reader().fetch(&PAGE, args).await?;
        let tenants: Result<Vec<_>, _> = rows.iter().map(|row| from_row(row, 0)).collect();
        Ok(Page::from_rows(tenants?, page.limit, |tenant| tenant.id))
    }

    async fn patch_tenant(
        &self,
        tenant: TenantId,
        patch: TenantPatch,
        at: Timestamp,
    ) -> Result<Tenant, StoreError> {
        self.writer().direct(write::Patch { tenant, patch, at }).await
    }

    async fn destroy_tenant(&self, tenant: TenantId, at: Timestamp) -> Result<Tenant, StoreError> {
        let destroyed = self.writer().direct(delete::Destroy { tenant, at }).await?;
        self.keyring().forget(tenant);
        Ok(destroyed)
    }

    async fn remove_rows(&self, tenant: TenantId, limit: u32, at: Timestamp) -> Result<u64, StoreError> {
        self.writer()
            .direct(delete::RemoveRows { tenant, limit, at })
            .await
    }

    async fn resting_tenants(
        &self,
        page: PageRequest<TenantId>,
    ) -> Result<Page<(TenantId, TenantState), TenantId>, StoreError> {
        let after = page.after.map(|id| id.to_string()).unwrap_or_default();
        let args = self.reader().args().text(after).int(i64::from(page.limit) + 1);
        let rows = self.reader().fetch(&RESTING, args).await?;
        let tenants: Result<Vec<_>, StoreError> = rows
            .iter()
            .map(|row| Ok((row.parse(0)?, row.name(1, TenantState::from_name)?)))
            .collect();
        Ok(Page::from_rows(tenants?, page.limit, |(tenant, _)| *tenant))
    }

    fn forget_tenant(&self, tenant: TenantId) {
        self.keyring().forget(tenant);
    }

    async fn storage_bytes(&self, tenant: TenantId) -> Result<u64, StoreError> {
        self.stored_bytes(tenant).await
    }
}
