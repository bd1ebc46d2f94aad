//! The housekeeper of a node: expires overdue messages of sessions that do not run, sweeps out what has
//! had its time, looks after buckets and writes for how long instances were connected. One step of each at
//! a time; a failed one is tried again at the next turn. What is for all tenants, one node of a cluster does:
//! the owner of one slot. Two that do it for a moment remove the same rows, which does no harm.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use roost_domain::slot::Slot;
use tokio::task::JoinSet;

use super::NodeContext;
use crate::bucket::Buckets;
use crate::index::ActorMeta;

/// Path of the housekeeper.
pub(crate) const PATH: &str = "upkeep";

/// What it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::enum_variant_names, reason = "messages of timers end so")]
pub(crate) enum UpkeepMessage {
    ExpireDue,
    SweepDue,
    BucketsDue,
    UsageDue,
}

impl ractor::Message for UpkeepMessage {}

impl UpkeepMessage {
    const ALL: [Self; 4] = [Self::ExpireDue, Self::SweepDue, Self::BucketsDue, Self::UsageDue];

    /// Whether it is done once for all nodes.
    fn is_for_all(self) -> bool {
        match self {
            Self::ExpireDue | Self::SweepDue => true,
            Self::BucketsDue | Self::UsageDue => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::ExpireDue => "expire_due",
            Self::SweepDue => "sweep_due",
            Self::BucketsDue => "buckets_due",
            Self::UsageDue => "usage_due",
        }
    }
}

/// See the module.
pub(crate) struct UpkeepActor;

/// The state of the housekeeper.
pub(crate) struct UpkeepState {
    node: Arc<NodeContext>,
    buckets: Buckets,
    meta: Arc<ActorMeta>,
    tasks: JoinSet<()>,
}

impl Actor for UpkeepActor {
    type Msg = UpkeepMessage;
    type State = UpkeepState;
    type Arguments = (Arc<NodeContext>, Buckets);

    async fn pre_start(
        &self,
        myself: ActorRef<UpkeepMessage>,
        (node, buckets): Self::Arguments,
    ) -> Result<UpkeepState, ActorProcessingErr> {
        let meta = node.index.open(PATH, PATH, None);
        meta.enter("running");
        let mut state = UpkeepState {
            node,
            buckets,
            meta,
            tasks: JoinSet::new(),
        };
        for message in UpkeepMessage::ALL {
            state.again(message, &myself);
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<UpkeepMessage>,
        message: UpkeepMessage,
        state: &mut UpkeepState,
    ) -> Result<(), ActorProcessingErr> {
        while state.tasks.try_join_next().is_some() {}
        state.meta.handling(message.name());
        let (node, buckets) = (Arc::clone(&state.node), state.buckets.clone());
        let wait = state.every(message);
        state.tasks.spawn(async move {
            if node.placement.holds_lease() && (!message.is_for_all() || node.is_in_charge(Slot::OF_ALL)) {
                step(&node, &buckets, message).await;
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
            UpkeepMessage::BucketsDue => self.node.settings.buckets.sweep_every,
            UpkeepMessage::UsageDue => self.node.settings.connected_time_every,
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

async fn step(node: &Arc<NodeContext>, buckets: &Buckets, message: UpkeepMessage) {
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
        UpkeepMessage::BucketsDue => buckets.sweep().await,
        UpkeepMessage::UsageDue => {
            let (writer, log) = (Arc::clone(&node.connected), Arc::clone(&node.store));
            // It goes on to its end when the housekeeper ends.
            let writing = node.tasks.spawn(async move { writer.write(&*log).await });
            if writing.await.is_err() {
                tracing::error!("the time that instances were connected could not be written");
            }
        }
    }
}
