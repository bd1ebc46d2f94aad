//! What lives in the slots of this node: starts it, hands it off and kills it, slot by slot.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use roost_domain::TenantId;
use roost_domain::page::{PAGE_ROWS_MAX, Page, PageRequest};
use roost_domain::slot::{Place, Slot};
use tokio::time::{Instant, timeout};

use crate::backoff::Backoff;
use crate::bucket::BucketKind;
use crate::instance::InstanceKind;
use crate::node::NodeContext;
use crate::registry::{Children, Kind, Slots};
use crate::rest::Rest;
use crate::wave;
use crate::webhook::WebhookKind;

/// See the module.
pub(crate) struct Residents {
    pub node: Arc<NodeContext>,
    pub sessions: Arc<Children<InstanceKind>>,
    pub deliverers: Arc<Children<WebhookKind>>,
    pub buckets: Arc<Children<BucketKind>>,
}

impl Residents {
    /// Empties slots that are to be handed to another node: sessions close their links, deliverers write
    /// what they know, and what does not end in time is killed. Nothing of these slots runs here any more
    /// when this is `true`.
    pub async fn hand_off(&self, slots: HashSet<Slot>) -> bool {
        let settings = &self.node.settings;
        let of = slots.clone();
        let slots = Slots::These(slots);
        let deadline = Instant::now() + settings.stop_timeout;
        tokio::join!(
            wave::stop(&self.sessions, slots.clone(), settings, deadline),
            wave::stop(&self.deliverers, slots.clone(), settings, deadline),
            wave::stop(&self.buckets, slots.clone(), settings, deadline),
        );
        let (sessions, deliverers, buckets) = tokio::join!(
            wave::kill(&self.sessions, slots.clone(), settings),
            wave::kill(&self.deliverers, slots.clone(), settings),
            wave::kill(&self.buckets, slots, settings),
        );
        let closed = timeout(settings.stop_session_timeout, self.node.links_closed_in(&of)).await;
        sessions && deliverers && buckets && closed.is_ok()
    }

    /// Ends a tenant's actors; see [`crate::Runtime::rest`].
    pub async fn rest(&self, tenant: TenantId, rest: Rest) -> bool {
        let (resting, settings) = (&self.node.resting, &self.node.settings);
        resting.begin(tenant, rest);
        let slots = Slots::OfTenant(tenant);
        let deadline = Instant::now() + settings.stop_timeout;
        tokio::join!(
            wave::stop(&self.sessions, slots.clone(), settings, deadline),
            wave::stop(&self.deliverers, slots.clone(), settings, deadline),
        );
        let (sessions, deliverers) = tokio::join!(
            wave::kill(&self.sessions, slots.clone(), settings),
            wave::kill(&self.deliverers, slots, settings),
        );
        if sessions && deliverers {
            resting.complete(tenant);
        }
        sessions && deliverers
    }

    /// Starts what is to run in some slots, as far as they are here; buckets start when they are used.
    /// Gives the numbers of sessions and deliverers.
    pub async fn start(&self, slots: &[Slot]) -> (usize, usize) {
        tokio::join!(
            start_enabled(&self.node, &self.sessions, slots),
            start_enabled(&self.node, &self.deliverers, slots)
        )
    }

    /// Kills everything by signals, in every slot. Called by any thread; returns at once.
    pub fn kill(&self) {
        self.sessions.fence();
        self.deliverers.fence();
        self.buckets.fence();
    }

    /// Whether nothing runs.
    pub fn none_runs(&self) -> bool {
        self.sessions.none_runs() && self.deliverers.none_runs() && self.buckets.none_runs()
    }
}

/// Hands one to its registry if it lives here and may run; waits for a registry that is being restarted.
pub(crate) async fn start<K: Kind>(
    node: &NodeContext,
    children: &Children<K>,
    key: K::Key,
    seed: K::Seed,
) -> bool {
    let is_here = |slot| matches!(node.placement.place(slot), Place::Here(_));
    let here = children.slot(key).is_none_or(is_here);
    let rests = K::tenant(&seed).is_some_and(|tenant| node.resting.get(tenant).is_some());
    if !here || rests {
        return false;
    }
    while !children.start(key, seed.clone()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}

/// Learns which tenants rest; waits for the store as long as needed.
pub(crate) async fn read_resting(node: &NodeContext) {
    let backoff = Backoff {
        first: node.settings.backoff_first,
        max: Duration::from_secs(10),
    };
    let (mut after, mut failures) = (None, 0);
    loop {
        let page = PageRequest::new(after, PAGE_ROWS_MAX);
        match node.store.resting_tenants(page).await {
            Ok(Page { rows, next }) => {
                failures = 0;
                for (tenant, state) in rows {
                    if let Some(rest) = Rest::of(state) {
                        node.resting.begin(tenant, rest);
                    }
                }
                if next.is_none() {
                    return;
                }
                after = next;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, "tenants cannot be read yet; trying again");
                tokio::time::sleep(backoff.wait(failures, &*node.entropy)).await;
            }
        }
    }
}

/// Hands what lives here to its registry, page by page; waits for the store as long as needed.
async fn start_enabled<K: Kind>(node: &NodeContext, children: &Children<K>, slots: &[Slot]) -> usize {
    let backoff = Backoff {
        first: node.settings.backoff_first,
        max: Duration::from_secs(10),
    };
    let (mut after, mut failures, mut started) = (None, 0, 0);
    loop {
        match children.enabled(slots, after).await {
            Ok(Page { rows, next }) => {
                failures = 0;
                for (key, seed) in rows {
                    started += usize::from(start(node, children, key, seed).await);
                }
                if next.is_none() {
                    return started;
                }
                after = next;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(kind = K::NAME, %error, "what is to run cannot be read yet; trying again");
                tokio::time::sleep(backoff.wait(failures, &*node.entropy)).await;
            }
        }
    }
}
