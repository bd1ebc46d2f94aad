//! Making, changing, rotating and removing keys.

use async_trait::async_trait;
use roost_domain::api_key::{ApiKey, KeyPatch, KeySecret, Principal};
use roost_domain::store::{OPERATORS, Outcome, Stamp, StoreError};
use roost_domain::{ApiKeyId, Timestamp};

use super::{from_row, with_key};
use crate::database::{Args, Column, Failure, Statement};
use crate::writer::Transaction;
use crate::writer::draft::{Draft, Needs};
use crate::writer::unit::Direct;

/// Secrets kept per key: the current one and those whose overlap may still run.
const SECRETS_MAX: i64 = 3;

static INSERT: Statement = Statement::new(
    "INSERT INTO api_key (id, name, scopes, instances, allowed_networks, calls_per_minute, expires_at, \
     updated_at, tenant_id, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
);

static INSERT_SECRET: Statement = Statement::new(
    "INSERT INTO api_key_secret (prefix, key_id, tenant_id, hash, created_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6)",
);

/// A tenant whose keys open something.
static TENANT: Statement =
    Statement::new("SELECT 1 FROM tenant WHERE id = $1 AND state IN ('active', 'suspended') {pg:FOR SHARE}");

static FOR_UPDATE: Statement = Statement::new(concat!(
    "SELECT ",
    super::columns!(),
    " FROM api_key AS k WHERE k.id = $1 {pg:FOR UPDATE OF k}"
));

static UPDATE: Statement = Statement::new(
    "UPDATE api_key SET name = $2, scopes = $3, instances = $4, allowed_networks = $5, calls_per_minute = $6, \
     expires_at = $7, updated_at = $8 WHERE id = $1",
);

/// Each keeps the earlier of its own end and this one.
pub(super) static END_SECRETS: Statement = Statement::new(
    "UPDATE api_key_secret SET expires_at = $2 WHERE key_id = $1 AND (expires_at IS NULL OR expires_at > $2)",
);

/// Those that are over, and of the others all but the latest.
pub(super) static DROP_SECRETS: Statement = Statement::new(
    "DELETE FROM api_key_secret WHERE key_id = $1 AND (expires_at <= $2 OR prefix NOT IN (SELECT s.prefix \
     FROM api_key_secret AS s WHERE s.key_id = $1 ORDER BY s.created_at DESC, s.prefix LIMIT $3))",
);

pub(super) static DELETE_SECRETS: Statement = Statement::new("DELETE FROM api_key_secret WHERE key_id = $1");

static DELETE: Statement = Statement::new("DELETE FROM api_key WHERE id = $1");

/// Keys are held in one order: several nodes note the same ones.
pub(super) static TOUCH: Statement = Statement::with_rows(
    "UPDATE {lite:OR ROLLBACK }api_key SET last_used_at = h.at FROM (SELECT k.id, r.at FROM {rows} AS r \
     {lite:CROSS }JOIN api_key AS k ON k.id = r.id WHERE k.last_used_at IS NULL OR k.last_used_at < r.at \
     {pg:ORDER BY k.id FOR UPDATE OF k}) AS h WHERE api_key.id = h.id",
    &[Column::Text("id"), Column::Int("at")],
);

/// The first arguments of [`INSERT`] and [`UPDATE`].
fn row_args(args: Args, key: &ApiKey) -> Args {
    // Lists of texts can always be written.
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    args.text(key.id)
        .text(&key.name)
        .text(json(serde_json::to_string(&key.scopes)))
        .text(json(serde_json::to_string(&key.instances)))
        .text(json(serde_json::to_string(&key.allowed_networks)))
        .opt_int(key.calls_per_minute.map(i64::from))
        .opt_int(key.expires_at.map(Timestamp::unix_ms))
        .int(key.updated_at.unix_ms())
}

/// Writes a new key.
pub(crate) async fn insert(
    transaction: &mut Transaction<'_>,
    key: &ApiKey,
    secret: &KeySecret,
) -> Result<(), Failure> {
    let args = row_args(transaction.args(), key)
        .opt_text(key.principal.tenant())
        .int(key.created_at.unix_ms());
    transaction.execute(&INSERT, args).await?;
    insert_secret(transaction, key, secret, key.created_at).await
}

async fn insert_secret(
    transaction: &mut Transaction<'_>,
    key: &ApiKey,
    secret: &KeySecret,
    created_at: Timestamp,
) -> Result<(), Failure> {
    let args = transaction
        .args()
        .text(&secret.prefix)
        .text(key.id)
        .opt_text(key.principal.tenant())
        .bytes(secret.hash.to_vec())
        .int(created_at.unix_ms())
        .opt_int(secret.expires_at.map(Timestamp::unix_ms));
    transaction.execute(&INSERT_SECRET, args).await?;
    Ok(())
}

/// The key of a principal, held until the commit.
async fn fetch(
    transaction: &mut Transaction<'_>,
    of: Principal,
    id: ApiKeyId,
) -> Result<Option<ApiKey>, Failure> {
    let args = transaction.args().text(id);
    let rows = transaction.fetch(&FOR_UPDATE, args).await?;
    let key = rows.first().map(from_row).transpose()?;
    Ok(key.filter(|key| key.principal == of))
}

/// Makes a key.
pub(super) struct Create {
    pub(super) key: ApiKey,
    pub(super) secret: KeySecret,
    pub(super) stamp: Stamp,
}

#[async_trait]
impl Direct for Create {
    type Output = Outcome<ApiKey>;

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> Result<Result<Outcome<ApiKey>, StoreError>, Failure> {
        let tenant = self.key.principal.tenant();
        let place = tenant.unwrap_or(OPERATORS);
        let mut needs = Needs::default();
        needs.stamp(place, &self.stamp);
        let mut draft = Draft::load(transaction, needs).await?;
        match draft.reply(place, &self.stamp) {
            Err(error) => return Ok(Err(error)),
            Ok(Some(replay)) => return Ok(Ok(Outcome::Replayed(replay))),
            Ok(None) => {}
        }
        if let Some(tenant) = tenant {
            let args = transaction.args().text(tenant);
            if transaction.fetch(&TENANT, args).await?.is_empty() {
                return Ok(Err(StoreError::NotFound));
            }
        }
        insert(transaction, &self.key, &self.secret).await?;
        draft.keep(place, &self.stamp, self.key.id, || {
            let of = super::WithoutText {
                of: &self.key,
                key: None,
            };
            with_key(&of, None)
        });
        draft.flush(transaction).await?;
        Ok(Ok(Outcome::Done(self.key.clone())))
    }
}

/// Changes a key.
pub(super) struct Patch {
    pub(super) of: Principal,
    pub(super) id: ApiKeyId,
    pub(super) patch: KeyPatch,
    pub(super) at: Timestamp,
}

#[async_trait]
impl Direct for Patch {
    type Output = ApiKey;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<ApiKey, StoreError>, Failure> {
        let Some(mut key) = fetch(transaction, self.of, self.id).await? else {
            return Ok(Err(StoreError::NotFound));
        };
        let patch = self.patch.clone();
        key.name = patch.name.unwrap_or(key.name);
        key.scopes = patch.scopes.unwrap_or(key.scopes);
        key.instances = patch.instances.unwrap_or(key.instances);
        key.allowed_networks = patch.allowed_networks.unwrap_or(key.allowed_networks);
        key.calls_per_minute = patch.calls_per_minute.unwrap_or(key.calls_per_minute);
        key.expires_at = patch.expires_at.unwrap_or(key.expires_at);
        key.updated_at = self.at;
        let args = row_args(transaction.args(), &key);
        transaction.execute(&UPDATE, args).await?;
        Ok(Ok(key))
    }
}

/// Gives a key another secret.
pub(super) struct Rotate {
    pub(super) of: Principal,
    pub(super) id: ApiKeyId,
    pub(super) secret: KeySecret,
    pub(super) old_until: Timestamp,
    pub(super) at: Timestamp,
}

#[async_trait]
impl Direct for Rotate {
    type Output = ApiKey;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<ApiKey, StoreError>, Failure> {
        let Some(mut key) = fetch(transaction, self.of, self.id).await? else {
            return Ok(Err(StoreError::NotFound));
        };
        let args = transaction.args().text(self.id).int(self.old_until.unix_ms());
        transaction.execute(&END_SECRETS, args).await?;
        // Room for the new one.
        let args = transaction.args().text(self.id).int(self.at.unix_ms());
        transaction
            .execute(&DROP_SECRETS, args.int(SECRETS_MAX - 1))
            .await?;
        insert_secret(transaction, &key, &self.secret, self.at).await?;
        key.updated_at = self.at;
        let args = row_args(transaction.args(), &key);
        transaction.execute(&UPDATE, args).await?;
        Ok(Ok(key))
    }
}

/// Removes a key.
pub(super) struct Revoke {
    pub(super) of: Principal,
    pub(super) id: ApiKeyId,
}

#[async_trait]
impl Direct for Revoke {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<(), StoreError>, Failure> {
        if fetch(transaction, self.of, self.id).await?.is_none() {
            return Ok(Err(StoreError::NotFound));
        }
        for statement in [&DELETE_SECRETS, &DELETE] {
            let args = transaction.args().text(self.id);
            transaction.execute(statement, args).await?;
        }
        Ok(Ok(()))
    }
}

/// Notes when keys were used.
pub(super) struct Touch {
    pub(super) used: Vec<(ApiKeyId, Timestamp)>,
}

#[async_trait]
impl Direct for Touch {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<(), StoreError>, Failure> {
        let mut rows = transaction.rows(&TOUCH);
        for (id, at) in &self.used {
            rows.id(id).int(at.unix_ms()).end();
        }
        transaction.execute_rows(&TOUCH, rows).await?;
        Ok(Ok(()))
    }
}
