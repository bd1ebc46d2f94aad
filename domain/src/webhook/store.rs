//! The repository port of webhooks.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    Attempt, DeadReason, Delivery, DeliveryId, DeliveryStatus, EventPattern, Webhook, WebhookOwner,
    WebhookSecret, WebhookState,
};
use crate::event::{Event, EventType, NewEvent};
use crate::page::{Page, PageRequest};
use crate::store::{Idempotency, Outcome, Stamp, StoreError};
use crate::{Address, EventId, InstanceId, Slot, TenantId, Timestamp, WebhookId};

/// A webhook with what delivering it takes: what its actor starts with.
#[derive(Debug, Clone)]
pub struct WebhookDuty {
    /// The webhook.
    pub webhook: Webhook,
    /// Every event up to here was delivered, parked, given up, or is not for the webhook.
    pub cursor: i64,
    /// Signing secrets, the current one first. Those that have expired are left out.
    pub secrets: Vec<WebhookSecret>,
    /// Since when nothing but failures came back.
    pub failing_since: Option<Timestamp>,
    /// Replays that are not done, oldest first.
    pub replays: Vec<Replay>,
}

/// What a tenant may change; `None` leaves as it is.
#[derive(Debug, Clone, Default)]
pub struct WebhookPatch {
    /// Where events are posted.
    pub url: Option<String>,
    /// What the tenant says of it; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// Types of the events it gets, from the events on that are not read yet.
    pub events: Option<Vec<EventPattern>>,
    /// Only events about these instances; empty for all.
    pub instances: Option<Vec<InstanceId>>,
    /// Only events about these chats; empty for all.
    pub chats: Option<Vec<Address>>,
    /// In which order.
    pub mode: Option<super::DeliveryMode>,
    /// Further headers.
    pub headers: Option<std::collections::BTreeMap<String, String>>,
    /// POSTs at most at the same time.
    pub max_concurrency: Option<u16>,
    /// POSTs at most per second; `Some(None)` lifts the limit.
    pub rate_per_second: Option<Option<u32>>,
    /// Shape of the payload.
    pub api_version: Option<super::ApiVersion>,
    /// Whether each POST also carries `X-Hub-Signature-256`.
    pub legacy_signature: Option<bool>,
    /// Paused or enabled, by the tenant. Enabling also ends `failing_since`.
    pub state: Option<(WebhookState, Option<String>)>,
}

/// A delivery that waits, as its actor keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Place of the event in the log.
    pub seq: i64,
    /// What it is in order with: see [`super::DeliveryMode::Ordered`].
    pub order_key: String,
    /// POSTs so far.
    pub attempts: u32,
    /// POSTs so far that count towards the schedule: a redrive begins a new round at 0.
    pub round: u32,
    /// When the next attempt is due; `None` when it waits for an earlier one of its order key.
    pub next_attempt_at: Option<Timestamp>,
}

/// What has become of one delivery; its row is made if it is not there.
#[derive(Debug, Clone)]
pub struct DeliveryChange {
    /// The event.
    pub event: Arc<Event>,
    /// What it is in order with.
    pub order_key: String,
    /// What became of it.
    pub status: DeliveryStatus,
    /// Why it died.
    pub dead_reason: Option<DeadReason>,
    /// See [`Parked::round`].
    pub round: u32,
    /// When the next attempt is due.
    pub next_attempt_at: Option<Timestamp>,
    /// POSTs since the last change, to be added.
    pub attempts: Vec<Attempt>,
}

/// What a webhook's actor makes durable in one step, all or none.
#[derive(Debug, Clone, Default)]
pub struct Settlement {
    /// The new cursor, if it moved; never moves back.
    pub cursor: Option<i64>,
    /// Deliveries that changed.
    pub deliveries: Vec<DeliveryChange>,
    /// Pending deliveries whose event is gone: they die as expired.
    pub expired: Vec<i64>,
    /// Since when nothing but failures came back, if that changed.
    pub failing_since: Option<Option<Timestamp>>,
    /// The new state and its reason, if Roost disables the webhook: with `webhook.disabled` in the log.
    pub disabled: Option<String>,
    /// Replays that went on: the next `seq` to look at, `None` when it is done.
    pub replays: Vec<(i64, Option<i64>)>,
}

/// Deliveries that are to be driven again, beside the cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Number within its webhook, from 1.
    pub number: i64,
    /// First `seq` that is still to be looked at.
    pub next_seq: i64,
    /// Last `seq`.
    pub to_seq: i64,
    /// What is driven again.
    pub scope: ReplayScope,
}

/// What a replay drives again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplayScope {
    /// Every event of the range that the filter lets pass.
    Events,
    /// Dead letters of the range.
    Dead,
}

/// Which deliveries to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Only with this status.
    pub status: Option<DeliveryStatus>,
    /// Only of this type.
    pub event_type: Option<EventType>,
    /// Only about this instance.
    pub instance: Option<InstanceId>,
    /// Only about this chat.
    pub chat: Option<Address>,
    /// Only events not before this.
    pub since: Option<Timestamp>,
    /// Only events before this.
    pub until: Option<Timestamp>,
}

/// A delivery with everything that is known of it.
#[derive(Debug, Clone)]
pub struct DeliveryDetail {
    /// The delivery.
    pub delivery: Delivery,
    /// Every attempt, oldest first, as far as they are kept.
    pub attempts: Vec<Attempt>,
    /// The event; `None` when its retention has ended.
    pub event: Option<Arc<Event>>,
}

/// Numbers of a webhook's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Deliveries that wait.
    pub pending: u64,
    /// Dead letters.
    pub dead: u64,
    /// When the oldest event that waits was written.
    pub oldest_pending: Option<Timestamp>,
}

/// Webhooks and their deliveries.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Adds a webhook whose cursor is the end of the log, with `webhook.created`. At most `max` per
    /// tenant: [`StoreError::Conflict`] beyond. The idempotency record keeps the webhook's JSON as `reply`
    /// has it, which must not hold the secret.
    async fn create_webhook(
        &self,
        webhook: Webhook,
        secret: WebhookSecret,
        max: u64,
        idempotency: Option<(Idempotency, String)>,
    ) -> Result<Outcome<Webhook>, StoreError>;
    /// One webhook.
    async fn webhook(&self, tenant: TenantId, id: WebhookId) -> Result<Webhook, StoreError>;
    /// A tenant's webhooks by id.
    async fn webhooks(
        &self,
        tenant: TenantId,
        page: PageRequest<WebhookId>,
    ) -> Result<Page<Webhook, WebhookId>, StoreError>;
    /// Changes what a tenant may change.
    async fn patch_webhook(
        &self,
        tenant: TenantId,
        id: WebhookId,
        patch: WebhookPatch,
        at: Timestamp,
    ) -> Result<Webhook, StoreError>;
    /// Removes a webhook with its deliveries, attempts and replays, and appends `webhook.deleted`.
    async fn delete_webhook(&self, tenant: TenantId, id: WebhookId) -> Result<(), StoreError>;
    /// Its signing secrets, the current one first.
    async fn webhook_secrets(
        &self,
        tenant: TenantId,
        id: WebhookId,
    ) -> Result<Vec<WebhookSecret>, StoreError>;
    /// Puts a new secret in place; the ones before sign on until `overlap_until`, those among them that
    /// had an end keep the earlier of both. At most three are kept.
    async fn rotate_webhook_secret(
        &self,
        tenant: TenantId,
        id: WebhookId,
        secret: WebhookSecret,
        overlap_until: Timestamp,
    ) -> Result<(), StoreError>;
    /// Enabled webhooks of every tenant, in these slots: what their owner starts. The order is the store's
    /// own; a page begins where the one before, of the same slots, has ended.
    async fn enabled_webhooks(
        &self,
        slots: &[Slot],
        page: PageRequest<WebhookId>,
    ) -> Result<Page<(WebhookId, TenantId), WebhookId>, StoreError>;

    /// Takes ownership: raises the row's epoch. Fenced when the row has a later one.
    async fn activate_webhook(&self, owner: WebhookOwner) -> Result<WebhookDuty, StoreError>;
    /// The webhook again, as it now is: after a change by its tenant.
    async fn webhook_duty(&self, owner: WebhookOwner) -> Result<WebhookDuty, StoreError>;
    /// Pending deliveries in the order of `seq`, after one, at most `limit`.
    async fn parked(&self, owner: WebhookOwner, after: i64, limit: u32) -> Result<Vec<Parked>, StoreError>;
    /// Makes progress durable.
    async fn settle(&self, owner: WebhookOwner, settlement: Settlement) -> Result<(), StoreError>;
    /// Makes deliveries pending and due at `at`, in a new round; rows are made for events that have
    /// none. Returns what waits now. Events that are gone are passed over.
    async fn redrive(
        &self,
        owner: WebhookOwner,
        seqs: Vec<i64>,
        at: Timestamp,
    ) -> Result<Vec<Parked>, StoreError>;
    /// Adds a replay over a range of the log. Returns it.
    async fn add_replay(
        &self,
        owner: WebhookOwner,
        from_seq: i64,
        to_seq: i64,
        scope: ReplayScope,
    ) -> Result<Replay, StoreError>;
    /// `seq`s of dead letters from one on, in order, at most `limit`.
    async fn dead_letters(
        &self,
        owner: WebhookOwner,
        from_seq: i64,
        to_seq: i64,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError>;

    /// A page of a webhook's deliveries, newest event first; the key is the event's `seq`.
    async fn deliveries(
        &self,
        tenant: TenantId,
        webhook: WebhookId,
        filter: &DeliveryFilter,
        page: PageRequest<i64>,
    ) -> Result<Page<Delivery, i64>, StoreError>;
    /// One delivery with every attempt.
    async fn delivery(&self, tenant: TenantId, id: DeliveryId) -> Result<DeliveryDetail, StoreError>;
    /// Numbers of a webhook's rows. Pending and dead ones are counted up to 10,000 each.
    async fn delivery_counts(
        &self,
        tenant: TenantId,
        webhook: WebhookId,
    ) -> Result<DeliveryCounts, StoreError>;

    /// Appends a tenant's own event. `instance`, if given, must be the tenant's. The idempotency record
    /// keeps the event's JSON.
    async fn publish(
        &self,
        tenant: TenantId,
        event: NewEvent,
        stamp: Stamp,
    ) -> Result<Outcome<Arc<Event>>, StoreError>;
    /// Events by their place in the log; those that are gone are left out.
    async fn events_at(&self, tenant: TenantId, seqs: &[i64]) -> Result<Vec<Arc<Event>>, StoreError>;
    /// Places of events by their ids; those that are gone or another tenant's are left out.
    async fn event_seqs(&self, tenant: TenantId, ids: &[EventId]) -> Result<Vec<i64>, StoreError>;
    /// First and last `seq` of the events written in `[from, to)`; `None` when there are none.
    async fn event_range(
        &self,
        tenant: TenantId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<(i64, i64)>, StoreError>;
}
