//! Settlements: what has become of deliveries, written with one statement per kind for all webhooks of
//! a group.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use roost_domain::event::{Event, EventType, NewEvent};
use roost_domain::store::StoreError;
use roost_domain::usage::Day;
use roost_domain::webhook::store::{DeliveryChange, Settlement};
use roost_domain::webhook::{DeadReason, DeliveryStatus, WebhookOwner, WebhookState};
use roost_domain::{Epoch, TenantId, Timestamp, WebhookId};

use super::{attempt, row, write};
use crate::database::{Column, Failure, Statement};
use crate::tenant;
use crate::writer::Transaction;
use crate::writer::draft::{Draft, Needs};
use crate::writer::unit::{Direct, Planned};

static OWNED: Statement = Statement::with_rows(
    "SELECT w.id, w.tenant_id, w.epoch, w.cursor_seq, w.failing_since FROM {rows} AS r \
     {lite:CROSS }JOIN webhook AS w ON w.id = r.id ORDER BY w.id {pg:FOR UPDATE OF w}",
    &[Column::Text("id")],
);

static MOVE: Statement = Statement::with_rows(
    "UPDATE {lite:OR ROLLBACK }webhook SET cursor_seq = r.cursor_seq, failing_since = r.failing_since \
     FROM {rows} AS r WHERE webhook.id = r.id",
    &[
        Column::Text("id"),
        Column::Int("cursor_seq"),
        Column::Int("failing_since"),
    ],
);

static SETTLE: Statement = Statement::with_rows(
    "INSERT {lite:OR ROLLBACK }INTO delivery (webhook_id, seq, tenant_id, event_id, event_type, instance_id, chat, \
     event_at, status, dead_reason, order_key, attempt_count, round, next_attempt_at, attempts, created_at, \
     updated_at) \
     SELECT r.webhook_id, r.seq, r.tenant_id, r.event_id, r.event_type, r.instance_id, r.chat, r.event_at, \
     r.status, r.dead_reason, r.order_key, r.attempt_count, r.round, r.next_attempt_at, r.attempts, r.at, r.at \
     FROM {rows} AS r WHERE true \
     ON CONFLICT (webhook_id, seq) DO UPDATE SET status = excluded.status, dead_reason = excluded.dead_reason, \
     order_key = excluded.order_key, attempt_count = delivery.attempt_count + excluded.attempt_count, \
     round = excluded.round, next_attempt_at = excluded.next_attempt_at, \
     attempts = delivery.attempts || excluded.attempts, updated_at = excluded.updated_at",
    &[
        Column::Text("webhook_id"),
        Column::Int("seq"),
        Column::Text("tenant_id"),
        Column::Text("event_id"),
        Column::Text("event_type"),
        Column::Text("instance_id"),
        Column::Text("chat"),
        Column::Int("event_at"),
        Column::Text("status"),
        Column::Text("dead_reason"),
        Column::Text("order_key"),
        Column::Int("attempt_count"),
        Column::Int("round"),
        Column::Int("next_attempt_at"),
        Column::Text("attempts"),
        Column::Int("at"),
    ],
);

static ATTEMPTS: Statement = Statement::with_rows(
    "SELECT d.webhook_id, d.seq, d.attempts FROM {rows} AS r \
     {lite:CROSS }JOIN delivery AS d ON d.webhook_id = r.webhook_id AND d.seq = r.seq",
    &[Column::Text("webhook_id"), Column::Int("seq")],
);

static CUT_ATTEMPTS: Statement = Statement::with_rows(
    "UPDATE {lite:OR ROLLBACK }delivery SET attempts = r.attempts FROM {rows} AS r \
     WHERE delivery.webhook_id = r.webhook_id AND delivery.seq = r.seq",
    &[
        Column::Text("webhook_id"),
        Column::Int("seq"),
        Column::Text("attempts"),
    ],
);

static EXPIRE: Statement = Statement::with_rows(
    "UPDATE {lite:OR ROLLBACK }delivery SET status = 'dead', dead_reason = 'expired', order_key = NULL, \
     next_attempt_at = NULL, updated_at = r.at FROM {rows} AS r \
     WHERE delivery.webhook_id = r.webhook_id AND delivery.seq = r.seq AND delivery.status = 'pending'",
    &[Column::Text("webhook_id"), Column::Int("seq"), Column::Int("at")],
);

static MOVE_REPLAY: Statement = Statement::new(
    "UPDATE webhook_replay SET next_seq = $3 WHERE webhook_id = $1 AND number = $2 AND next_seq < $3",
);

static END_REPLAY: Statement =
    Statement::new("DELETE FROM webhook_replay WHERE webhook_id = $1 AND number = $2");

/// Rows of webhooks that units are going to read.
#[derive(Default)]
pub(crate) struct HookNeeds {
    owned: BTreeSet<WebhookId>,
    /// Deliveries with so many attempts that the oldest have to go.
    long: BTreeSet<(WebhookId, i64)>,
}

impl HookNeeds {
    /// Whether an owner will write.
    pub(crate) fn by_owner(&self) -> bool {
        !self.owned.is_empty()
    }
}

struct HookSlot {
    tenant: TenantId,
    epoch: Epoch,
    cursor: i64,
    failing_since: Option<Timestamp>,
    moved: bool,
}

/// What units of a group made of one delivery.
struct Settled {
    event: Arc<Event>,
    status: DeliveryStatus,
    dead_reason: Option<DeadReason>,
    order_key: Option<String>,
    round: u32,
    next_attempt_at: Option<Timestamp>,
    attempt_count: usize,
    /// Lines to be added.
    attempts: String,
}

/// Webhooks and deliveries that a group works on.
#[derive(Default)]
pub(crate) struct HookDraft {
    /// Whether the node's lease is over.
    fenced: bool,
    hooks: HashMap<WebhookId, HookSlot>,
    long: HashMap<(WebhookId, i64), String>,
    /// In the order of their keys, which is also the order of writing.
    settled: BTreeMap<(WebhookId, i64), Settled>,
}

impl HookDraft {
    pub(crate) async fn load(
        &mut self,
        transaction: &mut Transaction<'_>,
        needs: &HookNeeds,
        leased: bool,
    ) -> Result<(), Failure> {
        self.fenced = !leased;
        if needs.owned.is_empty() {
            return Ok(());
        }
        let mut rows = transaction.rows(&OWNED);
        for id in &needs.owned {
            rows.id(id).end();
        }
        let args = transaction.args().rows(rows);
        for row in transaction.fetch(&OWNED, args).await? {
            let slot = HookSlot {
                tenant: row.parse(1)?,
                epoch: Epoch(row.int(2)?),
                cursor: row.int(3)?,
                failing_since: row.opt_time(4)?,
                moved: false,
            };
            self.hooks.insert(row.parse(0)?, slot);
        }
        if needs.long.is_empty() {
            return Ok(());
        }
        let mut rows = transaction.rows(&ATTEMPTS);
        for (webhook, seq) in &needs.long {
            rows.id(webhook).int(*seq).end();
        }
        let args = transaction.args().rows(rows);
        for row in transaction.fetch(&ATTEMPTS, args).await? {
            self.long.insert((row.parse(0)?, row.int(1)?), row.text(2)?);
        }
        Ok(())
    }

    /// Takes a settlement's cursor, deliveries and `failing_since`.
    fn settle(&mut self, owner: WebhookOwner, settlement: &Settlement) -> Result<(), StoreError> {
        if self.fenced {
            return Err(StoreError::Fenced);
        }
        let slot = self.hooks.get_mut(&owner.webhook).ok_or(StoreError::NotFound)?;
        row::check(owner, slot.tenant, slot.epoch)?;
        if settlement
            .deliveries
            .iter()
            .any(|change| change.event.tenant_id != owner.tenant)
        {
            return Err(StoreError::NotFound);
        }
        if let Some(cursor) = settlement.cursor.filter(|cursor| *cursor > slot.cursor) {
            slot.cursor = cursor;
            slot.moved = true;
        }
        if let Some(since) = settlement.failing_since {
            slot.moved |= slot.failing_since != since;
            slot.failing_since = since;
        }
        for change in &settlement.deliveries {
            self.change(owner.webhook, change);
        }
        Ok(())
    }

    fn change(&mut self, webhook: WebhookId, change: &DeliveryChange) {
        let pending = change.status == DeliveryStatus::Pending;
        let settled = self
            .settled
            .entry((webhook, change.event.seq))
            .or_insert_with(|| Settled {
                event: change.event.clone(),
                status: change.status,
                dead_reason: None,
                order_key: None,
                round: 0,
                next_attempt_at: None,
                attempt_count: 0,
                attempts: String::new(),
            });
        settled.status = change.status;
        settled.dead_reason = change.dead_reason;
        settled.order_key = pending.then(|| change.order_key.clone());
        settled.round = change.round;
        settled.next_attempt_at = change.next_attempt_at.filter(|_| pending);
        settled.attempt_count += change.attempts.len();
        for one in &change.attempts {
            attempt::write(&mut settled.attempts, one);
        }
    }

    pub(crate) async fn flush(mut self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        let moved: Vec<_> = self.hooks.iter().filter(|(_, slot)| slot.moved).collect();
        if !moved.is_empty() {
            let mut rows = transaction.rows(&MOVE);
            for (id, slot) in moved {
                rows.id(id)
                    .int(slot.cursor)
                    .opt_int(slot.failing_since.map(Timestamp::unix_ms))
                    .end();
            }
            transaction.execute_rows(&MOVE, rows).await?;
        }
        if self.settled.is_empty() {
            return Ok(());
        }
        let at = transaction.now.unix_ms();
        let mut rows = transaction.rows(&SETTLE);
        let day = Day::of(transaction.now);
        let seals = transaction.keyring.seals_messages();
        for ((webhook, seq), settled) in &mut self.settled {
            if seals || attempt::is_secret(&settled.attempts) {
                let key = tenant::key(transaction, settled.event.tenant_id).await?;
                settled.attempts = attempt::seal(&settled.attempts, &key, *webhook, *seq, seals)?;
            }
            let event = &settled.event;
            if settled.status == DeliveryStatus::Delivered {
                transaction.tally.of(event.tenant_id, day).usage.deliveries += 1;
            }
            rows.id(webhook).int(*seq).id(event.tenant_id).id(event.id);
            rows.id(&event.kind);
            rows.opt_text(event.instance_id.map(|id| id.to_string()).as_deref());
            rows.opt_text(event.chat.as_ref().map(ToString::to_string).as_deref());
            rows.int(event.timestamp.unix_ms()).id(settled.status.as_str());
            rows.opt_text(settled.dead_reason.map(DeadReason::as_str));
            rows.opt_text(settled.order_key.as_deref());
            // At most 2^32 attempts fit in memory.
            rows.int(settled.attempt_count as i64)
                .int(i64::from(settled.round));
            rows.opt_int(settled.next_attempt_at.map(Timestamp::unix_ms));
            rows.text(&settled.attempts).int(at).end();
        }
        transaction.execute_rows(&SETTLE, rows).await?;
        self.cut_attempts(transaction).await
    }

    /// Keeps the last attempts only, where there are too many.
    async fn cut_attempts(self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        if self.long.is_empty() {
            return Ok(());
        }
        let mut rows = transaction.rows(&CUT_ATTEMPTS);
        for ((webhook, seq), before) in self.long {
            let added = self.settled.get(&(webhook, seq));
            let lines = before + added.map_or("", |settled| &settled.attempts);
            rows.id(webhook).int(seq).text(attempt::last(&lines)).end();
        }
        transaction.execute_rows(&CUT_ATTEMPTS, rows).await?;
        Ok(())
    }
}

fn needs_of(needs: &mut Needs, owner: WebhookOwner, settlement: &Settlement) {
    needs.hooks.owned.insert(owner.webhook);
    for change in &settlement.deliveries {
        let last = change.attempts.last();
        if last.is_some_and(|attempt| attempt.number > attempt::KEPT_MAX) {
            needs.hooks.long.insert((owner.webhook, change.event.seq));
        }
    }
}

/// A settlement of deliveries alone: what nearly all are.
pub(super) struct Settle {
    pub(super) owner: WebhookOwner,
    pub(super) settlement: Settlement,
}

impl Planned for Settle {
    type Output = ();

    fn weight(&self) -> usize {
        self.settlement.deliveries.len().max(1)
    }

    fn patient(&self) -> bool {
        true
    }

    fn needs(&self, needs: &mut Needs) {
        needs_of(needs, self.owner, &self.settlement);
    }

    fn plan(&self, draft: &mut Draft) -> Result<(), StoreError> {
        draft.hooks.settle(self.owner, &self.settlement)
    }
}

impl Settle {
    /// Whether it has more than [`Planned`] writes.
    pub(super) fn is_rare(&self) -> bool {
        let settlement = &self.settlement;
        settlement.disabled.is_some() || !settlement.expired.is_empty() || !settlement.replays.is_empty()
    }
}

/// A settlement that also disables the webhook, expires deliveries or moves replays.
pub(super) struct SettleRare(pub(super) Settle);

#[async_trait]
impl Direct for SettleRare {
    type Output = ();

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<(), StoreError>, Failure> {
        let Settle { owner, settlement } = &self.0;
        let mut needs = Needs::default();
        needs_of(&mut needs, *owner, settlement);
        if settlement.disabled.is_some() {
            needs.tenant(owner.tenant);
        }
        let mut draft = Draft::load(transaction, needs).await?;
        if let Err(error) = draft.hooks.settle(*owner, settlement) {
            return Ok(Err(error));
        }
        let mut disabled = None;
        if let Some(reason) = &settlement.disabled
            && let Some(mut row) = write::fetch(transaction, owner.tenant, owner.webhook).await?
            && row.webhook.state != WebhookState::Disabled
        {
            row.webhook.state = WebhookState::Disabled;
            row.webhook.state_reason = Some(reason.clone());
            row.webhook.updated_at = transaction.now;
            row.failing_since = settlement.failing_since.unwrap_or(row.failing_since);
            draft.append(
                owner.tenant,
                NewEvent::webhook(EventType::WebhookDisabled, &row.webhook),
            );
            disabled = Some(row);
        }
        draft.flush(transaction).await?;
        if let Some(row) = disabled {
            write::update(transaction, &row).await?;
        }
        self.expire(transaction).await?;
        self.move_replays(transaction).await?;
        Ok(Ok(()))
    }
}

impl SettleRare {
    async fn expire(&self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        if self.0.settlement.expired.is_empty() {
            return Ok(());
        }
        let at = transaction.now.unix_ms();
        let mut rows = transaction.rows(&EXPIRE);
        for seq in &self.0.settlement.expired {
            rows.id(self.0.owner.webhook).int(*seq).int(at).end();
        }
        transaction.execute_rows(&EXPIRE, rows).await?;
        Ok(())
    }

    async fn move_replays(&self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        for (number, next_seq) in &self.0.settlement.replays {
            let args = transaction.args().text(self.0.owner.webhook).int(*number);
            match next_seq {
                Some(next_seq) => transaction.execute(&MOVE_REPLAY, args.int(*next_seq)).await?,
                None => transaction.execute(&END_REPLAY, args).await?,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) const NAMED: &[&Statement] = &[&OWNED, &MOVE, &ATTEMPTS, &CUT_ATTEMPTS, &EXPIRE];
