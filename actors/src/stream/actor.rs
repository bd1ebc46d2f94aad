//! The actor that stands for the streams among the others: it gives memory back that nobody needs.

use std::time::Duration;

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio_util::task::AbortOnDropHandle;

use super::Streams;
use crate::index::ActorMeta;
use crate::node::NodeContext;

/// Path of the actor.
pub(crate) const PATH: &str = "streams";

/// How often it looks.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What it is told.
pub(crate) enum StreamsMessage {
    SweepDue,
}

impl ractor::Message for StreamsMessage {}

/// See the module.
pub(crate) struct StreamsActor;

/// The state of the actor.
pub(crate) struct StreamsState {
    streams: Streams,
    meta: Arc<ActorMeta>,
    _ticker: AbortOnDropHandle<()>,
}

impl Actor for StreamsActor {
    type Msg = StreamsMessage;
    type State = StreamsState;
    type Arguments = (Arc<NodeContext>, Streams);

    async fn pre_start(
        &self,
        myself: ActorRef<StreamsMessage>,
        (node, streams): Self::Arguments,
    ) -> Result<StreamsState, ActorProcessingErr> {
        let meta = node.index.open(PATH, PATH, None);
        meta.enter("running");
        let ticker = tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                if myself.cast(StreamsMessage::SweepDue).is_err() {
                    return;
                }
            }
        });
        Ok(StreamsState {
            streams,
            meta,
            _ticker: AbortOnDropHandle::new(ticker),
        })
    }

    async fn handle(
        &self,
        _: ActorRef<StreamsMessage>,
        message: StreamsMessage,
        state: &mut StreamsState,
    ) -> Result<(), ActorProcessingErr> {
        let StreamsMessage::SweepDue = message;
        state.meta.handling("sweep_due");
        state.streams.sweep();
        Ok(())
    }
}
