//! What everything on a node shares, and the root of its actors.
//!
//! The root supervises the registries and the streams actor. None of them is stopped before its
//! children: [`crate::Runtime::stop`] empties the registries first.

pub(crate) mod actor;
pub(crate) mod connected;
pub(crate) mod upkeep;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use roost_domain::engine::{Engine, Link};
use roost_domain::peer::Peers;
use roost_domain::slot::{Place, Placement, Slot};
use roost_domain::store::Store;
use roost_domain::time::Entropy;
use roost_domain::{Clock, InstanceId};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connected::ConnectedTime;
use crate::Settings;
use crate::cluster::route::Routes;
use crate::cluster::{Listener, News};
use crate::gate::StartGate;
use crate::index::ActorIndex;
use crate::rest::Resting;

/// Sessions that read their state from the store at the same time.
const LOADS_MAX: usize = 256;

/// Ports, limits and gates of a node.
pub(crate) struct NodeContext {
    pub store: Arc<dyn Store>,
    pub engine: Arc<dyn Engine>,
    pub placement: Arc<dyn Placement>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub settings: Settings,
    pub gate: StartGate,
    pub loads: Semaphore,
    pub index: ActorIndex,
    /// For how long instances were connected.
    pub connected: Arc<ConnectedTime>,
    /// Tenants of whom nothing is started.
    pub resting: Resting,
    /// The ways to other nodes, in a cluster.
    routes: OnceLock<Routes>,
    /// Who is told what other nodes tell.
    listener: OnceLock<Arc<dyn Listener>>,
    /// Small tasks that outlive an actor; awaited when the node stops.
    pub tasks: TaskTracker,
    /// Cancelled when the node has stopped all its actors.
    pub stopping: CancellationToken,
    closing: Mutex<HashMap<InstanceId, Vec<CancellationToken>>>,
}

impl NodeContext {
    pub fn new(
        store: Arc<dyn Store>,
        engine: Arc<dyn Engine>,
        placement: Arc<dyn Placement>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        settings: Settings,
    ) -> Self {
        let gate = StartGate::new(settings.dials_max, settings.dials_per_second);
        let index = ActorIndex::new(placement.node(), Arc::clone(&clock));
        let connected = Arc::new(ConnectedTime::new(Arc::clone(&clock)));
        let loads = Semaphore::new(LOADS_MAX);
        let stopping = CancellationToken::new();
        let (tasks, closing) = (TaskTracker::new(), Mutex::default());
        Self {
            store,
            engine,
            placement,
            clock,
            entropy,
            settings,
            gate,
            loads,
            index,
            connected,
            resting: Resting::default(),
            routes: OnceLock::new(),
            listener: OnceLock::new(),
            tasks,
            stopping,
            closing,
        }
    }

    /// Other nodes can be spoken to from now on.
    pub fn link(&self, routes: Routes) {
        // A node joins once.
        let _ = self.routes.set(routes);
    }

    /// The ways to the owners of slots; none without a cluster.
    pub fn routes(&self) -> Option<&Routes> {
        self.routes.get()
    }

    /// The way to other nodes; none without a cluster.
    pub fn peers(&self) -> Option<&Arc<dyn Peers>> {
        self.routes.get().map(|routes| &routes.peers)
    }

    /// Passes on to this listener what other nodes tell from now on.
    pub fn listen(&self, listener: Arc<dyn Listener>) {
        // There is one for each life of a process.
        let _ = self.listener.set(listener);
    }

    /// Passes on what another node tells. Before there is a listener, nothing is known here that it could
    /// change.
    pub fn hear(&self, news: News) {
        if let Some(listener) = self.listener.get() {
            listener.told(news);
        }
    }

    /// Whether this node does what the owner of a slot does once for all nodes. While the slot moves nobody
    /// may be in charge, and for a moment both may take themselves to be.
    pub fn is_in_charge(&self, slot: Slot) -> bool {
        matches!(self.placement.place(slot), Place::Here(_)) && self.placement.holds_lease()
    }

    /// Closes a link to its end, whatever becomes of the session it was part of; the token is cancelled
    /// then. A successor of that session waits for it: two links of one device would throw each other
    /// out.
    pub fn close_link(self: &Arc<Self>, instance: InstanceId, link: Arc<dyn Link>) -> CancellationToken {
        let closed = CancellationToken::new();
        self.closing().entry(instance).or_default().push(closed.clone());
        let (node, done) = (Arc::clone(self), closed.clone().drop_guard());
        self.tasks.spawn(async move {
            link.close().await;
            drop(link);
            drop(done);
            let mut closing = node.closing();
            if let Some(links) = closing.get_mut(&instance) {
                links.retain(|closed| !closed.is_cancelled());
                if links.is_empty() {
                    closing.remove(&instance);
                }
            }
        });
        closed
    }

    /// Lets the calls that an actor has begun come to their end without it.
    pub fn finish(&self, mut calls: JoinSet<()>) {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                () = async { while calls.join_next().await.is_some() {} } => {}
            }
        });
    }

    /// Waits until no link of earlier lives of a session is left.
    pub async fn links_closed(&self, instance: InstanceId) {
        let closing = self.closing().get(&instance).cloned();
        for closed in closing.into_iter().flatten() {
            closed.cancelled().await;
        }
    }

    /// Waits until no link of an instance in these slots is left that is being closed now.
    pub async fn links_closed_in(&self, slots: &HashSet<Slot>) {
        let of_slots = |(&instance, links): (&InstanceId, &Vec<CancellationToken>)| {
            slots.contains(&Slot::of(instance)).then(|| links.clone())
        };
        let closing: Vec<_> = self.closing().iter().filter_map(of_slots).flatten().collect();
        for closed in closing {
            closed.cancelled().await;
        }
    }

    fn closing(&self) -> MutexGuard<'_, HashMap<InstanceId, Vec<CancellationToken>>> {
        // Nothing in here can panic half-way.
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
