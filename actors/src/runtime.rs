//! The runtime of a node: builds the tree of actors, fills it, and takes it down.
//!
//! Start: the root with its parts, then every instance that shall run is handed to its registry, page
//! by page, and connects through the start gate. Stop: admission ends, sessions close their links in
//! waves, what does not end in time is killed, and only then the supervisors stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ractor::{Actor, ActorCell, SpawnErr};
use roost_domain::engine::Engine;
use roost_domain::instance::DesiredState;
use roost_domain::page::{PAGE_ROWS_MAX, PageRequest};
use roost_domain::slot::{Placement, Slot};
use roost_domain::store::{Store, StoreError};
use roost_domain::time::Entropy;
use roost_domain::webhook::WebhookState;
use roost_domain::webhook::client::WebhookClient;
use roost_domain::{Clock, TenantId};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::bucket::{BucketKind, BucketNode, Buckets, BucketsParts};
use crate::cluster::{ClusterNumbers, ClusterParts, Exchange, JoinError, Joined, Listener, News, resting};
use crate::gate::GateView;
use crate::index::ActorIndex;
use crate::instance::{InstanceKind, Instances, InstancesParts};
use crate::node::actor::{NodeActor, Part, Spawning};
#[cfg(test)]
use crate::node::connected::ConnectedTime;
use crate::node::{NodeContext, upkeep};
use crate::operator::{Local, Operator};
use crate::registry::{Children, Kind, Registry, Slots};
use crate::residents::{Residents, read_resting, start};
use crate::rest::Rest;
use crate::stream::actor::StreamsActor;
use crate::webhook::{WebhookKind, WebhookNode, Webhooks, WebhooksParts};
use crate::{Settings, Streams, stream, wave};

/// What a runtime is made of.
pub struct RuntimeParts {
    /// The repositories.
    pub store: Arc<dyn Store>,
    /// How to speak WhatsApp.
    pub engine: Arc<dyn Engine>,
    /// How to post to webhooks.
    pub webhook_client: Arc<dyn WebhookClient>,
    /// Who owns what.
    pub placement: Arc<dyn Placement>,
    /// What makes this node one of a cluster; its placement is the one above. Without it, the node is on
    /// its own.
    pub cluster: Option<ClusterParts>,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The observer that the store was opened with.
    pub streams: Streams,
    /// Limits and time-outs.
    pub settings: Settings,
}

/// Why a runtime did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The tree of actors could not be built.
    #[error("the tree of actors could not be built")]
    Spawn(#[source] SpawnErr),
    /// The node did not become one of the cluster.
    #[error("the node cannot join the cluster")]
    Join(#[source] JoinError),
}

/// What a stop came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopReport {
    /// Sessions that ended by themselves.
    pub sessions_stopped: usize,
    /// Sessions that had to be killed.
    pub sessions_killed: usize,
    /// Whether everything had ended before the deadline.
    pub complete: bool,
}

/// Everything that runs sessions on this node.
pub struct Runtime {
    node: Arc<NodeContext>,
    residents: Arc<Residents>,
    instances: Instances,
    webhooks: Webhooks,
    buckets: Buckets,
    streams: Streams,
    ready: Arc<AtomicBool>,
    local: Arc<Local>,
    stopping: CancellationToken,
    cluster: Option<Joined>,
    root: Mutex<Option<(ActorCell, JoinHandle<()>)>>,
}

impl Runtime {
    /// Builds the tree and begins to start sessions; [`Self::ready`] says when all are under way.
    pub async fn start(parts: RuntimeParts) -> Result<Self, StartError> {
        let RuntimeParts {
            store,
            engine,
            webhook_client,
            placement,
            cluster,
            clock,
            entropy,
            streams,
            settings,
        } = parts;
        streams.attach(Arc::clone(&store));
        let node = Arc::new(NodeContext::new(
            store, engine, placement, clock, entropy, settings,
        ));
        let children = Arc::new(Children::new(InstanceKind {
            node: Arc::clone(&node),
        }));
        let shared = Arc::new(WebhookNode::new(
            Arc::clone(&node),
            webhook_client,
            streams.clone(),
        ));
        let deliverers = Arc::new(Children::new(WebhookKind {
            shared: Arc::clone(&shared),
        }));
        let webhooks = Webhooks::new(WebhooksParts {
            shared,
            children: Arc::clone(&deliverers),
        });
        let shared = Arc::new(BucketNode::new(node.settings.buckets.clone()));
        let counters = Arc::new(Children::new(BucketKind {
            shared: Arc::clone(&shared),
        }));
        let buckets = Buckets::new(BucketsParts::new(
            Arc::clone(&node),
            shared,
            Arc::clone(&counters),
        ));
        let residents = Arc::new(Residents {
            node: Arc::clone(&node),
            sessions: children,
            deliverers,
            buckets: counters,
        });
        let instances = Instances::new(InstancesParts {
            node: Arc::clone(&node),
            children: Arc::clone(&residents.sessions),
        });
        let mut parts = vec![
            registry(&node, &residents.sessions),
            registry(&node, &residents.deliverers),
            registry(&node, &residents.buckets),
            fan_out(&node, &streams),
            housekeeper(&node, &buckets),
        ];
        let ready = Arc::new(AtomicBool::new(false));
        let answer_bytes_max = cluster.as_ref().map(|parts| parts.settings.answer_bytes_max);
        let local = Arc::new(Local::new(
            Arc::clone(&residents),
            Arc::clone(&ready),
            answer_bytes_max.unwrap_or_default(),
        ));
        let cluster = match cluster {
            Some(parts) => {
                let exchange = Exchange {
                    node: Arc::clone(&node),
                    instances: instances.clone(),
                    residents: Arc::clone(&residents),
                    streams: streams.clone(),
                    operator: Arc::clone(&local),
                    webhooks: webhooks.clone(),
                    buckets: buckets.clone(),
                };
                let joined = Joined::join(parts, &residents, exchange).await;
                Some(joined.map_err(StartError::Join)?)
            }
            None => None,
        };
        parts.extend(cluster.as_ref().map(Joined::part));
        let (root, join) = NodeActor::spawn(None, NodeActor, (Arc::clone(&node), parts))
            .await
            .map_err(StartError::Spawn)?;
        let runtime = Self {
            residents,
            instances,
            webhooks,
            buckets,
            streams,
            ready,
            local,
            stopping: CancellationToken::new(),
            cluster,
            root: Mutex::new(Some((root.get_cell(), join))),
            node,
        };
        match &runtime.cluster {
            Some(cluster) => runtime.ready_when(cluster.settled()),
            None => runtime.start_all(),
        }
        Ok(runtime)
    }

    /// Instances, for callers.
    pub fn instances(&self) -> Instances {
        self.instances.clone()
    }

    /// Webhooks, for callers.
    pub fn webhooks(&self) -> Webhooks {
        self.webhooks.clone()
    }

    /// Buckets, for callers.
    pub fn buckets(&self) -> Buckets {
        self.buckets.clone()
    }

    /// The live end of the event log.
    pub fn streams(&self) -> Streams {
        self.streams.clone()
    }

    /// The actors, for operators.
    pub fn introspection(&self) -> ActorIndex {
        self.node.index.clone()
    }

    /// How this node stands in its cluster; none without one.
    pub fn cluster_numbers(&self) -> Option<ClusterNumbers> {
        self.cluster.as_ref().map(Joined::numbers)
    }

    /// Tells other nodes; they may miss it. Does nothing without a cluster.
    pub fn tell(&self, news: &News) {
        if let Some(peers) = self.node.peers() {
            peers.notify(news.note());
        }
    }

    /// Passes on to this listener what other nodes tell, but for commits. Called once.
    pub fn listen(&self, listener: Arc<dyn Listener>) {
        self.node.listen(listener);
    }

    /// The whole gateway, for operators.
    pub fn operator(&self) -> Operator {
        let cluster = self
            .cluster
            .as_ref()
            .map(|cluster| Arc::clone(cluster.stewardship()));
        Operator::new(Arc::clone(&self.local), cluster)
    }

    /// Whether this node of a cluster gives its slots away, and takes none.
    pub fn drains(&self) -> bool {
        let cluster = self.cluster.as_ref();
        cluster.is_some_and(|cluster| cluster.stewardship().outlook.borrow().drains)
    }

    /// Numbers of the start gate.
    pub fn gate(&self) -> GateView {
        self.node.gate.view()
    }

    /// Whether every instance that shall run was handed to its registry.
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.stopping.is_cancelled()
    }

    #[cfg(test)]
    pub(crate) fn residents(&self) -> &Residents {
        &self.residents
    }

    #[cfg(test)]
    pub(crate) fn node(&self) -> &Arc<NodeContext> {
        &self.node
    }

    #[cfg(test)]
    pub(crate) fn connected_time(&self) -> &Arc<ConnectedTime> {
        &self.node.connected
    }

    /// Lets a tenant's actors on this node rest: nothing of it is started any more, and what runs ends. `true`
    /// when nothing of it runs here; called again, it ends what is left.
    pub async fn rest(&self, tenant: TenantId, rest: Rest) -> bool {
        self.residents.rest(tenant, rest).await
    }

    /// The same on all other nodes of the cluster. `true` when all of them say so.
    pub async fn rest_elsewhere(&self, tenant: TenantId, rest: Rest) -> bool {
        match self.node.peers() {
            Some(peers) => resting::order(peers, tenant, rest, self.node.settings.stop_timeout).await,
            None => true,
        }
    }

    /// Tenants whose actors rest on this node, and whether nothing of them runs here.
    pub fn resting(&self) -> HashMap<TenantId, (Rest, bool)> {
        self.node.resting.all()
    }

    /// Whether there may be other nodes.
    pub fn is_in_cluster(&self) -> bool {
        self.node.peers().is_some()
    }

    /// Whether this node is the one that does what is to be done once for a tenant.
    pub fn is_in_charge_of(&self, tenant: TenantId) -> bool {
        self.node.is_in_charge(Slot::of_tenant(tenant))
    }

    /// Lets a tenant's actors run again, and starts those that shall run and live here.
    pub async fn wake(&self, tenant: TenantId) -> Result<(), StoreError> {
        self.node.resting.end(tenant);
        let store = &self.node.store;
        let mut page = PageRequest::new(None, PAGE_ROWS_MAX);
        loop {
            let instances = store.instances(tenant, &[], page).await?;
            for row in instances.rows {
                if row.desired_state == DesiredState::Running {
                    start(&self.node, &self.residents.sessions, row.id, tenant).await;
                }
            }
            let Some(next) = instances.next else { break };
            page = PageRequest::new(Some(next), PAGE_ROWS_MAX);
        }
        let mut page = PageRequest::new(None, PAGE_ROWS_MAX);
        loop {
            let webhooks = store.webhooks(tenant, page).await?;
            for row in webhooks.rows {
                if row.state == WebhookState::Enabled {
                    start(&self.node, &self.residents.deliverers, row.id, tenant).await;
                }
            }
            let Some(next) = webhooks.next else { break };
            page = PageRequest::new(Some(next), PAGE_ROWS_MAX);
        }
        Ok(())
    }

    /// Starts every instance that shall run, and every webhook that is enabled, if it lives here.
    fn start_all(&self) {
        let residents = Arc::clone(&self.residents);
        let (ready, stopping) = (Arc::clone(&self.ready), self.stopping.clone());
        self.node.tasks.spawn(async move {
            let started = async {
                read_resting(&residents.node).await;
                residents.start(Slot::EVERY).await
            };
            tokio::select! {
                () = stopping.cancelled() => {}
                (sessions, webhooks) = started => {
                    tracing::info!(sessions, webhooks, "every running instance has its session, and every enabled webhook its deliverer");
                    ready.store(true, Ordering::Release);
                }
            }
        });
    }

    /// This node is ready when its steward has taken what is its own.
    fn ready_when(&self, settled: impl Future<Output = bool> + Send + 'static) {
        let (ready, stopping) = (Arc::clone(&self.ready), self.stopping.clone());
        self.node.tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                settled = settled => ready.store(settled, Ordering::Release),
            }
        });
    }

    /// No session runs any more: what is not written yet is.
    async fn write_connected_time(&self) {
        let (time, log) = (Arc::clone(&self.node.connected), Arc::clone(&self.node.store));
        let writing = self.node.tasks.spawn(async move { time.write(&*log).await });
        let wait = self.node.settings.stop_session_timeout;
        if tokio::time::timeout(wait, writing).await.is_err() {
            tracing::warn!("the time that instances were connected was not written before the stop");
        }
    }

    /// Ends everything in good order, within the limits of the settings. May be called again; the first
    /// call does it.
    pub async fn stop(&self) -> StopReport {
        let mut root = self.root.lock().await;
        self.stopping.cancel();
        let Some((cell, join)) = root.take() else {
            return StopReport {
                sessions_stopped: 0,
                sessions_killed: 0,
                complete: true,
            };
        };
        let deadline = Instant::now() + self.node.settings.stop_timeout;
        if let Some(cluster) = &self.cluster {
            // The other half is for what is left.
            cluster.drain(self.node.settings.stop_timeout / 2).await;
        }
        self.residents.sessions.close();
        self.residents.deliverers.close();
        self.residents.buckets.close();
        self.node.gate.close();
        let (total, settings) = (self.residents.sessions.count(), &self.node.settings);
        tokio::join!(
            wave::stop_all(&self.residents.sessions, settings, deadline),
            wave::stop_all(&self.residents.deliverers, settings, deadline),
            // They have nothing to bring to an end.
            wave::stop(&self.residents.buckets, Slots::All, settings, deadline),
        );
        let left = self.residents.sessions.count();
        if left > 0 {
            tracing::warn!(sessions = left, "sessions did not end in time and are killed");
        }
        let undelivering = self.residents.deliverers.count();
        if undelivering > 0 {
            tracing::warn!(
                webhooks = undelivering,
                "webhooks did not end in time and are killed"
            );
        }
        let (sessions, deliverers, buckets) = tokio::join!(
            wave::kill(&self.residents.sessions, Slots::All, settings),
            wave::kill(&self.residents.deliverers, Slots::All, settings),
            wave::kill(&self.residents.buckets, Slots::All, settings),
        );
        let mut complete = sessions && deliverers && buckets;
        self.write_connected_time().await;
        self.streams.close();
        self.node.stopping.cancel();
        let wait = self.node.settings.stop_session_timeout;
        cell.stop_children_and_wait(None, Some(wait)).await;
        cell.stop(None);
        // Links of killed sessions are still being closed.
        self.node.tasks.close();
        let end = Instant::now() + wait;
        complete &= timeout_at(end, join).await.is_ok();
        complete &= timeout_at(end, self.node.tasks.wait()).await.is_ok();
        if let Some(cluster) = &self.cluster {
            cluster.hang_up().await;
            // What did not end holds on to the lease until it runs out.
            if complete {
                cluster.leave().await;
            }
        }
        StopReport {
            sessions_stopped: total.saturating_sub(left),
            sessions_killed: left,
            complete,
        }
    }
}

/// A runtime that was not stopped in good order takes its actors with it.
impl Drop for Runtime {
    fn drop(&mut self) {
        self.stopping.cancel();
        if let Some((root, _)) = self.root.get_mut().take() {
            self.node.stopping.cancel();
            root.kill();
        }
    }
}

fn registry<K: Kind>(node: &Arc<NodeContext>, children: &Arc<Children<K>>) -> Part {
    let (node, children) = (Arc::clone(node), Arc::clone(children));
    let spawn = move |root: ActorCell| -> Spawning {
        let arguments = (Arc::clone(&node), Arc::clone(&children));
        Box::pin(async move {
            let (actor, join) = Registry::spawn_linked(None, Registry::new(), arguments, root).await?;
            Ok((actor.get_cell(), join))
        })
    };
    Part {
        path: K::REGISTRY,
        kind: "registry",
        spawn: Box::new(spawn),
    }
}

fn fan_out(node: &Arc<NodeContext>, streams: &Streams) -> Part {
    let (node, streams) = (Arc::clone(node), streams.clone());
    let spawn = move |root: ActorCell| -> Spawning {
        let arguments = (Arc::clone(&node), streams.clone());
        Box::pin(async move {
            let (actor, join) = StreamsActor::spawn_linked(None, StreamsActor, arguments, root).await?;
            Ok((actor.get_cell(), join))
        })
    };
    Part {
        path: stream::actor::PATH,
        kind: stream::actor::PATH,
        spawn: Box::new(spawn),
    }
}

fn housekeeper(node: &Arc<NodeContext>, buckets: &Buckets) -> Part {
    let (node, buckets) = (Arc::clone(node), buckets.clone());
    let spawn = move |root: ActorCell| -> Spawning {
        let arguments = (Arc::clone(&node), buckets.clone());
        Box::pin(async move {
            let (actor, join) =
                upkeep::UpkeepActor::spawn_linked(None, upkeep::UpkeepActor, arguments, root).await?;
            Ok((actor.get_cell(), join))
        })
    };
    Part {
        path: upkeep::PATH,
        kind: upkeep::PATH,
        spawn: Box::new(spawn),
    }
}
