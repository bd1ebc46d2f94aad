//! The root of a node's actors: starts its parts, and starts one that broke again.

use std::pin::Pin;
use std::sync::Arc;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::NodeContext;
use crate::backoff::Backoff;
use crate::index::ActorMeta;

/// A part that was spawned.
pub(crate) type Spawning =
    Pin<Box<dyn Future<Output = Result<(ActorCell, JoinHandle<()>), SpawnErr>> + Send>>;

/// One part under the root.
pub(crate) struct Part {
    /// Its path in the index.
    pub path: &'static str,
    /// Its kind in the index.
    pub kind: &'static str,
    /// Spawns it, linked to the root.
    pub spawn: Box<dyn Fn(ActorCell) -> Spawning + Send + Sync>,
}

struct RunningPart {
    part: Part,
    meta: Arc<ActorMeta>,
    life: Option<(ActorCell, JoinHandle<()>)>,
    since: Instant,
    failures: u32,
}

/// Messages of the root.
pub(crate) enum NodeMessage {
    /// The part with this number has waited long enough.
    PartDue(usize),
}

impl ractor::Message for NodeMessage {}

/// See the module.
pub(crate) struct NodeActor;

/// The state of the root.
pub(crate) struct NodeState {
    node: Arc<NodeContext>,
    meta: Arc<ActorMeta>,
    parts: Vec<RunningPart>,
}

impl Actor for NodeActor {
    type Msg = NodeMessage;
    type State = NodeState;
    type Arguments = (Arc<NodeContext>, Vec<Part>);

    async fn pre_start(
        &self,
        myself: ActorRef<NodeMessage>,
        (node, parts): Self::Arguments,
    ) -> Result<NodeState, ActorProcessingErr> {
        let meta = node.index.open("node", "node", None);
        meta.started(myself.get_cell(), None, None);
        meta.enter("running");
        let mut running = Vec::with_capacity(parts.len());
        for part in parts {
            let meta = node.index.open(part.path, part.kind, None);
            let mut part = RunningPart {
                part,
                meta,
                life: None,
                since: Instant::now(),
                failures: 0,
            };
            part.start(myself.get_cell()).await?;
            running.push(part);
        }
        Ok(NodeState {
            node,
            meta,
            parts: running,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<NodeMessage>,
        message: NodeMessage,
        state: &mut NodeState,
    ) -> Result<(), ActorProcessingErr> {
        state.meta.handling("part_due");
        let NodeMessage::PartDue(number) = message;
        let Some(part) = state.parts.get_mut(number) else {
            return Ok(());
        };
        if let Err(error) = part.start(myself.get_cell()).await {
            tracing::error!(actor = part.part.path, %error, "a part of the node could not be started again");
            state.part_ended(number, &error.to_string(), myself);
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<NodeMessage>,
        event: SupervisionEvent,
        state: &mut NodeState,
    ) -> Result<(), ActorProcessingErr> {
        let (cell, text) = match event {
            SupervisionEvent::ActorTerminated(cell, _, reason) => {
                (cell, reason.unwrap_or_else(|| "stopped".to_owned()))
            }
            SupervisionEvent::ActorFailed(cell, error) => (cell, error.to_string()),
            _ => return Ok(()),
        };
        let is_it = |part: &RunningPart| {
            part.life
                .as_ref()
                .is_some_and(|(running, _)| running.get_id() == cell.get_id())
        };
        if let Some(number) = state.parts.iter().position(is_it) {
            state.part_ended(number, &text, myself);
        }
        Ok(())
    }
}

impl RunningPart {
    async fn start(&mut self, root: ActorCell) -> Result<(), ActorProcessingErr> {
        let (cell, join) = (self.part.spawn)(root).await?;
        self.meta.started(cell.clone(), None, None);
        (self.life, self.since) = (Some((cell, join)), Instant::now());
        Ok(())
    }
}

impl NodeState {
    fn part_ended(&mut self, number: usize, text: &str, myself: ActorRef<NodeMessage>) {
        let Some(part) = self.parts.get_mut(number) else {
            return;
        };
        let join = part.life.take().map(|(_, join)| join);
        if self.node.stopping.is_cancelled() {
            return;
        }
        let settings = &self.node.settings;
        if part.since.elapsed() >= settings.backoff_reset_after {
            part.failures = 0;
        }
        part.failures = part.failures.saturating_add(1);
        let backoff = Backoff {
            first: settings.backoff_first,
            max: settings.backoff_max,
        };
        let wait = backoff.wait(part.failures, &*self.node.entropy);
        tracing::error!(
            actor = part.part.path,
            error = text,
            "a part of the node ended and is started again"
        );
        part.meta.stopped("backing_off");
        part.meta.failed("panic", text.to_owned());
        part.meta
            .retries_at(Some(self.node.clock.now().plus(wait)), false);
        let stopping = self.node.stopping.clone();
        self.node.tasks.spawn(async move {
            if let Some(join) = join {
                // However it ended, its state is dropped now.
                let _ = join.await;
            }
            tokio::select! {
                () = stopping.cancelled() => {}
                () = tokio::time::sleep(wait) => drop(myself.cast(NodeMessage::PartDue(number))),
            }
        });
    }
}
