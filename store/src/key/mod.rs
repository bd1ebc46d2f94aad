//! API keys: rows and the port. A key's secrets are rows of their own, by which it is found.
//!
//! Only hashes are kept. `write` makes, changes, rotates and removes keys.

#[cfg(test)]
mod tests;
mod write;

use async_trait::async_trait;
use roost_domain::api_key::{ApiKey, Credential, KeyPatch, KeySecret, Principal, Scopes};
use roost_domain::page::{Page, PageRequest};
use roost_domain::store::{Keys, Outcome, Stamp, StoreError};
use roost_domain::{ApiKeyId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::SqlStore;
use crate::database::{Row, Statement};
use crate::tenant;

pub(crate) use write::insert;

/// Columns of a key `k`, in the order in which [`from_row`] reads them.
macro_rules! columns {
    () => {
        "k.id, k.tenant_id, k.name, k.scopes, k.instances, k.allowed_networks, k.calls_per_minute, \
         k.expires_at, k.last_used_at, k.created_at, k.updated_at"
    };
}
use columns;

/// Where the columns of the secret and of the tenant begin, after those of the key.
const SECRET: usize = 11;
const TENANT: usize = 14;

static BY_PREFIX: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    ", s.prefix, s.hash, s.expires_at, ",
    tenant::columns!(),
    " FROM api_key_secret AS s JOIN api_key AS k ON k.id = s.key_id LEFT JOIN tenant AS t ON t.id = k.tenant_id \
     WHERE s.prefix = $1"
));

static BY_ID: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    " FROM api_key AS k WHERE k.id = $1"
));

static OF_TENANT: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    " FROM api_key AS k WHERE k.tenant_id = $3 AND k.id > $1 ORDER BY k.id LIMIT $2"
));

static OF_OPERATOR: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    " FROM api_key AS k WHERE k.tenant_id IS NULL AND k.id > $1 ORDER BY k.id LIMIT $2"
));

static COUNT_OF_TENANT: Statement = Statement::new("SELECT count(*) FROM api_key WHERE tenant_id = $1");

static COUNT_OF_OPERATOR: Statement = Statement::new("SELECT count(*) FROM api_key WHERE tenant_id IS NULL");

fn from_row(row: &Row) -> Result<ApiKey, StoreError> {
    let calls_per_minute = row.opt_int(6)?.map(u32::try_from).transpose();
    Ok(ApiKey {
        id: row.parse(0)?,
        principal: row.opt_parse(1)?.map_or(Principal::Operator, Principal::Tenant),
        name: row.text(2)?,
        scopes: json::<Scopes>(row, 3)?,
        instances: json(row, 4)?,
        allowed_networks: json(row, 5)?,
        calls_per_minute: calls_per_minute
            .map_err(|_| StoreError::Corrupt("a key's limit is out of range".to_owned()))?,
        expires_at: row.opt_time(7)?,
        last_used_at: row.opt_time(8)?,
        created_at: row.time(9)?,
        updated_at: row.time(10)?,
    })
}

fn json<T: DeserializeOwned>(row: &Row, at: usize) -> Result<T, StoreError> {
    serde_json::from_str(row.str(at)?)
        .map_err(|_| StoreError::Corrupt(format!("column {at} of a key cannot be read")))
}

fn credential(row: &Row) -> Result<Credential, StoreError> {
    let key = from_row(row)?;
    let hash = row.bytes(SECRET + 1)?;
    let secret = KeySecret {
        prefix: row.text(SECRET)?,
        hash: hash
            .try_into()
            .map_err(|_| StoreError::Corrupt("a key's hash has the wrong length".to_owned()))?,
        expires_at: row.opt_time(SECRET + 2)?,
    };
    let tenant = match key.principal {
        Principal::Tenant(_) => Some(tenant::from_row(row, TENANT)?),
        Principal::Operator => None,
    };
    Ok(Credential { secret, key, tenant })
}

/// A key in an answer that is kept: its text is in the first answer only.
#[derive(Serialize)]
struct WithoutText<'a> {
    #[serde(flatten)]
    of: &'a ApiKey,
    key: Option<&'static str>,
}

/// A thing, and the key that was made with it.
#[derive(Serialize)]
struct WithKey<'a, T> {
    #[serde(flatten)]
    of: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key: Option<WithoutText<'a>>,
}

/// The JSON that a repetition is answered with where a thing was made, perhaps with a key.
pub(crate) fn with_key<T: Serialize>(of: &T, key: Option<&ApiKey>) -> String {
    let api_key = key.map(|of| WithoutText { of, key: None });
    // Structs with text keys can always be written.
    serde_json::to_string(&WithKey { of, api_key }).unwrap_or_default()
}

#[async_trait]
impl Keys for SqlStore {
    async fn create_key(
        &self,
        key: &ApiKey,
        secret: &KeySecret,
        stamp: Stamp,
    ) -> Result<Outcome<ApiKey>, StoreError> {
        let create = write::Create {
            key: key.clone(),
            secret: secret.clone(),
            stamp,
        };
        self.writer().direct(create).await
    }

    async fn credential(&self, prefix: &str) -> Result<Option<Credential>, StoreError> {
        let row = self
            .reader()
            .fetch_one(&BY_PREFIX, self.reader().args().text(prefix))
            .await?;
        row.as_ref().map(credential).transpose()
    }

    async fn key(&self, of: Principal, id: ApiKeyId) -> Result<ApiKey, StoreError> {
        let row = self
            .reader()
            .fetch_one(&BY_ID, self.reader().args().text(id))
            .await?;
        let key = from_row(&row.ok_or(StoreError::NotFound)?)?;
        if key.principal == of {
            Ok(key)
        } else {
            Err(StoreError::NotFound)
        }
    }

    async fn keys(
        &self,
        of: Principal,
        page: PageRequest<ApiKeyId>,
    ) -> Result<Page<ApiKey, ApiKeyId>, StoreError> {
        let after = page.after.map(|id| id.to_string()).unwrap_or_default();
        let args = self.reader().args().text(after).int(i64::from(page.limit) + 1);
        let rows = match of {
            Principal::Tenant(tenant) => self.reader().fetch(&OF_TENANT, args.text(tenant)).await?,
            Principal::Operator => self.reader().fetch(&OF_OPERATOR, args).await?,
        };
        let keys: Result<Vec<_>, _> = rows.iter().map(from_row).collect();
        Ok(Page::from_rows(keys?, page.limit, |key| key.id))
    }

    async fn key_count(&self, of: Principal) -> Result<u64, StoreError> {
        let args = self.reader().args();
        let row = match of {
            Principal::Tenant(tenant) => {
                self.reader()
                    .fetch_one(&COUNT_OF_TENANT, args.text(tenant))
                    .await?
            }
            Principal::Operator => self.reader().fetch_one(&COUNT_OF_OPERATOR, args).await?,
        };
        let count = row.map_or(Ok(0), |row| row.int(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn patch_key(
        &self,
        of: Principal,
        id: ApiKeyId,
        patch: KeyPatch,
        at: Timestamp,
    ) -> Result<ApiKey, StoreError> {
        self.writer().direct(write::Patch { of, id, patch, at }).await
    }

    async fn rotate_key(
        &self,
        of: Principal,
        id: ApiKeyId,
        secret: &KeySecret,
        old_until: Timestamp,
        at: Timestamp,
    ) -> Result<ApiKey, StoreError> {
        let rotate = write::Rotate {
            of,
            id,
            secret: secret.clone(),
            old_until,
            at,
        };
        self.writer().direct(rotate).await
    }

    async fn revoke_key(&self, of: Principal, id: ApiKeyId) -> Result<(), StoreError> {
        self.writer().direct(write::Revoke { of, id }).await
    }

    async fn touch_keys(&self, used: Vec<(ApiKeyId, Timestamp)>) -> Result<(), StoreError> {
        if used.is_empty() {
            return Ok(());
        }
        self.writer().direct(write::Touch { used }).await
    }

    fn key_hash(&self, text: &str) -> [u8; 32] {
        self.keyring().api_key_hash(text)
    }

    fn stream_token_mac(&self, payload: &[u8]) -> [u8; 32] {
        self.keyring().stream_token_mac(payload)
    }
}

/// Every statement that looks for rows.
#[cfg(test)]
const STATEMENTS: &[&Statement] = &[
    &BY_PREFIX,
    &BY_ID,
    &OF_TENANT,
    &OF_OPERATOR,
    &write::END_SECRETS,
    &write::DROP_SECRETS,
    &write::DELETE_SECRETS,
    &write::TOUCH,
];
