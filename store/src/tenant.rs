//! Tenants and their keys: rows and the port.

use std::sync::Arc;

use async_trait::async_trait;
use roost_domain::TenantId;
use roost_domain::page::{Page, PageRequest};
use roost_domain::store::{StoreError, Tenants};
use roost_domain::tenant::{ApiKey, Principal, Tenant};

use crate::SqlStore;
use crate::crypto::{SALT_BYTES, TenantKey};
use crate::database::{Failure, Row, Statement};
use crate::writer::Transaction;
use crate::writer::unit::Direct;

static INSERT: Statement =
    Statement::new("INSERT INTO tenant (id, name, key_salt, created_at) VALUES ($1, $2, $3, $4)");

static INSERT_LOG: Statement = Statement::new("INSERT INTO tenant_log (tenant_id, last_seq) VALUES ($1, 0)");

static BY_ID: Statement = Statement::new("SELECT id, name, created_at FROM tenant WHERE id = $1");

static PAGE: Statement =
    Statement::new("SELECT id, name, created_at FROM tenant WHERE id > $1 ORDER BY id LIMIT $2");

static SALT: Statement = Statement::new("SELECT key_salt FROM tenant WHERE id = $1");

static INSERT_KEY: Statement = Statement::new(
    "INSERT INTO api_key (id, tenant_id, name, prefix, hash, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
);

static KEY_BY_PREFIX: Statement =
    Statement::new("SELECT id, tenant_id, name, prefix, hash, created_at FROM api_key WHERE prefix = $1");

fn from_row(row: &Row) -> Result<Tenant, StoreError> {
    Ok(Tenant {
        id: row.parse(0)?,
        name: row.text(1)?,
        created_at: row.time(2)?,
    })
}

fn key_from_row(row: &Row) -> Result<ApiKey, StoreError> {
    let principal = row.opt_parse(1)?.map_or(Principal::Operator, Principal::Tenant);
    let hash = row.bytes(4)?;
    Ok(ApiKey {
        id: row.parse(0)?,
        principal,
        name: row.text(2)?,
        prefix: row.text(3)?,
        hash: hash
            .try_into()
            .map_err(|_| StoreError::Corrupt("a key's hash has the wrong length".to_owned()))?,
        created_at: row.time(5)?,
    })
}

/// A tenant's key, inside a transaction.
pub(crate) async fn key(
    transaction: &mut Transaction<'_>,
    tenant: TenantId,
) -> Result<Arc<TenantKey>, Failure> {
    if let Some(key) = transaction.keyring.cached(tenant) {
        return Ok(key);
    }
    let args = transaction.args().text(tenant);
    let rows = transaction.fetch(&SALT, args).await?;
    let salt = rows.first().ok_or(StoreError::NotFound)?.bytes(0)?;
    Ok(transaction.keyring.tenant(tenant, &salt))
}

impl SqlStore {
    /// A tenant's key.
    pub(crate) async fn tenant_key(&self, tenant: TenantId) -> Result<Arc<TenantKey>, StoreError> {
        if let Some(key) = self.keyring().cached(tenant) {
            return Ok(key);
        }
        let row = self
            .reader()
            .fetch_one(&SALT, self.reader().args().text(tenant))
            .await?;
        let salt = row.ok_or(StoreError::NotFound)?.bytes(0)?;
        Ok(self.keyring().tenant(tenant, &salt))
    }
}

struct Create {
    tenant: Tenant,
    salt: [u8; SALT_BYTES],
}

#[async_trait]
impl Direct for Create {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<(), StoreError>, Failure> {
        let tenant = &self.tenant;
        let args = transaction
            .args()
            .text(tenant.id)
            .text(&tenant.name)
            .bytes(self.salt.to_vec());
        transaction
            .execute(&INSERT, args.int(tenant.created_at.unix_ms()))
            .await?;
        let args = transaction.args().text(tenant.id);
        transaction.execute(&INSERT_LOG, args).await?;
        Ok(Ok(()))
    }
}

struct CreateKey {
    key: ApiKey,
}

#[async_trait]
impl Direct for CreateKey {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<(), StoreError>, Failure> {
        let tenant = match self.key.principal {
            Principal::Tenant(tenant) => Some(tenant),
            Principal::Operator => None,
        };
        if let Some(tenant) = tenant {
            let args = transaction.args().text(tenant);
            if transaction.fetch(&BY_ID, args).await?.is_empty() {
                return Ok(Err(StoreError::NotFound));
            }
        }
        let args = transaction
            .args()
            .text(self.key.id)
            .opt_text(tenant)
            .text(&self.key.name);
        let args = args.text(&self.key.prefix).bytes(self.key.hash.to_vec());
        transaction
            .execute(&INSERT_KEY, args.int(self.key.created_at.unix_ms()))
            .await?;
        Ok(Ok(()))
    }
}

#[async_trait]
impl Tenants for SqlStore {
    async fn create_tenant(&self, tenant: &Tenant) -> Result<(), StoreError> {
        let salt = self.keyring().new_salt();
        self.writer()
            .direct(Create {
                tenant: tenant.clone(),
                salt,
            })
            .await
    }

    async fn tenant(&self, tenant: TenantId) -> Result<Tenant, StoreError> {
        let row = self
            .reader()
            .fetch_one(&BY_ID, self.reader().args().text(tenant))
            .await?;
        from_row(&row.ok_or(StoreError::NotFound)?)
    }

    async fn tenants(&self, page: PageRequest<TenantId>) -> Result<Page<Tenant, TenantId>, StoreError> {
        let after = page.after.map(|id| id.to_string()).unwrap_or_default();
        let args = self.reader().args().text(after).int(i64::from(page.limit) + 1);
        let rows = self.reader().fetch(&PAGE, args).await?;
        let tenants: Result<Vec<_>, _> = rows.iter().map(from_row).collect();
        Ok(Page::from_rows(tenants?, page.limit, |tenant| tenant.id))
    }

    async fn create_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        self.writer().direct(CreateKey { key: key.clone() }).await
    }

    async fn key_by_prefix(&self, prefix: &str) -> Result<Option<ApiKey>, StoreError> {
        let row = self
            .reader()
            .fetch_one(&KEY_BY_PREFIX, self.reader().args().text(prefix))
            .await?;
        row.as_ref().map(key_from_row).transpose()
    }

    fn key_hash(&self, text: &str) -> [u8; 32] {
        self.keyring().api_key_hash(text)
    }
}
