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
use serde::{Deserialize, Serialize};

use crate::api_key::{ApiKey, Credential, KeyPatch, KeySecret, Principal};
use crate::audit::{AuditEvent, AuditFilter};
use crate::event::{Event, EventFilter, NewEvent};
use crate::instance::{HistoryEntry, Instance, InstancePatch, NewInstance, StateChange};
use crate::message::{FailureReason, Inbound, InboundKey, Message, MessageFilter, NewMessage, StatusChange};
use crate::page::{Page, PageRequest};
pub use crate::rotation::MasterKeys;
use crate::tenant::{Tenant, TenantPatch, TenantState};
use crate::usage::{Day, Usage, UsageDay};
pub use crate::webhook::store::Webhooks;
use crate::{ApiKeyId, AuditEventId, Epoch, InstanceId, MessageId, Owner, Slot, TenantId, Timestamp};

/// Why the store could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No such row in this tenant.
    #[error("not found")]
    NotFound,
    /// The writer's epoch is behind: another owner has taken over. Or this node's lease is over, and
    /// another owner may take over.
    #[error("the writer no longer owns the instance")]
    Fenced,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// A unique name or a limit stands against it, or a part of it is missing.
    #[error("{0}")]
    Conflict(String),
    /// The instance may only answer, and nobody has written to it in this chat.
    #[error("the instance may only answer, and nobody has written to it in this chat")]
    NeverWritten,
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

/// Stands in the place of a tenant where answers to the operator's calls are kept. No tenant has this id.
pub const OPERATORS: TenantId = TenantId::from_parts(0, 0);

/// What makes a request repeatable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// HTTP status.
    pub status: u16,
    /// JSON body.
    pub body: String,
}

/// What came of a request that may be a repetition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome<T> {
    /// It was carried out now.
    Done(T),
    /// It had been carried out before, with this answer; nothing was changed.
    Replayed(Replay),
}

/// What a write carries of the call that asked for it, made durable together with the write.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// What makes the call repeatable. A repetition writes nothing, the audit event neither.
    pub idempotency: Option<Idempotency>,
    /// The call's place in the audit log.
    pub audit: Option<AuditEvent>,
}

/// Tenants.
#[async_trait]
pub trait Tenants: Send + Sync {
    /// Adds a tenant, with a random salt from which its encryption key is derived, and its first key
    /// if one is given.
    async fn create_tenant(
        &self,
        tenant: &Tenant,
        key: Option<(&ApiKey, &KeySecret)>,
        stamp: Stamp,
    ) -> Result<Outcome<Tenant>, StoreError>;
    /// One tenant, in every state.
    async fn tenant(&self, tenant: TenantId) -> Result<Tenant, StoreError>;
    /// Tenants in every state, by id.
    async fn tenants(&self, page: PageRequest<TenantId>) -> Result<Page<Tenant, TenantId>, StoreError>;
    /// Changes what an operator may change. A conflict when it is being deleted.
    async fn patch_tenant(
        &self,
        tenant: TenantId,
        patch: TenantPatch,
        at: Timestamp,
    ) -> Result<Tenant, StoreError>;
    /// Destroys a tenant's encryption key, all its API keys and marks it as being deleted, in one
    /// transaction. From then on what was encrypted for it cannot be read by anybody. Done again, it
    /// changes nothing.
    async fn destroy_tenant(&self, tenant: TenantId, at: Timestamp) -> Result<Tenant, StoreError>;
    /// Removes rows of a tenant that is being deleted, at most about `limit`; everything but its own
    /// row, its usage and its audit events. Returns how many went; when none are left, marks it as
    /// deleted.
    async fn remove_rows(&self, tenant: TenantId, limit: u32, at: Timestamp) -> Result<u64, StoreError>;
    /// Tenants that are suspended or being deleted, by id.
    async fn resting_tenants(
        &self,
        page: PageRequest<TenantId>,
    ) -> Result<Page<(TenantId, TenantState), TenantId>, StoreError>;
    /// Lets go of what this process remembers of a tenant whose encryption key another one has destroyed.
    fn forget_tenant(&self, tenant: TenantId);
    /// Bytes of messages and events that are kept for a tenant, as of some minutes ago.
    async fn storage_bytes(&self, tenant: TenantId) -> Result<u64, StoreError>;
}

/// API keys. Where a `Principal` is asked for, the keys of others are not found.
#[async_trait]
pub trait Keys: Send + Sync {
    /// Adds a key with its first secret.
    async fn create_key(
        &self,
        key: &ApiKey,
        secret: &KeySecret,
        stamp: Stamp,
    ) -> Result<Outcome<ApiKey>, StoreError>;
    /// What the text with this public prefix opens, expired or not.
    async fn credential(&self, prefix: &str) -> Result<Option<Credential>, StoreError>;
    /// One key.
    async fn key(&self, of: Principal, id: ApiKeyId) -> Result<ApiKey, StoreError>;
    /// Keys by id.
    async fn keys(
        &self,
        of: Principal,
        page: PageRequest<ApiKeyId>,
    ) -> Result<Page<ApiKey, ApiKeyId>, StoreError>;
    /// How many keys there are.
    async fn key_count(&self, of: Principal) -> Result<u64, StoreError>;
    /// Changes a key.
    async fn patch_key(
        &self,
        of: Principal,
        id: ApiKeyId,
        patch: KeyPatch,
        at: Timestamp,
    ) -> Result<ApiKey, StoreError>;
    /// Adds a secret; those that are there expire at `old_until`, or before if they would anyway.
    async fn rotate_key(
        &self,
        of: Principal,
        id: ApiKeyId,
        secret: &KeySecret,
        old_until: Timestamp,
        at: Timestamp,
    ) -> Result<ApiKey, StoreError>;
    /// Removes a key with its secrets.
    async fn revoke_key(&self, of: Principal, id: ApiKeyId) -> Result<(), StoreError>;
    /// Notes when keys were used; those that are gone are passed over, and no time goes backwards.
    async fn touch_keys(&self, used: Vec<(ApiKeyId, Timestamp)>) -> Result<(), StoreError>;
    /// HMAC-SHA256 of a key's text under the pepper, to be stored or compared.
    fn key_hash(&self, text: &str) -> [u8; 32];
    /// HMAC-SHA256 of a stream token's payload, under a key of its own.
    fn stream_token_mac(&self, payload: &[u8]) -> [u8; 32];
}

/// The audit log. There is no way to change or remove what is in it.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Appends.
    async fn append_audit(&self, events: Vec<AuditEvent>) -> Result<(), StoreError>;
    /// A page of a tenant's log, or of the operator's, newest first.
    async fn audit_events(
        &self,
        of: Principal,
        filter: &AuditFilter,
        page: PageRequest<AuditEventId>,
    ) -> Result<Page<AuditEvent, AuditEventId>, StoreError>;
}

/// Usage by tenant and day. Messages and deliveries are counted by the writes that make them.
#[async_trait]
pub trait UsageLog: Send + Sync {
    /// Adds to what was used.
    async fn add_usage(&self, day: Day, used: Vec<(TenantId, Usage)>) -> Result<(), StoreError>;
    /// What a tenant has used from one day to another, both included; days without use are left out.
    async fn usage(&self, tenant: TenantId, from: Day, to: Day) -> Result<Vec<UsageDay>, StoreError>;
}

/// Instances and their histories.
#[async_trait]
pub trait Instances: Send + Sync {
    /// Adds an instance, with its first history row and `instance.created`, and a key if one is given.
    /// The idempotency record keeps the instance's JSON.
    async fn create_instance(
        &self,
        tenant: TenantId,
        new: NewInstance,
        key: Option<(&ApiKey, &KeySecret)>,
        stamp: Stamp,
    ) -> Result<Outcome<Instance>, StoreError>;
    /// One instance.
    async fn instance(&self, tenant: TenantId, id: InstanceId) -> Result<Instance, StoreError>;
    /// A tenant's instances by id; of these only, unless it is empty.
    async fn instances(
        &self,
        tenant: TenantId,
        among: &[InstanceId],
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
    /// Instances of every tenant that shall run, in these slots: what their owner starts. The order is the
    /// store's own; a page begins where the one before, of the same slots, has ended.
    async fn running_instances(
        &self,
        slots: &[Slot],
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
        stamp: Stamp,
    ) -> Result<Outcome<Message>, StoreError>;
    /// Makes inbound facts durable with their events, all or none. What is there already, by
    /// `(instance, chat, sender, whatsapp_id)`, is passed over.
    async fn record_inbound(&self, owner: Owner, batch: Vec<Inbound>) -> Result<(), StoreError>;
    /// Whether [`Messages::record_inbound`] would pass over this as something that is there already.
    async fn has_inbound(&self, owner: Owner, key: &InboundKey) -> Result<bool, StoreError>;
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
    /// The last of them.
    async fn last_pending(&self, owner: Owner) -> Result<Option<MessageId>, StoreError>;
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
    /// The same for several tenants, with one query. Those that are gone are left out.
    async fn last_seqs(&self, tenants: &[TenantId]) -> Result<Vec<(TenantId, i64)>, StoreError>;
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
    /// Another node has written something under this time: what is written here from now on is not older,
    /// although the clocks may differ a little. The order of a log is that of time.
    fn not_before(&self, at: Timestamp);
    /// Removes what has had its time: expired link state and idempotency records, and events and
    /// messages older than the retention, a tenant's own where it has one. Bounded work; returns how
    /// many rows went.
    async fn sweep(&self, now: Timestamp, retention: Duration) -> Result<u64, StoreError>;
}

/// Everything together, as the composition hands it around.
pub trait Store:
    Tenants
    + Keys
    + Audit
    + UsageLog
    + Instances
    + Messages
    + EventLog
    + Replies
    + LinkState
    + Webhooks
    + MasterKeys
    + Node
    + Send
    + Sync
{
}

impl<T> Store for T where
    T: Tenants
        + Keys
        + Audit
        + UsageLog
        + Instances
        + Messages
        + EventLog
        + Replies
        + LinkState
        + Webhooks
        + MasterKeys
        + Node
        + Send
        + Sync
{
}
