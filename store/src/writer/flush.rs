//! Writes of a group: one statement per kind.

use roost_domain::message::{Direction, Message, Origin};
use roost_domain::store::StoreError;
use roost_domain::usage::Day;

use super::draft::{Change, Draft};
use super::transaction::Transaction;
use crate::crypto::Place;
use crate::database::{Column, Failure, Statement};
use crate::{event, instance, message, tenant};

static INSERT_HISTORY: Statement = Statement::with_rows(
    "INSERT {lite:OR ROLLBACK }INTO instance_history (instance_id, number, tenant_id, state, reason, at) \
     SELECT r.instance_id, r.number, r.tenant_id, r.state, r.reason, r.at FROM {rows} AS r",
    &[
        Column::Text("instance_id"),
        Column::Int("number"),
        Column::Text("tenant_id"),
        Column::Text("state"),
        Column::Text("reason"),
        Column::Int("at"),
    ],
);

static INSERT_AMENDMENTS: Statement = Statement::with_rows(
    "INSERT {lite:OR ROLLBACK }INTO amendment (instance_id, whatsapp_id, chat, sender, tenant_id, at) \
     SELECT r.instance_id, r.whatsapp_id, r.chat, r.sender, r.tenant_id, r.at FROM {rows} AS r",
    &[
        Column::Text("instance_id"),
        Column::Text("whatsapp_id"),
        Column::Text("chat"),
        Column::Text("sender"),
        Column::Text("tenant_id"),
        Column::Int("at"),
    ],
);

/// Most of them are there already.
static INSERT_KNOWN_CHATS: Statement = Statement::with_rows(
    "INSERT {lite:OR ROLLBACK }INTO known_chat (instance_id, chat, tenant_id) \
     SELECT r.instance_id, r.chat, r.tenant_id FROM {rows} AS r WHERE true \
     ON CONFLICT (instance_id, chat) DO NOTHING",
    &[
        Column::Text("instance_id"),
        Column::Text("chat"),
        Column::Text("tenant_id"),
    ],
);

static DELETE_REPLIES: Statement = Statement::with_rows(
    "DELETE FROM idempotency WHERE (tenant_id, key) IN (SELECT r.tenant_id, r.key FROM {rows} AS r)",
    &[Column::Text("tenant_id"), Column::Text("key")],
);

static INSERT_REPLIES: Statement = Statement::with_rows(
    "INSERT {lite:OR ROLLBACK }INTO idempotency (tenant_id, key, fingerprint, status, body, expires_at) \
     SELECT r.tenant_id, r.key, r.fingerprint, r.status, r.body, r.expires_at FROM {rows} AS r",
    &[
        Column::Text("tenant_id"),
        Column::Text("key"),
        Column::Bytes("fingerprint"),
        Column::Int("status"),
        Column::Text("body"),
        Column::Int("expires_at"),
    ],
);

static UPDATE_LOGS: Statement = Statement::with_rows(
    "UPDATE {lite:OR ROLLBACK }tenant_log SET last_seq = r.last_seq FROM {rows} AS r WHERE tenant_log.tenant_id = r.tenant_id",
    &[Column::Text("tenant_id"), Column::Int("last_seq")],
);

/// Counts a new message.
fn count(transaction: &mut Transaction<'_>, message: &Message, bytes: usize) {
    let day = Day::of(transaction.now);
    let counted = transaction.tally.of(message.tenant_id, day);
    counted.came(bytes);
    match (message.direction, message.origin) {
        (Direction::Inbound, _) => counted.usage.messages_in += 1,
        (Direction::Outbound, Some(Origin::Api)) => counted.usage.messages_out += 1,
        // Written on the account's own phone.
        (Direction::Outbound, _) => {}
    }
}

impl Draft {
    /// Writes what units changed.
    pub(crate) async fn flush(mut self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        self.flush_instances(transaction).await?;
        std::mem::take(&mut self.link).flush(transaction).await?;
        self.flush_messages(transaction).await?;
        self.flush_amendments(transaction).await?;
        self.flush_known_chats(transaction).await?;
        self.flush_replies(transaction).await?;
        std::mem::take(&mut self.hooks).flush(transaction).await?;
        transaction.audit.append(&mut self.audit);
        self.flush_events(transaction).await
    }

    async fn flush_instances(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        let mut inserts = transaction.rows(&instance::INSERT);
        let mut updates = transaction.rows(&instance::UPDATE);
        let (mut inserted, mut updated) = (false, false);
        for slot in self.instances.values() {
            let Some(row) = &slot.row else { continue };
            match slot.change {
                Change::None => {}
                Change::Insert => {
                    instance::insert_row(&mut inserts, row, slot.history_count);
                    inserted = true;
                }
                Change::Update => {
                    instance::update_row(&mut updates, row, slot.history_count);
                    updated = true;
                }
            }
        }
        if inserted {
            transaction.execute_rows(&instance::INSERT, inserts).await?;
        }
        if updated {
            transaction.execute_rows(&instance::UPDATE, updates).await?;
        }
        if !self.history.is_empty() {
            let mut rows = transaction.rows(&INSERT_HISTORY);
            for (tenant, id, entry) in &self.history {
                rows.id(id).int(entry.number).id(tenant).id(entry.state.as_str());
                rows.opt_text(entry.reason.as_deref())
                    .int(entry.at.unix_ms())
                    .end();
            }
            transaction.execute_rows(&INSERT_HISTORY, rows).await?;
        }
        Ok(())
    }

    async fn flush_messages(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        let mut inserts = transaction.rows(&message::INSERT);
        let mut steps = transaction.rows(&message::UPDATE);
        let mut bodies = transaction.rows(&message::UPDATE_BODY);
        let mut growth = transaction.rows(&message::BODY_GROWTH);
        let (mut inserted, mut stepped, mut rewritten) = (false, false, false);
        let seals = transaction.keyring.seals_messages();
        for slot in self.messages.values() {
            let writes = slot.change == Change::Insert || (slot.change == Change::Update && slot.body);
            let key = match seals && writes {
                false => None,
                true => Some(tenant::key(transaction, slot.message.tenant_id).await?),
            };
            let key = key.as_deref();
            if slot.change == Change::Insert {
                let bytes = message::insert_row(&mut inserts, &slot.message, key)?;
                count(transaction, &slot.message, bytes);
                inserted = true;
            } else if slot.change == Change::Update {
                message::update_row(&mut steps, &slot.message)?;
                stepped = true;
                if slot.body {
                    message::body_row(&mut bodies, &mut growth, &slot.message, key)?;
                    rewritten = true;
                }
            }
        }
        if inserted {
            transaction.execute_rows(&message::INSERT, inserts).await?;
        }
        if stepped {
            transaction.execute_rows(&message::UPDATE, steps).await?;
        }
        if rewritten {
            let args = transaction.args().rows(growth);
            let day = Day::of(transaction.now);
            for row in transaction.fetch(&message::BODY_GROWTH, args).await? {
                transaction.tally.of(row.parse(0)?, day).stored_bytes += row.int(1)?;
            }
            transaction.execute_rows(&message::UPDATE_BODY, bodies).await?;
        }
        Ok(())
    }

    async fn flush_amendments(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        if self.amendments.is_empty() {
            return Ok(());
        }
        let mut rows = transaction.rows(&INSERT_AMENDMENTS);
        for (tenant, key, at) in &self.amendments {
            rows.id(key.instance)
                .text(&key.whatsapp_id)
                .text(&key.chat)
                .text(&key.sender);
            rows.id(tenant).int(at.unix_ms()).end();
        }
        transaction.execute_rows(&INSERT_AMENDMENTS, rows).await?;
        Ok(())
    }

    async fn flush_known_chats(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        if self.heard_chats.is_empty() {
            return Ok(());
        }
        let mut rows = transaction.rows(&INSERT_KNOWN_CHATS);
        for ((instance, chat), tenant) in &self.heard_chats {
            rows.id(instance).text(chat).id(tenant).end();
        }
        transaction.execute_rows(&INSERT_KNOWN_CHATS, rows).await?;
        Ok(())
    }

    async fn flush_replies(&mut self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        if !self.expired_replies.is_empty() {
            let mut rows = transaction.rows(&DELETE_REPLIES);
            for (tenant, key) in &self.expired_replies {
                rows.id(tenant).text(key).end();
            }
            transaction.execute_rows(&DELETE_REPLIES, rows).await?;
        }
        let mut rows = transaction.rows(&INSERT_REPLIES);
        let mut fresh = false;
        for ((tenant, key), slot) in self.replies.iter().filter(|(_, slot)| slot.fresh) {
            let expires_at = slot.idempotency.expires_at;
            let of = tenant::key(transaction, *tenant).await?;
            let sealed = of
                .replies(expires_at)
                .seal_text(Place::Reply { key }, &slot.body)?;
            rows.id(tenant).text(key).bytes(&slot.idempotency.fingerprint);
            rows.int(i64::from(slot.idempotency.status)).id(sealed);
            rows.int(expires_at.unix_ms()).end();
            fresh = true;
        }
        if fresh {
            transaction.execute_rows(&INSERT_REPLIES, rows).await?;
        }
        Ok(())
    }

    async fn flush_events(self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        if self.events.is_empty() {
            return Ok(());
        }
        if self.logs.values().any(|log| log.grown && !log.known) {
            return Err(StoreError::NotFound.into());
        }
        let mut rows = transaction.rows(&event::INSERT);
        let day = Day::of(transaction.now);
        let seals = transaction.keyring.seals_messages();
        for event in &self.events {
            let key = match seals || event::is_secret(event.kind.as_str()) {
                false => None,
                true => Some(tenant::key(transaction, event.tenant_id).await?),
            };
            let bytes = event::insert_row(&mut rows, event, key.as_deref())?;
            transaction.tally.of(event.tenant_id, day).came(bytes);
        }
        transaction.execute_rows(&event::INSERT, rows).await?;
        let mut rows = transaction.rows(&UPDATE_LOGS);
        for (tenant, log) in self.logs.iter().filter(|(_, log)| log.grown) {
            rows.id(tenant).int(log.last_seq).end();
        }
        transaction.execute_rows(&UPDATE_LOGS, rows).await?;
        transaction.wrote(self.events);
        Ok(())
    }
}
