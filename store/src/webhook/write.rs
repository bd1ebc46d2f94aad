//! What a tenant does to its webhooks, and taking ownership of one.

use async_trait::async_trait;
use roost_domain::event::{EventType, NewEvent};
use roost_domain::store::{Outcome, Stamp, StoreError};
use roost_domain::webhook::store::{Replay, ReplayScope, WebhookDuty, WebhookPatch};
use roost_domain::webhook::{Webhook, WebhookOwner, WebhookSecret, WebhookState};
use roost_domain::{Slot, TenantId, Timestamp, WebhookId};

use super::row::{self, WebhookRow};
use super::{REPLAYS, SECRETS};
use crate::crypto::Place;
use crate::database::{Failure, Statement};
use crate::tenant::{self, remains};
use crate::writer::Transaction;
use crate::writer::draft::{Draft, Needs};
use crate::writer::unit::Direct;

/// Secrets kept per webhook: the current one and those whose overlap may still run.
const SECRETS_MAX: i64 = 3;
/// Replays of one webhook that are not done.
const REPLAYS_MAX: usize = 100;
/// Rows of deliveries that one transaction removes.
const DELETE_ROWS: i64 = 1000;

static FOR_UPDATE: Statement = Statement::new(concat!(
    "SELECT ",
    row::columns!(),
    " FROM webhook AS w JOIN tenant AS t ON t.id = w.tenant_id WHERE w.id = $1 AND w.tenant_id = $2 \
     {pg:FOR UPDATE OF w}"
));

static COUNT: Statement = Statement::new("SELECT count(*) FROM webhook WHERE tenant_id = $1");

static INSERT: Statement = Statement::new(
    "INSERT INTO webhook (id, url, description, filter, mode, headers, max_concurrency, rate_per_second, \
     api_version, legacy_signature, state, state_reason, updated_at, tenant_id, created_at, cursor_seq, slot, \
     epoch, secret_count, replay_count) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, 0, 1, 0)",
);

static UPDATE: Statement = Statement::new(
    "UPDATE webhook SET url = $2, description = $3, filter = $4, mode = $5, headers = $6, max_concurrency = $7, \
     rate_per_second = $8, api_version = $9, legacy_signature = $10, state = $11, state_reason = $12, \
     updated_at = $13, failing_since = $14 WHERE id = $1",
);

static SET_EPOCH: Statement = Statement::new("UPDATE webhook SET epoch = $2 WHERE id = $1");

static DELETE: Statement = Statement::new("DELETE FROM webhook WHERE id = $1");

static DELETE_SECRETS: Statement = Statement::new("DELETE FROM webhook_secret WHERE webhook_id = $1");

static DELETE_REPLAYS: Statement = Statement::new("DELETE FROM webhook_replay WHERE webhook_id = $1");

static DELETE_DELIVERIES: Statement = Statement::new(
    "DELETE FROM delivery WHERE webhook_id = $1 AND seq IN (SELECT d.seq FROM delivery AS d \
     WHERE d.webhook_id = $1 ORDER BY d.seq LIMIT $2)",
);

static INSERT_SECRET: Statement = Statement::new(
    "INSERT INTO webhook_secret (webhook_id, number, tenant_id, value) VALUES ($1, $2, $3, $4)",
);

/// Secrets before the new one: each keeps the earlier of its own end and this one.
static END_SECRETS: Statement = Statement::new(
    "UPDATE webhook_secret SET expires_at = $3 WHERE webhook_id = $1 AND number < $2 \
     AND (expires_at IS NULL OR expires_at > $3)",
);

static DROP_SECRETS: Statement =
    Statement::new("DELETE FROM webhook_secret WHERE webhook_id = $1 AND number <= $2");

static SET_SECRET_COUNT: Statement =
    Statement::new("UPDATE webhook SET secret_count = $2, updated_at = $3 WHERE id = $1");

static INSERT_REPLAY: Statement = Statement::new(
    "INSERT INTO webhook_replay (webhook_id, number, tenant_id, next_seq, to_seq, scope) \
     VALUES ($1, $2, $3, $4, $5, $6)",
);

static SET_REPLAY_COUNT: Statement = Statement::new("UPDATE webhook SET replay_count = $2 WHERE id = $1");

/// A webhook's row, held until the commit.
pub(super) async fn fetch(
    transaction: &mut Transaction<'_>,
    tenant: TenantId,
    id: WebhookId,
) -> Result<Option<WebhookRow>, Failure> {
    let args = transaction.args().text(id).text(tenant);
    let rows = transaction.fetch(&FOR_UPDATE, args).await?;
    let row = rows
        .first()
        .map(|row| WebhookRow::read(row, &transaction.keyring))
        .transpose()?;
    Ok(row)
}

/// The same, for its owner.
pub(super) async fn fetch_owned(
    transaction: &mut Transaction<'_>,
    owner: WebhookOwner,
) -> Result<Result<WebhookRow, StoreError>, Failure> {
    if !transaction.writes_for_owner() {
        return Ok(Err(StoreError::Fenced));
    }
    let row = fetch(transaction, owner.tenant, owner.webhook).await?;
    Ok(row
        .ok_or(StoreError::NotFound)
        .and_then(|row| row.check(owner).map(|()| row)))
}

/// Writes what a tenant changes.
pub(super) async fn update(transaction: &mut Transaction<'_>, row: &WebhookRow) -> Result<(), Failure> {
    let key = tenant::key(transaction, row.webhook.tenant_id).await?;
    let args = row::tenants_part(transaction.args(), &row.webhook, &key)?;
    let args = args.opt_int(row.failing_since.map(Timestamp::unix_ms));
    transaction.execute(&UPDATE, args).await?;
    Ok(())
}

async fn add_secret(
    transaction: &mut Transaction<'_>,
    tenant: TenantId,
    id: WebhookId,
    number: i64,
    secret: &WebhookSecret,
) -> Result<(), Failure> {
    let key = tenant::key(transaction, tenant).await?;
    let sealed = key
        .webhook(id)
        .seal(Place::WebhookSecret { number }, &secret.key)?;
    let args = transaction.args().text(id).int(number).text(tenant).bytes(sealed);
    transaction.execute(&INSERT_SECRET, args).await?;
    Ok(())
}

/// Makes a webhook.
pub(super) struct Create {
    pub(super) webhook: Webhook,
    pub(super) secret: WebhookSecret,
    pub(super) max: u64,
    pub(super) stamp: Stamp,
    /// The answer that is kept.
    pub(super) reply: String,
}

#[async_trait]
impl Direct for Create {
    type Output = Outcome<Webhook>;

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> Result<Result<Outcome<Webhook>, StoreError>, Failure> {
        let tenant = self.webhook.tenant_id;
        let mut needs = Needs::default();
        needs.tenant(tenant);
        needs.stamp(tenant, &self.stamp);
        // Holds the tenant's log, so that the count below is right on every node.
        let mut draft = Draft::load(transaction, needs).await?;
        if let Err(error) = draft.check_tenant(tenant) {
            return Ok(Err(error));
        }
        match draft.reply(tenant, &self.stamp) {
            Err(error) => return Ok(Err(error)),
            Ok(Some(replay)) => return Ok(Ok(Outcome::Replayed(replay))),
            Ok(None) => {}
        }
        let args = transaction.args().text(tenant);
        let rows = transaction.fetch(&COUNT, args).await?;
        let count = rows.first().map_or(Ok(0), |row| row.int(0))?;
        if u64::try_from(count).unwrap_or(0) >= self.max {
            let max = self.max;
            return Ok(Err(StoreError::Conflict(format!(
                "a tenant has at most {max} webhooks"
            ))));
        }
        // It begins after the event about itself.
        let cursor = draft.append(
            tenant,
            NewEvent::webhook(EventType::WebhookCreated, &self.webhook),
        );
        draft.keep(tenant, &self.stamp, self.webhook.id, || self.reply.clone());
        draft.flush(transaction).await?;
        let key = tenant::key(transaction, tenant).await?;
        let args = row::tenants_part(transaction.args(), &self.webhook, &key)?;
        let args = args
            .text(tenant)
            .int(self.webhook.created_at.unix_ms())
            .int(cursor)
            .int(i64::from(Slot::of_webhook(self.webhook.id).number()));
        transaction.execute(&INSERT, args).await?;
        add_secret(transaction, tenant, self.webhook.id, 1, &self.secret).await?;
        Ok(Ok(Outcome::Done(self.webhook.clone())))
    }
}

/// Changes what a tenant may change.
pub(super) struct Patch {
    pub(super) tenant: TenantId,
    pub(super) id: WebhookId,
    pub(super) patch: WebhookPatch,
    pub(super) at: Timestamp,
}

#[async_trait]
impl Direct for Patch {
    type Output = Webhook;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<Webhook, StoreError>, Failure> {
        let Some(mut row) = fetch(transaction, self.tenant, self.id).await? else {
            return Ok(Err(StoreError::NotFound));
        };
        self.apply(&mut row);
        update(transaction, &row).await?;
        Ok(Ok(row.webhook))
    }
}

impl Patch {
    fn apply(&self, row: &mut WebhookRow) {
        let WebhookPatch {
            url,
            description,
            events,
            instances,
            chats,
            mode,
            headers,
            max_concurrency,
            rate_per_second,
            api_version,
            legacy_signature,
            state,
        } = self.patch.clone();
        let webhook = &mut row.webhook;
        set(&mut webhook.url, url);
        set(&mut webhook.description, description);
        set(&mut webhook.filter.events, events);
        set(&mut webhook.filter.instances, instances);
        set(&mut webhook.filter.chats, chats);
        set(&mut webhook.mode, mode);
        set(&mut webhook.headers, headers);
        set(&mut webhook.max_concurrency, max_concurrency);
        set(&mut webhook.rate_per_second, rate_per_second);
        set(&mut webhook.api_version, api_version);
        set(&mut webhook.legacy_signature, legacy_signature);
        if let Some((state, reason)) = state {
            webhook.state = state;
            webhook.state_reason = reason;
            if state == WebhookState::Enabled {
                row.failing_since = None;
            }
        }
        webhook.updated_at = self.at;
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// Removes a webhook; its deliveries go in further steps.
pub(super) struct Delete {
    pub(super) tenant: TenantId,
    pub(super) id: WebhookId,
}

#[async_trait]
impl Direct for Delete {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<(), StoreError>, Failure> {
        let Some(row) = fetch(transaction, self.tenant, self.id).await? else {
            return Ok(Err(StoreError::NotFound));
        };
        let mut needs = Needs::default();
        needs.tenant(self.tenant);
        let mut draft = Draft::load(transaction, needs).await?;
        draft.append(
            self.tenant,
            NewEvent::webhook(EventType::WebhookDeleted, &row.webhook),
        );
        draft.flush(transaction).await?;
        remains::leave(transaction, self.tenant, self.id, transaction.now).await?;
        for statement in [&DELETE_SECRETS, &DELETE_REPLAYS, &DELETE] {
            let args = transaction.args().text(self.id);
            transaction.execute(statement, args).await?;
        }
        Ok(Ok(()))
    }
}

/// Removes deliveries of a webhook that is gone, as many as one transaction may. Returns whether there
/// may be more.
pub(super) struct DeleteDeliveries {
    pub(super) tenant: TenantId,
    pub(super) id: WebhookId,
}

#[async_trait]
impl Direct for DeleteDeliveries {
    type Output = bool;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<bool, StoreError>, Failure> {
        let args = transaction.args().text(self.id).int(DELETE_ROWS);
        let removed = transaction.execute(&DELETE_DELIVERIES, args).await?;
        let more = removed >= DELETE_ROWS.unsigned_abs();
        if !more {
            remains::clear(transaction, self.tenant, self.id).await?;
        }
        Ok(Ok(more))
    }
}

/// Puts a new secret in place.
pub(super) struct Rotate {
    pub(super) tenant: TenantId,
    pub(super) id: WebhookId,
    pub(super) secret: WebhookSecret,
    pub(super) overlap_until: Timestamp,
}

#[async_trait]
impl Direct for Rotate {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<(), StoreError>, Failure> {
        let Some(row) = fetch(transaction, self.tenant, self.id).await? else {
            return Ok(Err(StoreError::NotFound));
        };
        let number = row.secret_count + 1;
        add_secret(transaction, self.tenant, self.id, number, &self.secret).await?;
        let args = transaction.args().text(self.id).int(number);
        transaction
            .execute(&END_SECRETS, args.int(self.overlap_until.unix_ms()))
            .await?;
        let args = transaction.args().text(self.id).int(number - SECRETS_MAX);
        transaction.execute(&DROP_SECRETS, args).await?;
        let args = transaction.args().text(self.id).int(number);
        let now = transaction.now.unix_ms();
        transaction.execute(&SET_SECRET_COUNT, args.int(now)).await?;
        Ok(Ok(()))
    }
}

/// Takes ownership.
pub(super) struct Activate {
    pub(super) owner: WebhookOwner,
}

#[async_trait]
impl Direct for Activate {
    type Output = WebhookDuty;

    async fn run(
        &self,
        transaction: &mut Transaction<'_>,
    ) -> Result<Result<WebhookDuty, StoreError>, Failure> {
        let row = match fetch_owned(transaction, self.owner).await? {
            Ok(row) => row,
            Err(error) => return Ok(Err(error)),
        };
        let id = self.owner.webhook;
        if row.epoch < self.owner.epoch {
            let args = transaction.args().text(id).int(self.owner.epoch.0);
            transaction.execute(&SET_EPOCH, args).await?;
        }
        let key = tenant::key(transaction, self.owner.tenant).await?;
        let args = transaction.args().text(id).int(transaction.now.unix_ms());
        let secrets: Result<Vec<_>, _> = transaction
            .fetch(&SECRETS, args)
            .await?
            .iter()
            .map(|row| row::secret(row, id, &key))
            .collect();
        let args = transaction.args().text(id);
        let replays: Result<Vec<_>, _> = transaction
            .fetch(&REPLAYS, args)
            .await?
            .iter()
            .map(row::replay)
            .collect();
        Ok(Ok(row.duty(secrets?, replays?)))
    }
}

/// Adds a replay.
pub(super) struct AddReplay {
    pub(super) owner: WebhookOwner,
    pub(super) from_seq: i64,
    pub(super) to_seq: i64,
    pub(super) scope: ReplayScope,
}

#[async_trait]
impl Direct for AddReplay {
    type Output = Replay;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<Replay, StoreError>, Failure> {
        let row = match fetch_owned(transaction, self.owner).await? {
            Ok(row) => row,
            Err(error) => return Ok(Err(error)),
        };
        let id = self.owner.webhook;
        let args = transaction.args().text(id);
        if transaction.fetch(&REPLAYS, args).await?.len() >= REPLAYS_MAX {
            return Ok(Err(StoreError::Conflict(format!(
                "{REPLAYS_MAX} replays of this webhook are not done"
            ))));
        }
        let replay = Replay {
            number: row.replay_count + 1,
            next_seq: self.from_seq,
            to_seq: self.to_seq,
            scope: self.scope,
        };
        let args = transaction
            .args()
            .text(id)
            .int(replay.number)
            .text(self.owner.tenant);
        let args = args.int(replay.next_seq).int(replay.to_seq);
        transaction
            .execute(&INSERT_REPLAY, args.text(row::scope_name(replay.scope)))
            .await?;
        let args = transaction.args().text(id).int(replay.number);
        transaction.execute(&SET_REPLAY_COUNT, args).await?;
        Ok(Ok(replay))
    }
}
