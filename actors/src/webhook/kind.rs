//! How the registry of webhooks starts and stops their actors.

use std::sync::Arc;

use ractor::{Actor, ActorCell, SpawnErr};
use roost_domain::page::{PAGE_ROWS_MAX, PageRequest};
use roost_domain::slot::Slot;
use roost_domain::webhook::WebhookOwner;
use roost_domain::{Epoch, TenantId, WebhookId};

use super::WebhookNode;
use super::actor::{WebhookActor, WebhookArguments};
use super::message::WebhookMessage;
use super::stats::Live;
use crate::line::Line;
use crate::permit::Permits;
use crate::post::Post;
use crate::registry::{Child, EnabledPage, Kind, Start};

/// The kind of actor that delivers for a webhook.
pub(crate) struct WebhookKind {
    pub(crate) shared: Arc<WebhookNode>,
}

/// What callers need of a live deliverer.
#[derive(Clone)]
pub(crate) struct WebhookHandle {
    pub(super) tenant: TenantId,
    pub(super) line: Line<WebhookMessage>,
    pub(super) live: Arc<Live>,
}

impl Kind for WebhookKind {
    const NAME: &'static str = "webhook";
    const REGISTRY: &'static str = "webhooks";
    type Key = WebhookId;
    type Seed = TenantId;
    type Handle = WebhookHandle;

    fn slot(&self, key: WebhookId) -> Option<Slot> {
        Some(Slot::of_webhook(key))
    }

    fn tenant(seed: &TenantId) -> Option<TenantId> {
        Some(*seed)
    }

    async fn spawn(
        &self,
        start: Start<WebhookId, TenantId>,
        supervisor: ActorCell,
    ) -> Result<Child<WebhookHandle>, SpawnErr> {
        let Start {
            key,
            seed: tenant,
            epoch,
            meta,
        } = start;
        let settings = &self.shared.node.settings;
        // Nothing is sent through a webhook's actor.
        let permits = Arc::new(Permits::new(0, settings.query_permits, settings.control_permits));
        let live = Arc::new(Live::default());
        let arguments = WebhookArguments {
            shared: Arc::clone(&self.shared),
            owner: WebhookOwner {
                tenant,
                webhook: key,
                epoch,
            },
            permits: Arc::clone(&permits),
            meta: Arc::clone(&meta),
            live: Arc::clone(&live),
        };
        let (actor, join) = WebhookActor::spawn_linked(None, WebhookActor, arguments, supervisor).await?;
        let cell = actor.get_cell();
        meta.started(cell.clone(), Some(epoch), Some(Arc::clone(&permits)));
        let handle = WebhookHandle {
            tenant,
            line: Line::new(Self::NAME, permits, Post::new(actor, meta)),
            live,
        };
        Ok(Child { handle, cell, join })
    }

    fn ask_to_stop(&self, handle: &WebhookHandle, _succeeded: bool) {
        handle.line.permits.retire();
        // One that is gone has stopped.
        let _ = handle.line.post.cast(WebhookMessage::Shutdown);
    }

    async fn enabled(&self, slots: &[Slot], after: Option<WebhookId>) -> EnabledPage<WebhookId, TenantId> {
        let page = PageRequest::new(after, PAGE_ROWS_MAX);
        self.shared.node.store.enabled_webhooks(slots, page).await
    }

    /// What an operator has stopped is started again by the next start of the node, or the next change by
    /// its tenant: events wait in the log.
    async fn stopped(&self, _: WebhookId, _: TenantId, _: Epoch) {}
}
