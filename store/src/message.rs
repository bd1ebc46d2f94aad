//! Messages: rows and the port.

mod inbound;
pub(crate) mod write;

use std::borrow::Cow;

use async_trait::async_trait;
use roost_domain::message::{
    Chat, Content, Direction, FailureReason, Inbound, InboundKey, Message, MessageFilter, MessageStatus,
    NewMessage, Origin, Quoted, Sender, StatusChange,
};
use roost_domain::page::{PAGE_ROWS_MAX, Page, PageRequest};
use roost_domain::store::{Messages, Outcome, Stamp, StoreError};
use roost_domain::{Address, InstanceId, MessageId, Owner, PhoneNumber, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::crypto::{Place, TenantKey, sealed};
use crate::database::{Column, Failure, Row, Rows, Statement};
use crate::writer::Transaction;
use crate::{SqlStore, tenant};

/// Columns of a message `m`, in the order in which [`from_row`] reads them.
macro_rules! columns {
    () => {
        "m.id, m.tenant_id, m.instance_id, m.direction, m.chat, m.sender, m.whatsapp_id, m.status, m.failure, \
         m.body, m.created_at, m.sent_at, m.delivered_at, m.read_at, m.failed_at, m.edited_at, m.revoked_at, \
         m.expires_at"
    };
}
pub(crate) use columns;

pub(crate) static BY_WHATSAPP_IDS: Statement = Statement::with_rows(
    concat!(
        "SELECT ",
        columns!(),
        " FROM {rows} AS r JOIN message AS m ON m.instance_id = r.instance_id AND m.whatsapp_id = r.whatsapp_id \
         ORDER BY m.id {pg:FOR UPDATE OF m}"
    ),
    &[Column::Text("instance_id"), Column::Text("whatsapp_id")],
);

static BY_ID: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    " FROM message AS m WHERE m.id = $1 AND m.tenant_id = $2"
));

static BY_WHATSAPP_ID: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    " FROM message AS m WHERE m.instance_id = $1 AND m.whatsapp_id = $2 AND m.tenant_id = $3 ORDER BY m.id LIMIT 1"
));

static LIST: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    " FROM message AS m WHERE m.instance_id = $1 AND m.tenant_id = $2 AND m.id < $3 \
     AND ($5{pg:::text} IS NULL OR m.direction = $5) AND ($6{pg:::text} IS NULL OR m.status = $6) \
     ORDER BY m.id DESC LIMIT $4"
));

static LIST_OF_CHAT: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    " FROM message AS m WHERE m.instance_id = $1 AND m.tenant_id = $2 AND m.id < $3 AND m.chat = $7 \
     AND ($5{pg:::text} IS NULL OR m.direction = $5) AND ($6{pg:::text} IS NULL OR m.status = $6) \
     ORDER BY m.id DESC LIMIT $4"
));

static PENDING: Statement = Statement::new(concat!(
    "SELECT ",
    columns!(),
    " FROM message AS m WHERE m.instance_id = $1 AND m.tenant_id = $2 AND m.status = 'accepted' AND m.id > $3 \
     ORDER BY m.id LIMIT $4"
));

static PENDING_COUNT: Statement = Statement::new(
    "SELECT count(*) FROM message WHERE instance_id = $1 AND tenant_id = $2 AND status = 'accepted'",
);

static LAST_PENDING: Statement = Statement::new(
    "SELECT max(id) FROM message WHERE instance_id = $1 AND tenant_id = $2 AND status = 'accepted'",
);

pub(crate) static INSERT: Statement = Statement::with_rows(
    "INSERT {lite:OR ROLLBACK }INTO message (id, tenant_id, instance_id, direction, chat, sender, whatsapp_id, status, failure, \
     body, created_at, sent_at, delivered_at, read_at, failed_at, edited_at, revoked_at, expires_at) \
     SELECT r.id, r.tenant_id, r.instance_id, r.direction, r.chat, r.sender, r.whatsapp_id, r.status, r.failure, \
     r.body, r.created_at, r.sent_at, r.delivered_at, r.read_at, r.failed_at, r.edited_at, r.revoked_at, \
     r.expires_at FROM {rows} AS r",
    &[
        Column::Text("id"),
        Column::Text("tenant_id"),
        Column::Text("instance_id"),
        Column::Text("direction"),
        Column::Text("chat"),
        Column::Text("sender"),
        Column::Text("whatsapp_id"),
        Column::Text("status"),
        Column::Text("failure"),
        Column::Text("body"),
        Column::Int("created_at"),
        Column::Int("sent_at"),
        Column::Int("delivered_at"),
        Column::Int("read_at"),
        Column::Int("failed_at"),
        Column::Int("edited_at"),
        Column::Int("revoked_at"),
        Column::Int("expires_at"),
    ],
);

pub(crate) static UPDATE: Statement = Statement::with_rows(
    "UPDATE {lite:OR ROLLBACK }message SET status = r.status, failure = r.failure, sent_at = r.sent_at, \
     delivered_at = r.delivered_at, read_at = r.read_at, failed_at = r.failed_at, edited_at = r.edited_at, \
     revoked_at = r.revoked_at FROM {rows} AS r WHERE message.id = r.id",
    &[
        Column::Text("id"),
        Column::Text("status"),
        Column::Text("failure"),
        Column::Int("sent_at"),
        Column::Int("delivered_at"),
        Column::Int("read_at"),
        Column::Int("failed_at"),
        Column::Int("edited_at"),
        Column::Int("revoked_at"),
    ],
);

pub(crate) static UPDATE_BODY: Statement = Statement::with_rows(
    "UPDATE {lite:OR ROLLBACK }message SET body = r.body FROM {rows} AS r WHERE message.id = r.id",
    &[Column::Text("id"), Column::Text("body")],
);

/// By how many bytes texts are going to grow.
pub(crate) static BODY_GROWTH: Statement = Statement::with_rows(
    "SELECT m.tenant_id, r.bytes - octet_length(m.body) FROM {rows} AS r {lite:CROSS }JOIN message AS m ON m.id = r.id",
    &[Column::Text("id"), Column::Int("bytes")],
);

/// What of a message is kept as JSON.
#[derive(Serialize, Deserialize)]
struct Body<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chat_phone_number: Option<Cow<'a, PhoneNumber>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chat_lid: Option<Cow<'a, Address>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sender: Option<Cow<'a, Sender>>,
    content: Cow<'a, Content>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply_to: Option<Cow<'a, Quoted>>,
}

/// A message's body as it is stored: sealed if there is a key.
fn body(message: &Message, key: Option<&TenantKey>) -> Result<String, StoreError> {
    let body = Body {
        origin: message.origin,
        chat_phone_number: message.chat.phone_number.as_ref().map(Cow::Borrowed),
        chat_lid: message.chat.lid.as_ref().map(Cow::Borrowed),
        sender: message.sender.as_ref().map(Cow::Borrowed),
        content: Cow::Borrowed(&message.content),
        reply_to: message.reply_to.as_ref().map(Cow::Borrowed),
    };
    let json = serde_json::to_string(&body).map_err(unreadable)?;
    match key {
        None => Ok(json),
        Some(key) => {
            let place = Place::Message { id: message.id };
            key.messages(message.instance_id, message.id)
                .seal_text(place, &json)
        }
    }
}

fn unreadable(error: serde_json::Error) -> StoreError {
    // The position only: serde's own words may quote what the message says.
    StoreError::Corrupt(format!(
        "a message's stored JSON is wrong at line {} column {}",
        error.line(),
        error.column()
    ))
}

/// Whose key a message's row takes, if it is sealed.
fn sealed_for(row: &Row) -> Result<Option<TenantId>, StoreError> {
    let is_sealed = sealed::is_sealed(row.str(9)?);
    is_sealed.then(|| row.parse(1)).transpose()
}

/// A message from its row, opened if it is sealed.
pub(crate) async fn read(transaction: &mut Transaction<'_>, row: &Row) -> Result<Message, Failure> {
    let key = match sealed_for(row)? {
        None => None,
        Some(tenant) => Some(tenant::key(transaction, tenant).await?),
    };
    Ok(from_row(row, key.as_deref())?)
}

fn from_row(row: &Row, key: Option<&TenantKey>) -> Result<Message, StoreError> {
    let id: MessageId = row.parse(0)?;
    let stored = match key {
        None => Cow::Borrowed(row.str(9)?),
        Some(key) => key
            .messages(row.parse(2)?, id)
            .open_text(Place::Message { id }, row.str(9)?)?,
    };
    let body: Body<'_> = serde_json::from_str(&stored).map_err(unreadable)?;
    let failure = row
        .opt_str(8)?
        .map(serde_json::from_str::<FailureReason>)
        .transpose()
        .map_err(unreadable)?;
    Ok(Message {
        id,
        tenant_id: row.parse(1)?,
        instance_id: row.parse(2)?,
        direction: row.name(3, Direction::from_name)?,
        origin: body.origin,
        chat: Chat {
            id: row.parse(4)?,
            phone_number: body.chat_phone_number.map(Cow::into_owned),
            lid: body.chat_lid.map(Cow::into_owned),
        },
        sender: body.sender.map(Cow::into_owned),
        whatsapp_id: row.text(6)?,
        status: row.name(7, MessageStatus::from_name)?,
        failure,
        content: body.content.into_owned(),
        reply_to: body.reply_to.map(Cow::into_owned),
        created_at: row.time(10)?,
        sent_at: row.opt_time(11)?,
        delivered_at: row.opt_time(12)?,
        read_at: row.opt_time(13)?,
        failed_at: row.opt_time(14)?,
        edited_at: row.opt_time(15)?,
        revoked_at: row.opt_time(16)?,
        expires_at: row.opt_time(17)?,
    })
}

fn failure_json(message: &Message) -> Result<Option<String>, StoreError> {
    message
        .failure
        .as_ref()
        .map(serde_json::to_string)
        .transpose()
        .map_err(unreadable)
}

fn ms(time: Option<Timestamp>) -> Option<i64> {
    time.map(Timestamp::unix_ms)
}

/// A row for [`INSERT`]. Returns how many bytes are kept of its text.
pub(crate) fn insert_row(
    rows: &mut Rows,
    message: &Message,
    key: Option<&TenantKey>,
) -> Result<usize, StoreError> {
    let body = body(message, key)?;
    rows.id(message.id)
        .id(message.tenant_id)
        .id(message.instance_id)
        .id(message.direction.as_str());
    rows.id(&message.chat.id);
    match &message.sender {
        Some(sender) => rows.id(&sender.id),
        None => rows.id(""),
    };
    rows.text(&message.whatsapp_id).id(message.status.as_str());
    rows.opt_text(failure_json(message)?.as_deref()).text(&body);
    rows.int(message.created_at.unix_ms())
        .opt_int(ms(message.sent_at))
        .opt_int(ms(message.delivered_at));
    rows.opt_int(ms(message.read_at))
        .opt_int(ms(message.failed_at))
        .opt_int(ms(message.edited_at));
    rows.opt_int(ms(message.revoked_at))
        .opt_int(ms(message.expires_at))
        .end();
    Ok(body.len())
}

/// A row for [`UPDATE`].
pub(crate) fn update_row(rows: &mut Rows, message: &Message) -> Result<(), StoreError> {
    rows.id(message.id)
        .id(message.status.as_str())
        .opt_text(failure_json(message)?.as_deref());
    rows.opt_int(ms(message.sent_at))
        .opt_int(ms(message.delivered_at))
        .opt_int(ms(message.read_at));
    rows.opt_int(ms(message.failed_at))
        .opt_int(ms(message.edited_at))
        .opt_int(ms(message.revoked_at))
        .end();
    Ok(())
}

/// A row for [`UPDATE_BODY`], and one for [`BODY_GROWTH`].
pub(crate) fn body_row(
    rows: &mut Rows,
    growth: &mut Rows,
    message: &Message,
    key: Option<&TenantKey>,
) -> Result<(), StoreError> {
    let body = body(message, key)?;
    rows.id(message.id).text(&body).end();
    growth
        .id(message.id)
        .int(i64::try_from(body.len()).unwrap_or(i64::MAX))
        .end();
    Ok(())
}

impl SqlStore {
    /// A message from its row, opened if it is sealed.
    async fn message_from(&self, row: &Row) -> Result<Message, StoreError> {
        let key = match sealed_for(row)? {
            None => None,
            Some(tenant) => Some(self.tenant_key(tenant).await?),
        };
        from_row(row, key.as_deref())
    }

    async fn messages_from(&self, rows: &[Row]) -> Result<Vec<Message>, StoreError> {
        let mut messages = Vec::with_capacity(rows.len());
        for row in rows {
            messages.push(self.message_from(row).await?);
        }
        Ok(messages)
    }

    /// Fails every accepted message of an instance, in bounded transactions.
    pub(crate) async fn fail_all_pending(
        &self,
        owner: Owner,
        reason: FailureReason,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut total = 0;
        loop {
            let failed = self
                .writer()
                .direct(write::FailPending {
                    owner,
                    reason: reason.clone(),
                    at,
                })
                .await?;
            total += failed;
            if failed < u64::from(write::PENDING_BATCH) {
                return Ok(total);
            }
        }
    }
}

#[async_trait]
impl Messages for SqlStore {
    async fn accept(
        &self,
        owner: Owner,
        new: NewMessage,
        stamp: Stamp,
    ) -> Result<Outcome<Message>, StoreError> {
        self.writer().planned(write::Accept { owner, new, stamp }).await
    }

    async fn record_inbound(&self, owner: Owner, batch: Vec<Inbound>) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.writer().planned(inbound::Record::new(owner, batch)).await
    }

    async fn has_inbound(&self, owner: Owner, key: &InboundKey) -> Result<bool, StoreError> {
        inbound::is_known(self.reader(), owner, key).await
    }

    async fn advance(&self, owner: Owner, changes: Vec<StatusChange>) -> Result<Vec<Message>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        self.writer().planned(write::Advance { owner, changes }).await
    }

    async fn fail_pending(
        &self,
        owner: Owner,
        reason: FailureReason,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        self.fail_all_pending(owner, reason, at).await
    }

    async fn expire_due(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.writer().direct(write::ExpireDue { now, limit }).await
    }

    async fn message(&self, tenant: TenantId, id: MessageId) -> Result<Message, StoreError> {
        let args = self.reader().args().text(id).text(tenant);
        let row = self
            .reader()
            .fetch_one(&BY_ID, args)
            .await?
            .ok_or(StoreError::NotFound)?;
        self.message_from(&row).await
    }

    async fn message_by_whatsapp_id(
        &self,
        tenant: TenantId,
        instance: InstanceId,
        whatsapp_id: &str,
    ) -> Result<Option<Message>, StoreError> {
        let args = self.reader().args().text(instance).text(whatsapp_id).text(tenant);
        match self.reader().fetch_one(&BY_WHATSAPP_ID, args).await? {
            None => Ok(None),
            Some(row) => self.message_from(&row).await.map(Some),
        }
    }

    async fn messages(
        &self,
        tenant: TenantId,
        instance: InstanceId,
        filter: MessageFilter,
        page: PageRequest<MessageId>,
    ) -> Result<Page<Message, MessageId>, StoreError> {
        // `~` comes after every id.
        let before = page.after.map_or_else(|| "~".to_owned(), |id| id.to_string());
        let args = self
            .reader()
            .args()
            .text(instance)
            .text(tenant)
            .text(before)
            .int(i64::from(page.limit) + 1);
        let args = args.opt_text(filter.direction.map(Direction::as_str));
        let args = args.opt_text(filter.status.map(MessageStatus::as_str));
        let rows = match filter.chat {
            None => self.reader().fetch(&LIST, args).await?,
            Some(chat) => self.reader().fetch(&LIST_OF_CHAT, args.text(chat)).await?,
        };
        if rows.is_empty() {
            self.check_instance(tenant, instance).await?;
        }
        let messages = self.messages_from(&rows).await?;
        Ok(Page::from_rows(messages, page.limit, |message| message.id))
    }

    async fn pending(
        &self,
        owner: Owner,
        after: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let limit = i64::from(limit.min(PAGE_ROWS_MAX));
        let args = self
            .reader()
            .args()
            .text(owner.instance)
            .text(owner.tenant)
            .text(after)
            .int(limit);
        let rows = self.reader().fetch(&PENDING, args).await?;
        self.messages_from(&rows).await
    }

    async fn pending_count(&self, owner: Owner) -> Result<u64, StoreError> {
        let args = self.reader().args().text(owner.instance).text(owner.tenant);
        let row = self.reader().fetch_one(&PENDING_COUNT, args).await?;
        let count = row.map(|row| row.int(0)).transpose()?.unwrap_or(0);
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn last_pending(&self, owner: Owner) -> Result<Option<MessageId>, StoreError> {
        let args = self.reader().args().text(owner.instance).text(owner.tenant);
        let row = self.reader().fetch_one(&LAST_PENDING, args).await?;
        row.map_or(Ok(None), |row| row.opt_parse(0))
    }
}
