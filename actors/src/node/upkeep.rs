//! The housekeeper of a node: expires overdue messages of sessions that do not run, and sweeps out what
//! has had its time. One step of each at a time; a failed one is tried again at the next turn.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::task::JoinSet;

use super::NodeContext;
use crate::index::ActorMeta;

/// Path of the housekeeper.
pub(crate) const PATH: &str = "upkeep";

/// What it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpkeepMessage {
    ExpireDue,
    SweepDue,
}

impl ractor::Message for UpkeepMessage {}

/// See the module.
pub(crate) struct UpkeepActor;

/// The state of the housekeeper.
pub(crate) struct UpkeepState {
    node: Arc<NodeContext>,
    meta: Arc<ActorMeta>,
    tasks: JoinSet<()>,
}

impl Actor for UpkeepActor {
    type Msg = UpkeepMessage;
    type State = UpkeepState;
    type Arguments = Arc<NodeContext>;

    async fn pre_start(
        &self,
        myself: ActorRef<UpkeepMessage>,
        node: Arc<NodeContext>,
    ) -> Result<UpkeepState, ActorProcessingErr> {
        let meta = node.index.open(PATH, PATH, None);
        meta.enter("running");
        let mut state = UpkeepState {
            node,
            meta,
            tasks: JoinSet::new(),
        };
        state.again(UpkeepMessage::ExpireDue, &myself);
        state.again(UpkeepMessage::SweepDue, &myself);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<UpkeepMessage>,
        message: UpkeepMessage,
        state: &mut UpkeepState,
    ) -> Result<(), ActorProcessingErr> {
        while state.tasks.try_join_next().is_some() {}
        match message {
            UpkeepMessage::ExpireDue => state.meta.handling("expire_due"),
            UpkeepMessage::SweepDue => state.meta.handling("sweep_due"),
        }
        let node = Arc::clone(&state.node);
        let wait = state.every(message);
        state.tasks.spawn(async move {
            if node.placement.holds_lease() {
                step(&node, message).await;
            }
            tokio::time::sleep(wait).await;
            // The node may be gone by now.
            let _ = myself.cast(message);
        });
        Ok(())
    }
}

impl UpkeepState {
    fn every(&self, message: UpkeepMessage) -> Duration {
        match message {
            UpkeepMessage::ExpireDue => self.node.settings.expire_every,
            UpkeepMessage::SweepDue => self.node.settings.sweep_every,
        }
    }

    fn again(&mut self, message: UpkeepMessage, myself: &ActorRef<UpkeepMessage>) {
        let (wait, myself) = (self.every(message), myself.clone());
        self.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            let _ = myself.cast(message);
        });
    }
}

async fn step(node: &NodeContext, message: UpkeepMessage) {
    let (now, settings) = (node.clock.now(), &node.settings);
    match message {
        UpkeepMessage::ExpireDue => loop {
            match node.store.expire_due(now, settings.expire_batch).await {
                Ok(expired) => {
                    if expired > 0 {
                        tracing::info!(messages = expired, "overdue messages were expired");
                    }
                    if expired < u64::from(settings.expire_batch) {
                        return;
                    }
                }
                Err(error) => return tracing::warn!(%error, "overdue messages could not be expired"),
            }
        },
        UpkeepMessage::SweepDue => match node.store.sweep(now, settings.retention).await {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "old rows were swept out"),
            Err(error) => tracing::warn!(%error, "old rows could not be swept out"),
        },
    }
}
