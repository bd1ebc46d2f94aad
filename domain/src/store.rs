//! The repository ports: what Roost keeps, behind traits that `roost-store` implements for SQLite
//! and PostgreSQL.
//!
//! No method that touches a tenant's rows can be called without its [`TenantId`] or an [`Owner`].
//! Every method that writes returns only when the write is durable. Writes of an owner whose epoch
//! is behind fail with [`StoreError::Fenced`] and change nothing.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::event::{Event, EventFilter, NewEvent};
use crate::instance::{HistoryEntry, Instance, InstancePatch, NewInstance, StateChange};
use crate::message::{FailureReason, Inbound, Message, MessageFilter, NewMessage, StatusChange};
use crate::page::{Page, PageRequest};
use crate::tenant::{ApiKey, Tenant};
pub use crate::webhook::store::Webhooks;
use crate::{Epoch, InstanceId, MessageId, Owner, TenantId, Timestamp};

/// Why the store could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No such row in this tenant.
    #[error("not found")]
    NotFound,
    /// The writer's epoch is behind: another owner has taken over.
    #[error("the writer no longer owns the instance")]
    Fenced,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// A unique name or a limit stands against it.
    #[error("{0}")]
    Conflict(String),
    /// The write queue is full: nothing was written.
    #[error("the write queue is full")]
    Overloaded,
    /// The database is locked, full, read-only or away: nothing is known to be written, and the same
    /// call may succeed later.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// A row cannot be understood or decrypted, or a statement is wrong.
    #[error("stored data is not usable: {0}")]
    Corrupt(String),
}

/// What makes a request repeatable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key.
    pub key: String,
    /// SHA-256 over method, path and body: the same key with another request is refused.
    pub fingerprint: [u8; 32],
    /// HTTP status that the first answer has.
    pub status: u16,
    /// Until when the answer is kept.
    pub expires_at: Timestamp,
}

/// An answer that was given before to the same request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// HTTP status.
    pub status: u16,
    /// JSON body.
    pub body: String,
}

/// What came of a request that may be a repetition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It was carried out now.
    Done(T),
    /// It had been carried out before, with this answer; nothing was changed.
    Replayed(Replay),
}

/// Tenants and their keys.
#[async_trait]
pub trait Tenants: Send + Sync {
    /// Adds a tenant.
    async fn create_tenant(&self, tenant: &Tenant) -> Result<(), StoreError>;
    /// One tenant.
    async fn tenant(&self, tenant: TenantId) -> Result<Tenant, StoreError>;
    /// Tenants by id.
    async fn tenants(&self, page: PageRequest<TenantId>) -> Result<Page<Tenant, TenantId>, StoreError>;
    /// Adds a key.
    async fn create_key(&self, key: &ApiKey) -> Result<(), StoreError>;
    /// The key with this public prefix.
    async fn key_by_prefix(&self, prefix: &str) -> Result<Option<ApiKey>, StoreError>;
    /// HMAC-SHA256 of a key's text under the pepper, to be stored or compared.
    fn key_hash(&self, text: &str) -> [u8; 32];
}

/// Instances and their histories.
#[async_trait]
pub trait Instances: Send + Sync {
    /// Adds an instance, with its first history row and `instance.created`. The idempotency record
    /// keeps the instance's JSON.
    async fn create_instance(
        &self,
        tenant: TenantId,
        new: NewInstance,
        idempotency: Option<Idempotency>,
    ) -> Result<Outcome<Instance>, StoreError>;
    /// One instance.
    async fn instance(&self, tenant: TenantId, id: InstanceId) -> Result<Instance, StoreError>;
    /// A tenant's instances by id.
    async fn instances(
        &self,
        tenant: TenantId,
        page: PageRequest<InstanceId>,
    ) -> Result<Page<Instance, InstanceId>, StoreError>;
    /// How many instances a tenant has.
    async fn instance_count(&self, tenant: TenantId) -> Result<u64, StoreError>;
    /// Changes what a tenant may change.
    async fn patch_instance(
        &self,
        tenant: TenantId,
        id: InstanceId,
        patch: InstancePatch,
        at: Timestamp,
    ) -> Result<Instance, StoreError>;
    /// Removes an instance with its history and stored link state, and appends `instance.deleted`.
    /// Its pending messages become failed first. Messages and events stay until retention.
    async fn delete_instance(&self, owner: Owner, at: Timestamp) -> Result<(), StoreError>;
    /// Records a step of its session: the row, one history row and `instance.state_changed`
    /// together. A step to the state it is already in, with the same reason, changes no history and
    /// makes no event.
    async fn change_state(&self, owner: Owner, change: StateChange) -> Result<Instance, StoreError>;
    /// A page of its history, newest first; the key is [`HistoryEntry::number`].
    async fn history(
        &self,
        tenant: TenantId,
        id: InstanceId,
        page: PageRequest<i64>,
    ) -> Result<Page<HistoryEntry, i64>, StoreError>;
    /// Takes ownership: raises the row's epoch. Fenced when the row has a later one.
    async fn activate(&self, owner: Owner) -> Result<Instance, StoreError>;
    /// Instances of every tenant that shall run, by id: what a node starts with.
    async fn running_instances(
        &self,
        page: PageRequest<InstanceId>,
    ) -> Result<Page<Instance, InstanceId>, StoreError>;
}

/// Messages.
#[async_trait]
pub trait Messages: Send + Sync {
    /// Makes an outbound message durable as `accepted`, with its idempotency record, in one
    /// transaction. The idempotency record keeps the message's JSON.
    async fn accept(
        &self,
        owner: Owner,
        new: NewMessage,
        idempotency: Option<Idempotency>,
    ) -> Result<Outcome<Message>, StoreError>;
    /// Makes inbound facts durable with their events, all or none. What is there already, by
    /// `(instance, chat, sender, whatsapp_id)`, is passed over.
    async fn record_inbound(&self, owner: Owner, batch: Vec<Inbound>) -> Result<(), StoreError>;
    /// Moves messages forward, with one event for each status that each enters. A status proves the
    /// ones before it: a message reported as read enters `sent` and `delivered` too, if it had not.
    /// Steps that
    /// [`crate::message::MessageStatus::may_become`] refuses, and ids that are not known, are passed
    /// over. Returns the messages that moved, as they now are.
    async fn advance(&self, owner: Owner, changes: Vec<StatusChange>) -> Result<Vec<Message>, StoreError>;
    /// Fails every accepted message of an instance. Returns how many.
    async fn fail_pending(
        &self,
        owner: Owner,
        reason: FailureReason,
        at: Timestamp,
    ) -> Result<u64, StoreError>;
    /// Expires accepted messages of every tenant whose deadline has passed, at most `limit`. Returns
    /// how many.
    async fn expire_due(&self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;
    /// One message.
    async fn message(&self, tenant: TenantId, id: MessageId) -> Result<Message, StoreError>;
    /// The message of an instance with this id on WhatsApp.
    async fn message_by_whatsapp_id(
        &self,
        tenant: TenantId,
        instance: InstanceId,
        whatsapp_id: &str,
    ) -> Result<Option<Message>, StoreError>;
    /// A page of an instance's messages, newest first.
    async fn messages(
        &self,
        tenant: TenantId,
        instance: InstanceId,
        filter: MessageFilter,
        page: PageRequest<MessageId>,
    ) -> Result<Page<Message, MessageId>, StoreError>;
    /// Accepted messages of an instance in the order of acceptance, after a given one.
    async fn pending(
        &self,
        owner: Owner,
        after: Option<MessageId>,
        limit: u32,
    ) -> Result<Vec<Message>, StoreError>;
    /// How many accepted messages an instance has.
    async fn pending_count(&self, owner: Owner) -> Result<u64, StoreError>;
}

/// The event log of each tenant.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Appends events about an owned instance. Returns the `seq` of the last.
    async fn append(&self, owner: Owner, events: Vec<NewEvent>) -> Result<i64, StoreError>;
    /// Events after `after`, in order, at most `limit` that pass the filter.
    async fn events(
        &self,
        tenant: TenantId,
        after: i64,
        limit: u32,
        filter: &EventFilter,
    ) -> Result<EventBatch, StoreError>;
    /// `seq` of a tenant's last event; 0 when it has none.
    async fn last_seq(&self, tenant: TenantId) -> Result<i64, StoreError>;
}

/// What a read of the log gave.
#[derive(Debug, Clone)]
pub struct EventBatch {
    /// The events, in order.
    pub events: Vec<Arc<Event>>,
    /// Everything up to here has been looked at: where the next read goes on, also when the filter
    /// let nothing pass.
    pub scanned_to: i64,
}

/// Is told of commits. A call is a hint: whoever needs every event reads the log.
pub trait CommitObserver: Send + Sync {
    /// Events of one tenant that were just committed, in order and without gaps among them. Never
    /// blocks.
    fn committed(&self, tenant: TenantId, events: &[Arc<Event>]);
}

/// Answers to repeated requests that no other write carries.
#[async_trait]
pub trait Replies: Send + Sync {
    /// The answer given before. Fails when the key was used for another request.
    async fn reply(
        &self,
        tenant: TenantId,
        key: &str,
        fingerprint: &[u8; 32],
    ) -> Result<Option<Replay>, StoreError>;
    /// Keeps an answer; the first one kept under a key stays.
    async fn keep_reply(
        &self,
        tenant: TenantId,
        idempotency: Idempotency,
        body: String,
    ) -> Result<(), StoreError>;
}

/// Kinds of state that a link keeps. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum Collection {
    /// The device itself: one row under the key `device`.
    Device = 1,
    /// Identity keys of other devices.
    Identity = 2,
    /// Signal sessions.
    Session = 3,
    /// One-time prekeys.
    Prekey = 4,
    /// Signed prekeys.
    SignedPrekey = 5,
    /// Sender keys of groups.
    SenderKey = 6,
    /// Which devices have which sender key.
    SenderKeyDevice = 7,
    /// App-state keys.
    SyncKey = 8,
    /// App-state versions.
    SyncVersion = 9,
    /// App-state mutation MACs.
    MutationMac = 10,
    /// LID to phone number.
    LidMapping = 11,
    /// Phone number to LID.
    PhoneMapping = 12,
    /// Device lists of users.
    DeviceList = 13,
    /// Base keys, for retries.
    BaseKey = 14,
    /// Group metadata.
    Group = 15,
    /// Trusted-contact tokens.
    TcToken = 16,
    /// Sent messages, for retries.
    SentMessage = 17,
    /// Decrypted inbound messages that are not committed yet.
    PendingInbound = 18,
    /// Message secrets.
    MessageSecret = 19,
    /// What else the engine keeps per instance.
    Other = 20,
}

/// One change of a link's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateOp {
    /// Sets a value.
    Put {
        /// Kind.
        collection: Collection,
        /// Key within the kind.
        key: String,
        /// Value; encrypted at rest.
        value: Bytes,
        /// When a sweep may remove it.
        expires_at: Option<Timestamp>,
    },
    /// Removes a value.
    Delete {
        /// Kind.
        collection: Collection,
        /// Key within the kind.
        key: String,
    },
    /// Removes every value whose key begins with a prefix; an empty prefix removes the collection.
    Clear {
        /// Kind.
        collection: Collection,
        /// What the keys begin with.
        prefix: String,
    },
}

/// State of links: Signal sessions, keys, credentials. Encrypted at rest.
#[async_trait]
pub trait LinkState: Send + Sync {
    /// One value.
    async fn get(&self, owner: Owner, collection: Collection, key: &str)
    -> Result<Option<Bytes>, StoreError>;
    /// The values that exist of those asked for, in any order.
    async fn get_many(
        &self,
        owner: Owner,
        collection: Collection,
        keys: &[String],
    ) -> Result<Vec<(String, Bytes)>, StoreError>;
    /// Every value whose key begins with a prefix, by key, at most `limit`.
    async fn scan(
        &self,
        owner: Owner,
        collection: Collection,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<(String, Bytes)>, StoreError>;
    /// The greatest key of a collection, in byte order.
    async fn last_key(&self, owner: Owner, collection: Collection) -> Result<Option<String>, StoreError>;
    /// Applies changes in order, all or none.
    async fn apply(&self, owner: Owner, ops: Vec<StateOp>) -> Result<(), StoreError>;
}

/// What the node itself needs of the store.
#[async_trait]
pub trait Node: Send + Sync {
    /// Starts a new life of a single node: a global epoch greater than every one before.
    async fn next_epoch(&self) -> Result<Epoch, StoreError>;
    /// A round trip that proves that the database can be written.
    async fn check(&self) -> Result<(), StoreError>;
    /// Removes what has had its time: expired link state and idempotency records, and events and
    /// messages older than the retention. Bounded work; returns how many rows went.
    async fn sweep(&self, now: Timestamp, retention: Duration) -> Result<u64, StoreError>;
}

/// Everything together, as the composition hands it around.
pub trait Store:
    Tenants + Instances + Messages + EventLog + Replies + LinkState + Webhooks + Node + Send + Sync
{
}

impl<T> Store for T where
    T: Tenants + Instances + Messages + EventLog + Replies + LinkState + Webhooks + Node + Send + Sync
{
}
