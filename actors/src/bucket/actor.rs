//! The shell: answers what the lease does not cover, and leaves memory when nobody needs it.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use roost_domain::limit::Taken;

use super::BucketNode;
use super::cell::BucketCell;
use super::machine::Terms;
use super::message::BucketMessage;
use crate::index::ActorMeta;

/// The owner of one bucket.
pub(super) struct BucketActor;

/// What it works with.
pub(super) struct BucketState {
    pub shared: Arc<BucketNode>,
    pub cell: Arc<BucketCell>,
    pub meta: Arc<ActorMeta>,
}

impl Actor for BucketActor {
    type Msg = BucketMessage;
    type State = BucketState;
    type Arguments = BucketState;

    async fn pre_start(
        &self,
        _: ActorRef<BucketMessage>,
        state: BucketState,
    ) -> Result<BucketState, ActorProcessingErr> {
        state.meta.enter("granting");
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<BucketMessage>,
        message: BucketMessage,
        state: &mut BucketState,
    ) -> Result<(), ActorProcessingErr> {
        state.meta.handling(message.name());
        let settings = &state.shared.settings;
        match message {
            BucketMessage::Take(call) => {
                let terms = Terms {
                    lease_max: settings.lease_max,
                    lease_life: settings.lease_life,
                };
                let taken = state.cell.serve(call.quota, call.count, &terms);
                state.meta.enter(match taken {
                    Taken::Granted(_) => "granting",
                    Taken::Refused { .. } => "refusing",
                });
                // The next caller finds the new lease.
                drop(call.turn);
                // One that no longer waits was let through: it counts all the same.
                let _ = call.reply.send(taken);
            }
            BucketMessage::Shutdown => {
                state.cell.retire();
                myself.stop(None);
            }
            BucketMessage::IdleDue(_turn) => {
                if state.cell.retire_if_idle(settings.passivate_after) {
                    myself.stop(None);
                }
            }
        }
        Ok(())
    }
}
