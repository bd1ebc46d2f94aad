//! Reads of a group: one statement per kind, each holding its rows against other nodes until the
//! commit.

use roost_domain::store::Idempotency;
use roost_domain::{Epoch, TenantId};

use super::draft::{Change, Draft, InboundKey, InstanceSlot, LogSlot, Needs, ReplySlot};
use super::transaction::Transaction;
use crate::crypto::Place;
use crate::database::{Column, Failure, Rows, Statement};
use crate::{instance, message, tenant};

/// The row is held so that its epoch cannot rise before the commit.
static OWNERS: Statement = Statement::with_rows(
    "SELECT i.id, i.tenant_id, i.epoch, i.reply_only FROM {rows} AS r JOIN instance AS i ON i.id = r.id ORDER BY i.id \
     {pg:FOR SHARE OF i}",
    &[Column::Text("id")],
);

/// The counter is held until the commit: that makes the order of `seq` the order of commits.
static OWNERS_AND_LOGS: Statement = Statement::with_rows(
    "SELECT i.id, i.tenant_id, i.epoch, i.reply_only, l.last_seq FROM {rows} AS r JOIN instance AS i ON i.id = r.id \
     JOIN tenant_log AS l ON l.tenant_id = i.tenant_id ORDER BY i.tenant_id, i.id \
     {pg:FOR SHARE OF i FOR UPDATE OF l}",
    &[Column::Text("id")],
);

static LOGS: Statement = Statement::with_rows(
    "SELECT l.tenant_id, l.last_seq FROM {rows} AS r JOIN tenant_log AS l ON l.tenant_id = r.id \
     ORDER BY l.tenant_id {pg:FOR UPDATE OF l}",
    &[Column::Text("id")],
);

/// Counters of instances and of tenants that are named: every node holds counters in one order, so that no two
/// wait for each other.
static LOGS_OF_BOTH: Statement = Statement::with_rows(
    "SELECT l.tenant_id, l.last_seq FROM tenant_log AS l WHERE l.tenant_id IN (SELECT r.id FROM {rows} AS r \
     UNION SELECT i.tenant_id FROM {rows} AS r JOIN instance AS i ON i.id = r.id) ORDER BY l.tenant_id \
     {pg:FOR UPDATE OF l}",
    &[Column::Text("id")],
);

static REPLIES: Statement = Statement::with_rows(
    "SELECT k.tenant_id, k.key, k.fingerprint, k.status, k.body, k.expires_at FROM {rows} AS r \
     JOIN idempotency AS k ON k.tenant_id = r.tenant_id AND k.key = r.key",
    &[Column::Text("tenant_id"), Column::Text("key")],
);

static INBOUND: Statement = Statement::with_rows(
    "SELECT m.instance_id, m.whatsapp_id, m.chat, m.sender FROM {rows} AS r \
     JOIN message AS m ON m.instance_id = r.instance_id AND m.whatsapp_id = r.whatsapp_id \
     UNION ALL \
     SELECT a.instance_id, a.whatsapp_id, a.chat, a.sender FROM {rows} AS r \
     JOIN amendment AS a ON a.instance_id = r.instance_id AND a.whatsapp_id = r.whatsapp_id",
    &[Column::Text("instance_id"), Column::Text("whatsapp_id")],
);

static KNOWN_CHATS: Statement = Statement::with_rows(
    "SELECT c.instance_id, c.chat FROM {rows} AS r \
     JOIN known_chat AS c ON c.instance_id = r.instance_id AND c.chat = r.chat",
    &[Column::Text("instance_id"), Column::Text("chat")],
);

impl Draft {
    /// Reads what units need.
    pub(crate) async fn load(transaction: &mut Transaction<'_>, needs: Needs) -> Result<Self, Failure> {
        let owners = needs.by_owner || needs.hooks.by_owner();
        let leased = !owners || transaction.writes_for_owner();
        let mut draft = Self::empty(transaction.now, transaction.ids.clone(), leased);
        draft.hold_logs(transaction, &needs).await?;
        draft.load_owners(transaction, &needs).await?;
        draft.load_logs(transaction, &needs).await?;
        draft.load_instances(transaction, &needs).await?;
        draft.load_replies(transaction, &needs).await?;
        draft.load_messages(transaction, &needs).await?;
        draft.load_inbound(transaction, &needs).await?;
        draft.load_known_chats(transaction, &needs).await?;
        draft.hooks.load(transaction, &needs.hooks, leased).await?;
        Ok(draft)
    }

    /// Where both are needed, those of owners and those of tenants, they are held together.
    async fn hold_logs(&mut self, transaction: &mut Transaction<'_>, needs: &Needs) -> Result<(), Failure> {
        if !needs.events || needs.owned.is_empty() || needs.tenants.is_empty() {
            return Ok(());
        }
        let mut rows = transaction.rows(&LOGS_OF_BOTH);
        for id in &needs.owned {
            rows.id(id).end();
        }
        for id in &needs.tenants {
            rows.id(id).end();
        }
        let args = transaction.args().rows(rows);
        for row in transaction.fetch(&LOGS_OF_BOTH, args).await? {
            self.know_log(row.parse(0)?, row.int(1)?);
        }
        Ok(())
    }

    fn know_log(&mut self, tenant: TenantId, last_seq: i64) {
        let log = LogSlot {
            last_seq,
            grown: false,
            known: true,
        };
        self.logs.insert(tenant, log);
    }

    async fn load_owners(&mut self, transaction: &mut Transaction<'_>, needs: &Needs) -> Result<(), Failure> {
        if needs.owned.is_empty() {
            return Ok(());
        }
        let statement = if needs.events { &OWNERS_AND_LOGS } else { &OWNERS };
        let mut rows = transaction.rows(statement);
        for id in &needs.owned {
            rows.id(id).end();
        }
        let args = transaction.args().rows(rows);
        for row in transaction.fetch(statement, args).await? {
            let tenant = row.parse(1)?;
            let slot = InstanceSlot {
                tenant,
                epoch: Epoch(row.int(2)?),
                reply_only: row.int(3)? != 0,
                row: None,
                history_count: 0,
                change: Change::None,
            };
            self.instances.insert(row.parse(0)?, slot);
            if needs.events {
                self.know_log(tenant, row.int(4)?);
            }
        }
        Ok(())
    }

    async fn load_logs(&mut self, transaction: &mut Transaction<'_>, needs: &Needs) -> Result<(), Failure> {
        let mut rows = transaction.rows(&LOGS);
        let mut wanted = false;
        for tenant in needs
            .tenants
            .iter()
            .filter(|tenant| !self.logs.contains_key(tenant))
        {
            rows.id(tenant).end();
            wanted = true;
        }
        if wanted {
            let args = transaction.args().rows(rows);
            for row in transaction.fetch(&LOGS, args).await? {
                self.know_log(row.parse(0)?, row.int(1)?);
            }
        }
        Ok(())
    }

    async fn load_instances(
        &mut self,
        transaction: &mut Transaction<'_>,
        needs: &Needs,
    ) -> Result<(), Failure> {
        if needs.instances.is_empty() {
            return Ok(());
        }
        let statement = &instance::BY_IDS;
        let mut rows = transaction.rows(statement);
        for id in &needs.instances {
            rows.id(id).end();
        }
        let args = transaction.args().rows(rows);
        for row in transaction.fetch(statement, args).await? {
            let found = instance::from_row(&row, &transaction.keyring)?;
            if let Some(slot) = self.instances.get_mut(&found.id) {
                slot.history_count = row.int(instance::HISTORY_COUNT)?;
                slot.row = Some(found);
            }
        }
        Ok(())
    }

    async fn load_replies(
        &mut self,
        transaction: &mut Transaction<'_>,
        needs: &Needs,
    ) -> Result<(), Failure> {
        if needs.replies.is_empty() {
            return Ok(());
        }
        let mut rows = transaction.rows(&REPLIES);
        for (tenant, key) in &needs.replies {
            rows.id(tenant).text(key).end();
        }
        let args = transaction.args().rows(rows);
        for row in transaction.fetch(&REPLIES, args).await? {
            let key: (TenantId, String) = (row.parse(0)?, row.text(1)?);
            let idempotency = Idempotency {
                key: key.1.clone(),
                fingerprint: crate::reply::fingerprint(&row, 2)?,
                status: crate::reply::status(&row, 3)?,
                expires_at: row.time(5)?,
            };
            if idempotency.expires_at <= self.now {
                self.expired_replies.insert(key);
            } else {
                let of = tenant::key(transaction, key.0).await?;
                let body = of
                    .replies(idempotency.expires_at)
                    .open_text(Place::Reply { key: &key.1 }, row.str(4)?)?;
                let slot = ReplySlot {
                    body: body.into_owned(),
                    idempotency,
                    fresh: false,
                };
                self.replies.insert(key, slot);
            }
        }
        Ok(())
    }

    async fn load_messages(
        &mut self,
        transaction: &mut Transaction<'_>,
        needs: &Needs,
    ) -> Result<(), Failure> {
        if needs.messages.is_empty() {
            return Ok(());
        }
        let rows = whatsapp_ids(transaction.rows(&message::BY_WHATSAPP_IDS), &needs.messages);
        let args = transaction.args().rows(rows);
        for row in transaction.fetch(&message::BY_WHATSAPP_IDS, args).await? {
            let message = message::read(transaction, &row).await?;
            self.loaded_message(message);
        }
        Ok(())
    }

    async fn load_inbound(
        &mut self,
        transaction: &mut Transaction<'_>,
        needs: &Needs,
    ) -> Result<(), Failure> {
        if needs.inbound.is_empty() {
            return Ok(());
        }
        let rows = whatsapp_ids(transaction.rows(&INBOUND), &needs.inbound);
        let args = transaction.args().rows(rows);
        for row in transaction.fetch(&INBOUND, args).await? {
            let key = InboundKey {
                instance: row.parse(0)?,
                whatsapp_id: row.text(1)?,
                chat: row.text(2)?,
                sender: row.text(3)?,
            };
            if key.sender.is_empty() {
                self.own.insert((key.instance, key.whatsapp_id.clone()));
            }
            self.seen.insert(key);
        }
        Ok(())
    }

    /// Only for instances that may only answer: nobody else is asked.
    async fn load_known_chats(
        &mut self,
        transaction: &mut Transaction<'_>,
        needs: &Needs,
    ) -> Result<(), Failure> {
        let mut rows = transaction.rows(&KNOWN_CHATS);
        let mut wanted = false;
        for (instance, chat) in &needs.chats {
            if self.is_reply_only(*instance) {
                rows.id(instance).text(chat).end();
                wanted = true;
            }
        }
        if wanted {
            let args = transaction.args().rows(rows);
            for row in transaction.fetch(&KNOWN_CHATS, args).await? {
                self.known_chats.insert((row.parse(0)?, row.text(1)?));
            }
        }
        Ok(())
    }
}

fn whatsapp_ids(
    mut rows: Rows,
    ids: &std::collections::BTreeSet<(roost_domain::InstanceId, String)>,
) -> Rows {
    for (instance, whatsapp_id) in ids {
        rows.id(instance).text(whatsapp_id).end();
    }
    rows
}
