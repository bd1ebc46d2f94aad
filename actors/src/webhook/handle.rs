//! What callers hold: webhooks of every tenant.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use roost_domain::event::{Event, EventType, NewEvent};
use roost_domain::page::{Page, PageRequest};
use roost_domain::slot::Slot;
use roost_domain::store::{Idempotency, Outcome, Stamp, StoreError};
use roost_domain::webhook::client::TargetError;
use roost_domain::webhook::store::{DeliveryDetail, DeliveryFilter, WebhookPatch};
use roost_domain::webhook::{
    ApiVersion, Delivery, DeliveryId, Webhook, WebhookOwner, WebhookSecret, WebhookState,
};
use roost_domain::{TenantId, WebhookId};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use super::ask::ChangedAsk;
use super::call::{CreateWebhook, PublishEvent, WebhookNumbers};
use super::kind::{WebhookHandle, WebhookKind};
use super::message::WebhookMessage;
use super::{WebhookNode, WebhookSettings};
use crate::CallError;
use crate::cluster::route::{self, Desk as _};
use crate::registry::{Children, Kind, NotRunning, Slots, here};

/// Bytes of a secret that Roost makes.
const SECRET_BYTES: usize = 32;
/// Bytes that a tenant's own secret may have.
const SECRET_RANGE: std::ops::RangeInclusive<usize> = 24..=64;
/// How long a call waits for its change to be applied.
const APPLY_WAIT: std::time::Duration = std::time::Duration::from_secs(2);
/// How long to wait before asking again for a registry that is being restarted.
const NO_REGISTRY: std::time::Duration = std::time::Duration::from_millis(50);

/// The webhooks of every tenant. Cheap to clone.
///
/// Another tenant's id is [`CallError::NotFound`]. The form of fields is checked at the edge; what needs
/// the node is checked here.
#[derive(Clone)]
pub struct Webhooks {
    parts: Arc<WebhooksParts>,
}

pub(crate) struct WebhooksParts {
    pub shared: Arc<WebhookNode>,
    pub children: Arc<Children<WebhookKind>>,
}

impl Webhooks {
    pub(crate) fn new(parts: WebhooksParts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    pub(super) fn shared(&self) -> &Arc<WebhookNode> {
        &self.parts.shared
    }

    pub(super) fn children(&self) -> &Children<WebhookKind> {
        &self.parts.children
    }

    fn settings(&self) -> &WebhookSettings {
        &self.parts.shared.settings
    }

    /// Adds a webhook, which gets the events from now on. The secret is part of the first answer only: a
    /// repetition of the call is answered without it.
    pub async fn create(
        &self,
        tenant: TenantId,
        create: CreateWebhook,
        idempotency: Option<Idempotency>,
    ) -> Result<Outcome<(Webhook, WebhookSecret)>, CallError> {
        let settings = self.settings();
        let max_concurrency = create.max_concurrency.unwrap_or(settings.concurrency_default);
        self.check_limits(Some(max_concurrency), create.rate_per_second)?;
        let secret = self.new_secret(create.secret)?;
        self.check_url(&create.url).await?;
        let now = self.node().clock.now();
        let unix_ms = u64::try_from(now.unix_ms()).unwrap_or(0);
        let webhook = Webhook {
            id: WebhookId::from_parts(unix_ms, self.node().entropy.bits()),
            tenant_id: tenant,
            url: create.url,
            description: create.description,
            filter: create.filter,
            mode: create.mode,
            headers: create.headers,
            max_concurrency,
            rate_per_second: create.rate_per_second,
            api_version: create.api_version.unwrap_or(ApiVersion::LATEST),
            legacy_signature: create.legacy_signature,
            state: WebhookState::Enabled,
            state_reason: None,
            created_at: now,
            updated_at: now,
        };
        let kept = webhook.created_json(None).map_err(|error| CallError::Internal {
            detail: format!("a webhook cannot be written as JSON: {error}"),
        })?;
        let idempotency = idempotency.map(|idempotency| (idempotency, kept));
        let max = create.webhooks_max.map_or(u64::MAX, u64::from);
        let max = max.min(settings.per_tenant_max);
        let made = self
            .node()
            .store
            .create_webhook(webhook, secret.clone(), max, idempotency)
            .await;
        match made {
            Ok(Outcome::Done(webhook)) => {
                // What comes from now on waits in the log.
                drop(self.spread(tenant, webhook.id, true));
                Ok(Outcome::Done((webhook, secret)))
            }
            Ok(Outcome::Replayed(replay)) => Ok(Outcome::Replayed(replay)),
            Err(StoreError::Conflict(_)) => Err(CallError::LimitReached {
                detail: format!("the limit webhooks is reached: this tenant may have at most {max}"),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// One webhook.
    pub async fn get(&self, tenant: TenantId, id: WebhookId) -> Result<Webhook, CallError> {
        Ok(self.node().store.webhook(tenant, id).await?)
    }

    /// A tenant's webhooks by id.
    pub async fn list(
        &self,
        tenant: TenantId,
        page: PageRequest<WebhookId>,
    ) -> Result<Page<Webhook, WebhookId>, CallError> {
        Ok(self.node().store.webhooks(tenant, page).await?)
    }

    /// Changes what a tenant may change. It holds for every POST that begins after this returns, and a
    /// filter for the events that are not read yet.
    pub async fn patch(
        &self,
        tenant: TenantId,
        id: WebhookId,
        patch: WebhookPatch,
    ) -> Result<Webhook, CallError> {
        self.check_limits(patch.max_concurrency, patch.rate_per_second.flatten())?;
        if let Some(url) = &patch.url {
            // Another tenant learns nothing of what is looked up for whom.
            self.get(tenant, id).await?;
            self.check_url(url).await?;
        }
        let now = self.node().clock.now();
        let webhook = self.node().store.patch_webhook(tenant, id, patch, now).await?;
        self.changed(&webhook).await;
        Ok(webhook)
    }

    /// Removes a webhook with its deliveries.
    pub async fn delete(&self, tenant: TenantId, id: WebhookId) -> Result<(), CallError> {
        self.node().store.delete_webhook(tenant, id).await?;
        self.tell(tenant, id, false).await;
        Ok(())
    }

    /// Stops delivering: events wait in the log.
    pub async fn pause(
        &self,
        tenant: TenantId,
        id: WebhookId,
        reason: Option<String>,
    ) -> Result<Webhook, CallError> {
        let row = self.get(tenant, id).await?;
        match row.state {
            WebhookState::Paused => return Ok(row),
            WebhookState::Disabled => {
                let detail = "the webhook is disabled; only an enabled one can be paused".to_owned();
                return Err(CallError::WrongMessage { detail });
            }
            WebhookState::Enabled => {}
        }
        let state = Some((WebhookState::Paused, reason));
        let patch = WebhookPatch {
            state,
            ..WebhookPatch::default()
        };
        self.patch(tenant, id, patch).await
    }

    /// Delivers again, from where it stopped; also a webhook that was disabled.
    pub async fn resume(&self, tenant: TenantId, id: WebhookId) -> Result<Webhook, CallError> {
        let row = self.get(tenant, id).await?;
        if row.state == WebhookState::Enabled {
            self.changed(&row).await;
            return Ok(row);
        }
        let patch = WebhookPatch {
            state: Some((WebhookState::Enabled, None)),
            ..WebhookPatch::default()
        };
        self.patch(tenant, id, patch).await
    }

    /// Its signing secrets, the current one first.
    pub async fn secret(&self, tenant: TenantId, id: WebhookId) -> Result<Vec<WebhookSecret>, CallError> {
        Ok(self.node().store.webhook_secrets(tenant, id).await?)
    }

    /// Puts a new secret in place. The one before signs on for `overlap`.
    pub async fn rotate_secret(
        &self,
        tenant: TenantId,
        id: WebhookId,
        secret: Option<Vec<u8>>,
        overlap: Option<std::time::Duration>,
    ) -> Result<WebhookSecret, CallError> {
        let settings = self.settings();
        let overlap = overlap.unwrap_or(settings.secret_overlap);
        if overlap > settings.secret_overlap_max {
            let max = settings.secret_overlap_max.as_secs();
            return Err(CallError::Invalid {
                field: "overlap_seconds",
                detail: format!("an overlap is at most {max} seconds"),
            });
        }
        let secret = self.new_secret(secret)?;
        let until = self.node().clock.now().plus(overlap);
        self.node()
            .store
            .rotate_webhook_secret(tenant, id, secret.clone(), until)
            .await?;
        self.tell(tenant, id, false).await;
        Ok(secret)
    }

    /// A page of its deliveries, newest event first.
    pub async fn deliveries(
        &self,
        tenant: TenantId,
        id: WebhookId,
        filter: &DeliveryFilter,
        page: PageRequest<i64>,
    ) -> Result<Page<Delivery, i64>, CallError> {
        Ok(self.node().store.deliveries(tenant, id, filter, page).await?)
    }

    /// One delivery with every attempt.
    pub async fn delivery(&self, tenant: TenantId, id: DeliveryId) -> Result<DeliveryDetail, CallError> {
        Ok(self.node().store.delivery(tenant, id).await?)
    }

    /// Appends a tenant's own event to its log.
    pub async fn publish(
        &self,
        tenant: TenantId,
        event: PublishEvent,
        stamp: Stamp,
    ) -> Result<Outcome<Arc<Event>>, CallError> {
        let event = NewEvent {
            kind: EventType::Custom(event.kind),
            instance_id: event.instance_id,
            chat: event.chat,
            data: event.data,
        };
        Ok(self.node().store.publish(tenant, event, stamp).await?)
    }

    /// Numbers of all webhooks of this node.
    pub fn numbers(&self) -> WebhookNumbers {
        let (counters, now) = (&self.shared().counters, self.node().clock.now());
        let mut numbers = WebhookNumbers {
            delivered: counters.delivered.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
            timeout: counters.timeout.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            dead: counters.dead.load(Ordering::Relaxed),
            in_flight: self.shared().hosts.in_flight() as u64,
            ..WebhookNumbers::default()
        };
        for key in self.children().keys_in(&Slots::All) {
            let Some(handle) = self.children().handle(key) else {
                continue;
            };
            if let Some((view, _)) = handle.live.view() {
                numbers.pending += view.parked as u64;
                let lag = u64::try_from(handle.live.lag(now).as_millis()).unwrap_or(u64::MAX);
                numbers.lag_max_ms = numbers.lag_max_ms.max(lag);
            }
        }
        numbers
    }

    /// The deliverer that runs here now, without asking anybody.
    pub(super) fn live(&self, tenant: TenantId, id: WebhookId) -> Result<Option<WebhookHandle>, CallError> {
        self.owner(tenant, id)?;
        match self.children().handle(id) {
            Some(handle) if handle.tenant != tenant => Err(CallError::NotFound),
            handle => Ok(handle.filter(|handle| !handle.line.permits.is_retired())),
        }
    }

    /// Whoever writes for a webhook that lives here.
    pub(super) fn owner(&self, tenant: TenantId, webhook: WebhookId) -> Result<WebhookOwner, CallError> {
        let slot = Slot::of_webhook(webhook);
        let epoch = here(&*self.node().placement, slot, WebhookKind::NAME)?;
        Ok(WebhookOwner {
            tenant,
            webhook,
            epoch,
        })
    }

    /// A row has changed: whoever runs it learns so, and one that is to run is started.
    async fn changed(&self, webhook: &Webhook) {
        let runs = webhook.state == WebhookState::Enabled;
        self.tell(webhook.tenant_id, webhook.id, runs).await;
    }

    /// Tells a webhook's actor that its row has changed, and waits a moment for it to be applied.
    async fn tell(&self, tenant: TenantId, id: WebhookId, runs: bool) {
        let told = self.spread(tenant, id, runs);
        // It goes on without the caller.
        let _ = timeout(APPLY_WAIT, told).await;
    }

    /// Tells a webhook's actor, wherever it lives, that its row has changed.
    fn spread(&self, tenant: TenantId, id: WebhookId, runs: bool) -> oneshot::Receiver<()> {
        let ask = ChangedAsk {
            tenant,
            webhook: id,
            runs,
        };
        let each = self.node().settings.control_timeout;
        route::tell(self, ask, each)
    }

    /// Tells a webhook's actor that its row has changed; starts one if there is none and it is to run.
    /// Goes on until a live actor has applied it, for one that is just ending may not.
    pub(super) async fn changed_here(
        &self,
        tenant: TenantId,
        id: WebhookId,
        runs: bool,
        deadline: Instant,
    ) -> Result<(), CallError> {
        self.owner(tenant, id)?;
        let children = self.children();
        loop {
            let Some(handle) = children.handle(id) else {
                if !runs {
                    return Ok(());
                }
                match children.try_ensure(id, tenant, deadline).await {
                    Ok(Ok(_)) => continue,
                    Err(CallError::Timeout) => return Err(CallError::Timeout),
                    Ok(Err(NotRunning::Overloaded)) | Err(_) => {}
                    // Whoever starts it later reads the row.
                    Ok(Err(_)) => return Ok(()),
                }
                if Instant::now() >= deadline {
                    return Err(CallError::Timeout);
                }
                tokio::time::sleep(NO_REGISTRY).await;
                continue;
            };
            let (applied, heard) = oneshot::channel();
            let told = handle.line.post.cast(WebhookMessage::Reload(applied));
            let late = |_| CallError::Timeout;
            if told.is_ok() && timeout_at(deadline, heard).await.map_err(late)?.is_ok() {
                return Ok(());
            }
            // It is ending: what follows it reads the row.
            let ended = handle.line.permits;
            if ended.is_fenced() {
                return Ok(());
            }
            let another = children.turned_over(id, |next| !Arc::ptr_eq(&next.line.permits, &ended));
            timeout_at(deadline, another).await.map_err(late)?;
        }
    }

    async fn check_url(&self, url: &str) -> Result<(), CallError> {
        let field = "url";
        self.shared()
            .client
            .check(url)
            .await
            .map_err(|error| match error {
                TargetError::Invalid(detail)
                | TargetError::Forbidden(detail)
                | TargetError::Unresolvable(detail) => CallError::Invalid { field, detail },
            })
    }

    fn check_limits(&self, concurrency: Option<u16>, rate: Option<u32>) -> Result<(), CallError> {
        let max = self.settings().concurrency_max;
        if concurrency.is_some_and(|wanted| wanted == 0 || wanted > max) {
            return Err(CallError::Invalid {
                field: "max_concurrency",
                detail: format!("max_concurrency is from 1 to {max}"),
            });
        }
        if rate == Some(0) {
            return Err(CallError::Invalid {
                field: "rate_per_second",
                detail: "rate_per_second is at least 1".to_owned(),
            });
        }
        Ok(())
    }

    fn new_secret(&self, key: Option<Vec<u8>>) -> Result<WebhookSecret, CallError> {
        let key = key.unwrap_or_else(|| {
            let mut key = vec![0; SECRET_BYTES];
            self.node().entropy.fill(&mut key);
            key
        });
        if !SECRET_RANGE.contains(&key.len()) {
            let (least, most) = (SECRET_RANGE.start(), SECRET_RANGE.end());
            return Err(CallError::Invalid {
                field: "secret",
                detail: format!("a secret has from {least} to {most} bytes"),
            });
        }
        Ok(WebhookSecret {
            key,
            expires_at: None,
        })
    }
}
