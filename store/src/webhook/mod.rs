//! Webhooks and their deliveries: rows and the port.
//!
//! `write` is what tenants do to webhooks, `settle` what deliverers report, `redrive` deliveries that
//! begin anew, `publish` a tenant's own events, `read` every list, `log` events by place, id and time,
//! `expire` the end of retention.
//! URL, headers and secrets are sealed with the webhook's key, and so are attempts that say more than
//! numbers: an endpoint may answer with what it was sent.

mod attempt;
mod expire;
mod log;
mod publish;
mod read;
mod redrive;
mod row;
mod settle;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use async_trait::async_trait;
use roost_domain::event::{Event, NewEvent};
use roost_domain::page::{Page, PageRequest};
use roost_domain::store::{Idempotency, Outcome, Stamp, StoreError, Webhooks};
use roost_domain::webhook::store::{
    DeliveryCounts, DeliveryDetail, DeliveryFilter, Parked, Replay, ReplayScope, Settlement, WebhookDuty,
    WebhookPatch,
};
use roost_domain::webhook::{Delivery, DeliveryId, Webhook, WebhookOwner, WebhookSecret};
use roost_domain::{EventId, Slot, TenantId, Timestamp, WebhookId};

use crate::SqlStore;
use crate::database::Statement;
use crate::stop_point::{self, around};

pub(crate) use attempt::is_secret as seals_attempt;
pub(crate) use expire::{ExpireDeliveries, ExpireEvents, Expired};
#[cfg(test)]
pub(crate) use read::ENABLED_IN;
pub(crate) use settle::{HookDraft, HookNeeds};

/// Secrets that still sign, the current one first.
static SECRETS: Statement = Statement::new(
    "SELECT s.number, s.value, s.expires_at FROM webhook_secret AS s \
     WHERE s.webhook_id = $1 AND (s.expires_at IS NULL OR s.expires_at > $2) ORDER BY s.number DESC",
);

/// Replays that are not done, oldest first.
static REPLAYS: Statement = Statement::new(
    "SELECT p.number, p.next_seq, p.to_seq, p.scope FROM webhook_replay AS p \
     WHERE p.webhook_id = $1 ORDER BY p.number",
);

#[async_trait]
impl Webhooks for SqlStore {
    async fn create_webhook(
        &self,
        webhook: Webhook,
        secret: WebhookSecret,
        max: u64,
        idempotency: Option<(Idempotency, String)>,
    ) -> Result<Outcome<Webhook>, StoreError> {
        let (idempotency, reply) = idempotency.unzip();
        let create = write::Create {
            webhook,
            secret,
            max,
            stamp: Stamp {
                idempotency,
                audit: None,
            },
            reply: reply.unwrap_or_default(),
        };
        self.writer().direct(create).await
    }

    async fn webhook(&self, tenant: TenantId, id: WebhookId) -> Result<Webhook, StoreError> {
        Ok(self.webhook_row(tenant, id).await?.webhook)
    }

    async fn webhooks(
        &self,
        tenant: TenantId,
        page: PageRequest<WebhookId>,
    ) -> Result<Page<Webhook, WebhookId>, StoreError> {
        self.webhook_page(tenant, page).await
    }

    async fn patch_webhook(
        &self,
        tenant: TenantId,
        id: WebhookId,
        patch: WebhookPatch,
        at: Timestamp,
    ) -> Result<Webhook, StoreError> {
        let patch = write::Patch {
            tenant,
            id,
            patch,
            at,
        };
        self.writer().direct(patch).await
    }

    async fn delete_webhook(&self, tenant: TenantId, id: WebhookId) -> Result<(), StoreError> {
        self.writer().direct(write::Delete { tenant, id }).await?;
        // The webhook is gone from here on; what a crash leaves of its deliveries the sweep removes.
        while self
            .writer()
            .direct(write::DeleteDeliveries { tenant, id })
            .await?
        {}
        Ok(())
    }

    async fn webhook_secrets(
        &self,
        tenant: TenantId,
        id: WebhookId,
    ) -> Result<Vec<WebhookSecret>, StoreError> {
        self.webhook_row(tenant, id).await?;
        self.secrets(tenant, id).await
    }

    async fn rotate_webhook_secret(
        &self,
        tenant: TenantId,
        id: WebhookId,
        secret: WebhookSecret,
        overlap_until: Timestamp,
    ) -> Result<(), StoreError> {
        let rotate = write::Rotate {
            tenant,
            id,
            secret,
            overlap_until,
        };
        self.writer().direct(rotate).await
    }

    async fn enabled_webhooks(
        &self,
        slots: &[Slot],
        page: PageRequest<WebhookId>,
    ) -> Result<Page<(WebhookId, TenantId), WebhookId>, StoreError> {
        self.enabled_page(slots, page).await
    }

    async fn activate_webhook(&self, owner: WebhookOwner) -> Result<WebhookDuty, StoreError> {
        self.writer().direct(write::Activate { owner }).await
    }

    async fn webhook_duty(&self, owner: WebhookOwner) -> Result<WebhookDuty, StoreError> {
        self.duty(owner).await
    }

    async fn parked(&self, owner: WebhookOwner, after: i64, limit: u32) -> Result<Vec<Parked>, StoreError> {
        self.parked_after(owner, after, limit).await
    }

    async fn settle(&self, owner: WebhookOwner, settlement: Settlement) -> Result<(), StoreError> {
        let step = stop_point::step(&settlement);
        let settle = settle::Settle { owner, settlement };
        let work = async {
            if settle.is_rare() {
                self.writer().direct(settle::SettleRare(settle)).await
            } else {
                self.writer().planned(settle).await
            }
        };
        around(step, work).await
    }

    async fn redrive(
        &self,
        owner: WebhookOwner,
        seqs: Vec<i64>,
        at: Timestamp,
    ) -> Result<Vec<Parked>, StoreError> {
        let redrive = redrive::Redrive { owner, seqs, at };
        around("redrive", self.writer().direct(redrive)).await
    }

    async fn add_replay(
        &self,
        owner: WebhookOwner,
        from_seq: i64,
        to_seq: i64,
        scope: ReplayScope,
    ) -> Result<Replay, StoreError> {
        let add = write::AddReplay {
            owner,
            from_seq,
            to_seq,
            scope,
        };
        self.writer().direct(add).await
    }

    async fn dead_letters(
        &self,
        owner: WebhookOwner,
        from_seq: i64,
        to_seq: i64,
        limit: u32,
    ) -> Result<Vec<i64>, StoreError> {
        self.dead_between(owner, from_seq, to_seq, limit).await
    }

    async fn deliveries(
        &self,
        tenant: TenantId,
        webhook: WebhookId,
        filter: &DeliveryFilter,
        page: PageRequest<i64>,
    ) -> Result<Page<Delivery, i64>, StoreError> {
        self.delivery_page(tenant, webhook, filter, page).await
    }

    async fn delivery(&self, tenant: TenantId, id: DeliveryId) -> Result<DeliveryDetail, StoreError> {
        self.delivery_detail(tenant, id).await
    }

    async fn delivery_counts(
        &self,
        tenant: TenantId,
        webhook: WebhookId,
    ) -> Result<DeliveryCounts, StoreError> {
        self.webhook_row(tenant, webhook).await?;
        self.counts(webhook).await
    }

    async fn publish(
        &self,
        tenant: TenantId,
        event: NewEvent,
        stamp: Stamp,
    ) -> Result<Outcome<Arc<Event>>, StoreError> {
        let publish = publish::Publish { tenant, event, stamp };
        around("publish", self.writer().planned(publish)).await
    }

    async fn events_at(&self, tenant: TenantId, seqs: &[i64]) -> Result<Vec<Arc<Event>>, StoreError> {
        self.events_by_seq(tenant, seqs).await
    }

    async fn event_seqs(&self, tenant: TenantId, ids: &[EventId]) -> Result<Vec<i64>, StoreError> {
        self.seqs_of_events(tenant, ids).await
    }

    async fn event_range(
        &self,
        tenant: TenantId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Option<(i64, i64)>, StoreError> {
        self.seqs_between(tenant, from, to).await
    }
}
