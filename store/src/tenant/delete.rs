//! The end of a tenant: first its key, then its rows, in bounded steps that can be begun anew.
//!
//! ```text
//! destroy:  salt zeroed, API keys gone, state `deleting`
//! rows:     the log's counter ─▶ instances and webhooks become remains ─▶ what remains of each
//!           ─▶ events, answers ─▶ state `deleted`
//! ```
//! Whoever writes checks the counter, the instance or the webhook first. With those gone nothing can be
//! added any more, so that a table that was found empty stays empty.

use async_trait::async_trait;
use roost_domain::store::StoreError;
use roost_domain::tenant::{Tenant, TenantState};
use roost_domain::{InstanceId, TenantId, Timestamp, WebhookId};

use super::remains;
use super::write::fetch;
use crate::crypto::SALT_BYTES;
use crate::database::{Failure, Statement};
use crate::writer::Transaction;
use crate::writer::unit::Direct;

/// Of the same length as before, so that SQLite writes it over the old one.
static ZERO_SALT: Statement = Statement::new("UPDATE tenant SET key_salt = $2 WHERE id = $1");

static SET_STATE: Statement =
    Statement::new("UPDATE tenant SET state = $2, updated_at = $3, deleted_at = $4 WHERE id = $1");

/// What opens nothing any more goes at once.
static KEYS: [Statement; 2] = [
    Statement::new(
        "DELETE FROM api_key_secret WHERE key_id IN (SELECT k.id FROM api_key AS k WHERE k.tenant_id = $1)",
    ),
    Statement::new("DELETE FROM api_key WHERE tenant_id = $1"),
];

static DELETE_LOG: Statement = Statement::new("DELETE FROM tenant_log WHERE tenant_id = $1");

/// Resources whose rows go in two steps: the resource becomes a remain, and its other rows are found
/// through that.
static BECOME_REMAINS: [[Statement; 2]; 2] = [
    [
        Statement::new(
            "INSERT INTO remains (tenant_id, id, at) SELECT i.tenant_id, i.id, $3 FROM instance AS i \
             WHERE i.tenant_id = $1 ORDER BY i.id LIMIT $2 ON CONFLICT (tenant_id, id) DO NOTHING",
        ),
        Statement::new(
            "DELETE FROM instance WHERE id IN (SELECT i.id FROM instance AS i WHERE i.tenant_id = $1 \
             ORDER BY i.id LIMIT $2)",
        ),
    ],
    [
        Statement::new(
            "INSERT INTO remains (tenant_id, id, at) SELECT w.tenant_id, w.id, $3 FROM webhook AS w \
             WHERE w.tenant_id = $1 ORDER BY w.id LIMIT $2 ON CONFLICT (tenant_id, id) DO NOTHING",
        ),
        Statement::new(
            "DELETE FROM webhook WHERE id IN (SELECT w.id FROM webhook AS w WHERE w.tenant_id = $1 \
             ORDER BY w.id LIMIT $2)",
        ),
    ],
];

static NEXT_REMAINS: Statement =
    Statement::new("SELECT m.id FROM remains AS m WHERE m.tenant_id = $1 ORDER BY m.id LIMIT 1");

static OF_INSTANCE: [Statement; 5] = [
    Statement::new(
        "DELETE FROM instance_history WHERE instance_id = $1 AND number IN (SELECT h.number \
         FROM instance_history AS h WHERE h.instance_id = $1 ORDER BY h.number LIMIT $2)",
    ),
    Statement::new(
        "DELETE FROM link_state WHERE (instance_id, collection, key) IN (SELECT s.instance_id, s.collection, \
         s.key FROM link_state AS s WHERE s.instance_id = $1 LIMIT $2)",
    ),
    Statement::new(
        "DELETE FROM amendment WHERE (instance_id, whatsapp_id, chat, sender) IN (SELECT a.instance_id, \
         a.whatsapp_id, a.chat, a.sender FROM amendment AS a WHERE a.instance_id = $1 LIMIT $2)",
    ),
    Statement::new(
        "DELETE FROM known_chat WHERE (instance_id, chat) IN (SELECT c.instance_id, c.chat \
         FROM known_chat AS c WHERE c.instance_id = $1 ORDER BY c.chat LIMIT $2)",
    ),
    Statement::new(
        "DELETE FROM message WHERE id IN (SELECT m.id FROM message AS m WHERE m.instance_id = $1 \
         ORDER BY m.id LIMIT $2)",
    ),
];

static OF_WEBHOOK: [Statement; 3] = [
    Statement::new(
        "DELETE FROM webhook_secret WHERE webhook_id = $1 AND number IN (SELECT s.number \
         FROM webhook_secret AS s WHERE s.webhook_id = $1 ORDER BY s.number LIMIT $2)",
    ),
    Statement::new(
        "DELETE FROM webhook_replay WHERE webhook_id = $1 AND number IN (SELECT p.number \
         FROM webhook_replay AS p WHERE p.webhook_id = $1 ORDER BY p.number LIMIT $2)",
    ),
    Statement::new(
        "DELETE FROM delivery WHERE webhook_id = $1 AND seq IN (SELECT d.seq FROM delivery AS d \
         WHERE d.webhook_id = $1 ORDER BY d.seq LIMIT $2)",
    ),
];

static OF_TENANT: [Statement; 2] = [
    Statement::new(
        "DELETE FROM event WHERE tenant_id = $1 AND seq IN (SELECT e.seq FROM event AS e \
         WHERE e.tenant_id = $1 ORDER BY e.seq LIMIT $2)",
    ),
    Statement::new(
        "DELETE FROM idempotency WHERE tenant_id = $1 AND key IN (SELECT k.key FROM idempotency AS k \
         WHERE k.tenant_id = $1 ORDER BY k.key LIMIT $2)",
    ),
];

/// What the tenant used is for its bill; what it keeps is nothing any more.
static KEEPS_NOTHING: Statement =
    Statement::new("UPDATE usage_day SET stored_bytes = 0 WHERE tenant_id = $1 AND stored_bytes <> 0");

/// Destroys a tenant's key.
pub(super) struct Destroy {
    pub(super) tenant: TenantId,
    pub(super) at: Timestamp,
}

#[async_trait]
impl Direct for Destroy {
    type Output = Tenant;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<Tenant, StoreError>, Failure> {
        let Some(mut tenant) = fetch(transaction, self.tenant).await? else {
            return Ok(Err(StoreError::NotFound));
        };
        if matches!(tenant.state, TenantState::Deleting | TenantState::Deleted) {
            return Ok(Ok(tenant));
        }
        let args = transaction.args().text(self.tenant).bytes(vec![0; SALT_BYTES]);
        transaction.execute(&ZERO_SALT, args).await?;
        for statement in &KEYS {
            let args = transaction.args().text(self.tenant);
            transaction.execute(statement, args).await?;
        }
        tenant.state = TenantState::Deleting;
        tenant.updated_at = self.at;
        set_state(transaction, &tenant).await?;
        Ok(Ok(tenant))
    }
}

async fn set_state(transaction: &mut Transaction<'_>, tenant: &Tenant) -> Result<(), Failure> {
    let args = transaction
        .args()
        .text(tenant.id)
        .text(tenant.state.as_str())
        .int(tenant.updated_at.unix_ms())
        .opt_int(tenant.deleted_at.map(Timestamp::unix_ms));
    transaction.execute(&SET_STATE, args).await?;
    Ok(())
}

/// Removes some of the rows of a tenant that is being deleted.
pub(super) struct RemoveRows {
    pub(super) tenant: TenantId,
    pub(super) limit: u32,
    pub(super) at: Timestamp,
}

/// What is left to remove of a step.
struct Budget {
    removed: u64,
    limit: u64,
}

impl Budget {
    fn left(&self) -> u64 {
        self.limit.saturating_sub(self.removed)
    }

    fn is_spent(&self) -> bool {
        self.left() == 0
    }
}

#[async_trait]
impl Direct for RemoveRows {
    type Output = u64;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<u64, StoreError>, Failure> {
        let Some(mut tenant) = fetch(transaction, self.tenant).await? else {
            return Ok(Err(StoreError::NotFound));
        };
        match tenant.state {
            TenantState::Deleting => {}
            TenantState::Deleted => return Ok(Ok(0)),
            TenantState::Active | TenantState::Suspended => {
                let detail = "the tenant is not being deleted".to_owned();
                return Ok(Err(StoreError::Conflict(detail)));
            }
        }
        let mut budget = Budget {
            removed: 0,
            limit: u64::from(self.limit.max(1)),
        };
        let args = transaction.args().text(self.tenant);
        budget.removed += transaction.execute(&DELETE_LOG, args).await?;
        self.become_remains(transaction, &mut budget).await?;
        self.remove_remains(transaction, &mut budget).await?;
        let id = self.tenant.to_string();
        drain(transaction, &OF_TENANT, &id, &mut budget).await?;
        if !budget.is_spent() {
            let args = transaction.args().text(self.tenant);
            transaction.execute(&KEEPS_NOTHING, args).await?;
            tenant.state = TenantState::Deleted;
            tenant.updated_at = self.at;
            tenant.deleted_at = Some(self.at);
            set_state(transaction, &tenant).await?;
        }
        Ok(Ok(budget.removed))
    }
}

impl RemoveRows {
    async fn become_remains(
        &self,
        transaction: &mut Transaction<'_>,
        budget: &mut Budget,
    ) -> Result<(), Failure> {
        for [keep, remove] in &BECOME_REMAINS {
            if budget.is_spent() {
                return Ok(());
            }
            let limit = i64::try_from(budget.left()).unwrap_or(i64::MAX);
            let args = transaction.args().text(self.tenant).int(limit);
            transaction
                .execute(keep, args.clone().int(self.at.unix_ms()))
                .await?;
            budget.removed += transaction.execute(remove, args).await?;
        }
        Ok(())
    }

    async fn remove_remains(
        &self,
        transaction: &mut Transaction<'_>,
        budget: &mut Budget,
    ) -> Result<(), Failure> {
        while !budget.is_spent() {
            let args = transaction.args().text(self.tenant);
            let rows = transaction.fetch(&NEXT_REMAINS, args).await?;
            let Some(row) = rows.first() else { return Ok(()) };
            let id = row.text(0)?;
            if id.parse::<InstanceId>().is_ok() {
                drain(transaction, &OF_INSTANCE, &id, budget).await?;
            } else if id.parse::<WebhookId>().is_ok() {
                drain(transaction, &OF_WEBHOOK, &id, budget).await?;
            }
            if !budget.is_spent() {
                budget.removed += remains::clear(transaction, self.tenant, &id).await?;
            }
        }
        Ok(())
    }
}

/// Runs statements that remove rows of one thing, until none is left or the budget is spent.
async fn drain(
    transaction: &mut Transaction<'_>,
    statements: &'static [Statement],
    of: &str,
    budget: &mut Budget,
) -> Result<(), Failure> {
    for statement in statements {
        if budget.is_spent() {
            return Ok(());
        }
        let limit = i64::try_from(budget.left()).unwrap_or(i64::MAX);
        let args = transaction.args().text(of).int(limit);
        budget.removed += transaction.execute(statement, args).await?;
    }
    Ok(())
}

/// Every statement that removes rows of a tenant.
#[cfg(test)]
pub(super) fn removals() -> impl Iterator<Item = &'static Statement> {
    let moved = BECOME_REMAINS.iter().map(|[_, remove]| remove);
    KEYS.iter()
        .chain(moved)
        .chain(&OF_INSTANCE)
        .chain(&OF_WEBHOOK)
        .chain(&OF_TENANT)
        .chain([&DELETE_LOG, &remains::CLEAR])
}
