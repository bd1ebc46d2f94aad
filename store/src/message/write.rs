//! Writes of outbound messages and of every message's status.

use async_trait::async_trait;
use roost_domain::event::{EventType, NewEvent};
use roost_domain::message::{
    Direction, FailureReason, Message, MessageStatus, NewMessage, Origin, StatusChange,
};
use roost_domain::store::{Outcome, Stamp, StoreError};
use roost_domain::{MessageId, Owner, Timestamp};

use super::inbound::chat_names;
use super::read;
use crate::database::{Failure, Statement};
use crate::writer::Transaction;
use crate::writer::draft::{Draft, Needs};
use crate::writer::unit::{Direct, Planned};

/// Messages failed or expired in one transaction.
pub(crate) const PENDING_BATCH: u32 = 500;

static PENDING: Statement = Statement::new(concat!(
    "SELECT ",
    super::columns!(),
    " FROM message AS m WHERE m.instance_id = $1 AND m.status = 'accepted' ORDER BY m.id LIMIT $2 \
     {pg:FOR UPDATE OF m}"
));

/// Rows that another node is working on are left to it, and those of a tenant that is being deleted to their
/// removal.
static DUE: Statement = Statement::new(concat!(
    "SELECT ",
    super::columns!(),
    " FROM message AS m WHERE m.status = 'accepted' AND m.expires_at <= $1 \
     AND EXISTS (SELECT 1 FROM tenant_log AS l WHERE l.tenant_id = m.tenant_id) ORDER BY m.id LIMIT $2 \
     {pg:FOR UPDATE OF m SKIP LOCKED}"
));

/// Accepts an outbound message.
pub(super) struct Accept {
    pub(super) owner: Owner,
    pub(super) new: NewMessage,
    pub(super) stamp: Stamp,
}

impl Planned for Accept {
    type Output = Outcome<Message>;

    fn needs(&self, needs: &mut Needs) {
        needs.owner(self.owner);
        needs.stamp(self.owner.tenant, &self.stamp);
        for name in chat_names(&self.new.chat) {
            needs.chat(self.owner.instance, name);
        }
    }

    fn plan(&self, draft: &mut Draft) -> Result<Outcome<Message>, StoreError> {
        draft.check(self.owner)?;
        if let Some(replay) = draft.reply(self.owner.tenant, &self.stamp)? {
            return Ok(Outcome::Replayed(replay));
        }
        if draft.has_message(self.new.id) {
            return Err(StoreError::Conflict(
                "a message with this id is there already".to_owned(),
            ));
        }
        let instance = self.owner.instance;
        if draft.is_reply_only(instance) && !draft.is_known_chat(instance, chat_names(&self.new.chat)) {
            return Err(StoreError::NeverWritten);
        }
        let message = self.message();
        draft.keep(self.owner.tenant, &self.stamp, message.id, || json(&message));
        draft.insert_message(message.clone());
        Ok(Outcome::Done(message))
    }
}

impl Accept {
    fn message(&self) -> Message {
        let new = &self.new;
        Message {
            id: new.id,
            tenant_id: self.owner.tenant,
            instance_id: self.owner.instance,
            direction: Direction::Outbound,
            origin: Some(Origin::Api),
            chat: new.chat.clone(),
            sender: None,
            whatsapp_id: new.whatsapp_id.clone(),
            status: MessageStatus::Accepted,
            failure: None,
            content: new.content.clone(),
            reply_to: new.reply_to.clone(),
            created_at: new.created_at,
            sent_at: None,
            delivered_at: None,
            read_at: None,
            failed_at: None,
            edited_at: None,
            revoked_at: None,
            expires_at: Some(new.expires_at),
        }
    }
}

fn json(message: &Message) -> String {
    // A struct with text keys can always be written.
    serde_json::to_string(message).unwrap_or_default()
}

/// Moves messages forward.
pub(super) struct Advance {
    pub(super) owner: Owner,
    pub(super) changes: Vec<StatusChange>,
}

impl Planned for Advance {
    type Output = Vec<Message>;

    fn weight(&self) -> usize {
        self.changes.len()
    }

    fn patient(&self) -> bool {
        true
    }

    fn needs(&self, needs: &mut Needs) {
        needs.log(self.owner);
        for change in &self.changes {
            needs.message(self.owner.instance, &change.whatsapp_id);
        }
    }

    fn plan(&self, draft: &mut Draft) -> Result<Vec<Message>, StoreError> {
        draft.check(self.owner)?;
        let mut moved: Vec<Message> = Vec::new();
        for change in &self.changes {
            for id in draft.messages_by_whatsapp_id(self.owner.instance, &change.whatsapp_id) {
                let known = draft
                    .message(id)
                    .is_some_and(|message| message.direction == change.direction);
                if known
                    && let Some(message) = step(draft, id, change.status, change.failure.as_ref(), change.at)
                {
                    // A message that moved twice is given once, as it now is.
                    moved.retain(|earlier| earlier.id != message.id);
                    moved.push(message);
                }
            }
        }
        Ok(moved)
    }
}

/// Moves one message forward, with one event for each status it enters. `None` when it may not move.
///
/// Receipts overtake acknowledgements, and the earlier one is dropped when it comes. A later status
/// proves the ones before it, so each message that arrives is seen to be sent, delivered and read.
fn step(
    draft: &mut Draft,
    id: MessageId,
    status: MessageStatus,
    failure: Option<&FailureReason>,
    at: Timestamp,
) -> Option<Message> {
    let message = draft.message(id)?;
    if !message.status.may_become(status) {
        return None;
    }
    // WhatsApp's times are whole seconds: one of the very second can lie before our own.
    let at = if message.origin == Some(Origin::Api) {
        at.max(message.created_at)
    } else {
        at
    };
    let proven: &[MessageStatus] = match status {
        MessageStatus::Delivered => &[MessageStatus::Sent],
        MessageStatus::Read => &[MessageStatus::Sent, MessageStatus::Delivered],
        _ => &[],
    };
    for &earlier in proven {
        if draft.message(id)?.status.may_become(earlier) {
            enter(draft, id, earlier, None, at)?;
        }
    }
    enter(draft, id, status, failure, at)
}

/// Sets a message's status, with its event.
fn enter(
    draft: &mut Draft,
    id: MessageId,
    status: MessageStatus,
    failure: Option<&FailureReason>,
    at: Timestamp,
) -> Option<Message> {
    let message = draft.change_message(id, false, |message| {
        message.status = status;
        // A receipt that proves arrival voids an earlier failure.
        message.failure = None;
        message.failed_at = None;
        match status {
            MessageStatus::Sent => message.sent_at = Some(at),
            MessageStatus::Delivered => message.delivered_at = Some(at),
            MessageStatus::Read => message.read_at = Some(at),
            MessageStatus::Failed | MessageStatus::Expired => {
                message.failed_at = Some(at);
                message.failure = failure.cloned();
            }
            MessageStatus::Accepted | MessageStatus::Received => {}
        }
    })?;
    let message = message.clone();
    let kind = match status {
        MessageStatus::Sent => EventType::MessageSent,
        MessageStatus::Delivered => EventType::MessageDelivered,
        MessageStatus::Read => EventType::MessageRead,
        MessageStatus::Failed | MessageStatus::Expired => EventType::MessageFailed,
        // `may_become` lets no message return to its beginning.
        MessageStatus::Accepted | MessageStatus::Received => return None,
    };
    draft.append(message.tenant_id, NewEvent::message(kind, &message));
    Some(message)
}

/// Fails accepted messages of an instance, as many as one transaction may.
pub(super) struct FailPending {
    pub(super) owner: Owner,
    pub(super) reason: FailureReason,
    pub(super) at: Timestamp,
}

#[async_trait]
impl Direct for FailPending {
    type Output = u64;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<u64, StoreError>, Failure> {
        fail_pending(transaction, self.owner, &self.reason, self.at).await
    }
}

/// Fails accepted messages of an instance, at most [`PENDING_BATCH`]. Returns how many.
pub(crate) async fn fail_pending(
    transaction: &mut Transaction<'_>,
    owner: Owner,
    reason: &FailureReason,
    at: Timestamp,
) -> Result<Result<u64, StoreError>, Failure> {
    let mut needs = Needs::default();
    needs.log(owner);
    let mut draft = Draft::load(transaction, needs).await?;
    if let Err(error) = draft.check(owner) {
        return Ok(Err(error));
    }
    let args = transaction
        .args()
        .text(owner.instance)
        .int(i64::from(PENDING_BATCH));
    let rows = transaction.fetch(&PENDING, args).await?;
    for row in &rows {
        let message = read(transaction, row).await?;
        draft.loaded_message(message);
    }
    for id in draft.message_ids() {
        step(&mut draft, id, MessageStatus::Failed, Some(reason), at);
    }
    draft.flush(transaction).await?;
    Ok(Ok(rows.len() as u64))
}

/// Expires accepted messages whose deadline has passed.
pub(super) struct ExpireDue {
    pub(super) now: Timestamp,
    pub(super) limit: u32,
}

#[async_trait]
impl Direct for ExpireDue {
    type Output = u64;

    async fn run(&self, transaction: &mut Transaction<'_>) -> Result<Result<u64, StoreError>, Failure> {
        let limit = self.limit.min(PENDING_BATCH);
        let args = transaction.args().int(self.now.unix_ms()).int(i64::from(limit));
        let rows = transaction.fetch(&DUE, args).await?;
        let mut messages = Vec::with_capacity(rows.len());
        for row in &rows {
            match read(transaction, row).await {
                Ok(message) => messages.push(message),
                // Its tenant's key is destroyed, and the row about to go.
                Err(Failure::Stored(StoreError::NotFound)) => {}
                Err(failure) => return Err(failure),
            }
        }
        let mut needs = Needs::default();
        for message in &messages {
            needs.tenant(message.tenant_id);
        }
        let mut draft = Draft::load(transaction, needs).await?;
        for message in messages {
            draft.loaded_message(message);
        }
        for id in draft.message_ids() {
            step(
                &mut draft,
                id,
                MessageStatus::Expired,
                Some(&FailureReason::DeadlinePassed),
                self.now,
            );
        }
        draft.flush(transaction).await?;
        Ok(Ok(rows.len() as u64))
    }
}
