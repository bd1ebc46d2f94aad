//! The runtime of a node: builds the tree of actors, fills it, and takes it down.
//!
//! Start: the root with its parts, then every instance that shall run is handed to its registry, page
//! by page, and connects through the start gate. Stop: admission ends, sessions close their links in
//! waves, what does not end in time is killed, and only then the supervisors stop.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorCell, SpawnErr};
use roost_domain::engine::Engine;
use roost_domain::page::{PAGE_ROWS_MAX, PageRequest};
use roost_domain::slot::{Place, Placement, Slot};
use roost_domain::store::Store;
use roost_domain::time::Entropy;
use roost_domain::{Clock, InstanceId};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::gate::GateView;
use crate::index::ActorIndex;
use crate::instance::{InstanceKind, Instances, InstancesParts};
use crate::node::actor::{NodeActor, Part, Spawning};
use crate::node::{NodeContext, upkeep};
use crate::registry::{Children, Kind, Operation, Registry, Slots};
use crate::stream::actor::StreamsActor;
use crate::{CallError, Settings, Streams, stream};

/// What a runtime is made of.
pub struct RuntimeParts {
    /// The repositories.
    pub store: Arc<dyn Store>,
    /// How to speak WhatsApp.
    pub engine: Arc<dyn Engine>,
    /// Who owns what.
    pub placement: Arc<dyn Placement>,
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
    children: Arc<Children<InstanceKind>>,
    streams: Streams,
    ready: Arc<AtomicBool>,
    stopping: CancellationToken,
    root: Mutex<Option<(ActorCell, JoinHandle<()>)>>,
}

impl Runtime {
    /// Builds the tree and begins to start sessions; [`Self::ready`] says when all are under way.
    pub async fn start(parts: RuntimeParts) -> Result<Self, StartError> {
        let RuntimeParts {
            store,
            engine,
            placement,
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
        let parts = tree(&node, &children, &streams);
        let (root, join) = NodeActor::spawn(None, NodeActor, (Arc::clone(&node), parts))
            .await
            .map_err(StartError::Spawn)?;
        let runtime = Self {
            children,
            streams,
            ready: Arc::new(AtomicBool::new(false)),
            stopping: CancellationToken::new(),
            root: Mutex::new(Some((root.get_cell(), join))),
            node,
        };
        runtime.start_sessions();
        Ok(runtime)
    }

    /// Instances, for callers.
    pub fn instances(&self) -> Instances {
        Instances::new(InstancesParts {
            node: Arc::clone(&self.node),
            children: Arc::clone(&self.children),
        })
    }

    /// The live end of the event log.
    pub fn streams(&self) -> Streams {
        self.streams.clone()
    }

    /// The actors, for operators.
    pub fn introspection(&self) -> ActorIndex {
        self.node.index.clone()
    }

    /// Numbers of the start gate.
    pub fn gate(&self) -> GateView {
        self.node.gate.view()
    }

    /// Whether every instance that shall run was handed to its registry.
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire) && !self.stopping.is_cancelled()
    }

    /// Ends an actor in good order and starts it again.
    pub async fn restart_actor(&self, path: &str) -> Result<(), CallError> {
        self.operate(path, Operation::Restart).await
    }

    /// Ends an actor in good order. What its owner wants is not changed: the next start of the node, or
    /// the next call that needs it, starts it again.
    pub async fn stop_actor(&self, path: &str) -> Result<(), CallError> {
        self.operate(path, Operation::Stop).await
    }

    /// Lets an actor in quarantine start again.
    pub async fn clear_quarantine(&self, path: &str) -> Result<(), CallError> {
        self.operate(path, Operation::ClearQuarantine).await
    }

    async fn operate(&self, path: &str, operation: Operation) -> Result<(), CallError> {
        if self.node.index.get(path).is_none() {
            return Err(CallError::NotFound);
        }
        let key = path
            .split_once('/')
            .filter(|(kind, _)| *kind == InstanceKind::NAME);
        let key: InstanceId = key.and_then(|(_, key)| key.parse().ok()).ok_or_else(|| {
            let detail = "a part of the node itself cannot be restarted or stopped".to_owned();
            CallError::WrongMessage { detail }
        })?;
        let deadline = Instant::now() + self.node.settings.control_timeout;
        self.children.operate(key, operation, deadline).await
    }

    /// Breaks the registry of instances, as a fault would.
    #[cfg(test)]
    pub(crate) fn kill_registry(&self) {
        self.children.kill_registry();
    }

    /// Empties slots that are to be handed to another node: sessions close their links, and what does not
    /// end in time is killed. Nothing of these slots runs here any more when this is `true`.
    pub async fn hand_off(&self, slots: HashSet<Slot>) -> bool {
        let slots = Slots::These(slots);
        self.ask_to_stop(slots.clone(), Instant::now() + self.node.settings.stop_timeout)
            .await;
        self.kill(slots).await
    }

    /// Starts every instance that shall run and lives here.
    fn start_sessions(&self) {
        let (node, children) = (Arc::clone(&self.node), Arc::clone(&self.children));
        let (ready, stopping) = (Arc::clone(&self.ready), self.stopping.clone());
        self.node.tasks.spawn(async move {
            let started = start_running(&node, &children);
            tokio::select! {
                () = stopping.cancelled() => {}
                sessions = started => {
                    tracing::info!(sessions, "every running instance has its session");
                    ready.store(true, Ordering::Release);
                }
            }
        });
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
        self.children.close();
        self.node.gate.close();
        let total = self.children.count();
        self.stop_in_waves(deadline).await;
        let left = self.children.count();
        if left > 0 {
            tracing::warn!(sessions = left, "sessions did not end in time and are killed");
        }
        let mut complete = self.kill(Slots::All).await;
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
        StopReport {
            sessions_stopped: total.saturating_sub(left),
            sessions_killed: left,
            complete,
        }
    }

    async fn stop_in_waves(&self, deadline: Instant) {
        let keys = self.children.keys_in(&Slots::All);
        let mut waves: Vec<Slots> = Vec::new();
        for wave in keys.chunks(self.node.settings.stop_wave.max(1)) {
            waves.push(Slots::These(
                wave.iter().map(|&key| self.children.slot(key)).collect(),
            ));
        }
        for slots in waves {
            self.ask_to_stop(slots, deadline).await;
        }
    }

    async fn ask_to_stop(&self, slots: Slots, deadline: Instant) {
        let end = deadline.min(Instant::now() + self.node.settings.stop_session_timeout);
        match self.children.stop_slots(slots, false, end).await {
            // What does not end now is killed later.
            Ok(keys) => drop(timeout_at(end, self.children.gone(&keys)).await),
            Err(error) => tracing::warn!(%error, "sessions could not be asked to stop"),
        }
    }

    async fn kill(&self, slots: Slots) -> bool {
        let end = Instant::now() + self.node.settings.stop_session_timeout;
        match self.children.stop_slots(slots.clone(), true, end).await {
            Ok(keys) => timeout_at(end, self.children.gone(&keys)).await.is_ok(),
            Err(_) => self.children.keys_in(&slots).is_empty(),
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

fn tree(node: &Arc<NodeContext>, children: &Arc<Children<InstanceKind>>, streams: &Streams) -> Vec<Part> {
    let registry = {
        let (node, children) = (Arc::clone(node), Arc::clone(children));
        move |root: ActorCell| -> Spawning {
            let arguments = (Arc::clone(&node), Arc::clone(&children));
            Box::pin(async move {
                let (actor, join) = Registry::spawn_linked(None, Registry::new(), arguments, root).await?;
                Ok((actor.get_cell(), join))
            })
        }
    };
    let fan_out = {
        let (node, streams) = (Arc::clone(node), streams.clone());
        move |root: ActorCell| -> Spawning {
            let arguments = (Arc::clone(&node), streams.clone());
            Box::pin(async move {
                let (actor, join) = StreamsActor::spawn_linked(None, StreamsActor, arguments, root).await?;
                Ok((actor.get_cell(), join))
            })
        }
    };
    let housekeeper = {
        let node = Arc::clone(node);
        move |root: ActorCell| -> Spawning {
            let node = Arc::clone(&node);
            Box::pin(async move {
                let (actor, join) =
                    upkeep::UpkeepActor::spawn_linked(None, upkeep::UpkeepActor, node, root).await?;
                Ok((actor.get_cell(), join))
            })
        }
    };
    vec![
        Part {
            path: InstanceKind::REGISTRY,
            kind: "registry",
            spawn: Box::new(registry),
        },
        Part {
            path: stream::actor::PATH,
            kind: stream::actor::PATH,
            spawn: Box::new(fan_out),
        },
        Part {
            path: upkeep::PATH,
            kind: upkeep::PATH,
            spawn: Box::new(housekeeper),
        },
    ]
}

/// Hands every running instance that lives here to the registry; waits for the store as long as needed.
async fn start_running(node: &NodeContext, children: &Children<InstanceKind>) -> usize {
    let backoff = Backoff {
        first: node.settings.backoff_first,
        max: Duration::from_secs(10),
    };
    let (mut after, mut failures, mut started) = (None, 0, 0);
    loop {
        match node
            .store
            .running_instances(PageRequest::new(after, PAGE_ROWS_MAX))
            .await
        {
            Ok(page) => {
                failures = 0;
                let here = page
                    .rows
                    .iter()
                    .filter(|row| matches!(node.placement.place(row.slot()), Place::Here(_)));
                for row in here {
                    while !children.start(row.id, row.tenant_id) {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    started += 1;
                }
                if page.next.is_none() {
                    return started;
                }
                after = page.next;
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(%error, "running instances cannot be read yet; trying again");
                tokio::time::sleep(backoff.wait(failures, &*node.entropy)).await;
            }
        }
    }
}
