//! The actor that stands for the streams among the others: it gives memory back that nobody needs, and in a
//! cluster brings what other nodes commit.

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
    /// The task that takes in other nodes' events has ended.
    TakingInEnded,
}

impl ractor::Message for StreamsMessage {}

/// See the module.
pub(crate) struct StreamsActor;

/// The state of the actor.
pub(crate) struct StreamsState {
    streams: Streams,
    meta: Arc<ActorMeta>,
    _ticker: AbortOnDropHandle<()>,
    _taking_in: Option<AbortOnDropHandle<()>>,
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
        let taking_in = node.peers().map(|peers| {
            streams.link(Arc::clone(peers));
            take_in(&streams, node.settings.peers_poll, myself.clone())
        });
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
            _taking_in: taking_in,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<StreamsMessage>,
        message: StreamsMessage,
        state: &mut StreamsState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            StreamsMessage::SweepDue => {
                state.meta.handling("sweep_due");
                state.streams.sweep();
                Ok(())
            }
            StreamsMessage::TakingInEnded => {
                state.meta.handling("taking_in_ended");
                Err("what takes in other nodes' events broke".into())
            }
        }
    }
}

/// Takes in what other nodes commit, on notes and by looking.
fn take_in(streams: &Streams, every: Duration, myself: ActorRef<StreamsMessage>) -> AbortOnDropHandle<()> {
    let notes = AbortOnDropHandle::new(tokio::spawn(streams.clone().take_in()));
    let looks = AbortOnDropHandle::new(tokio::spawn(streams.clone().look(every)));
    AbortOnDropHandle::new(tokio::spawn(async move {
        // Neither ends but by breaking.
        tokio::select! {
            _ = notes => {}
            _ = looks => {}
        }
        let _ = myself.cast(StreamsMessage::TakingInEnded);
    }))
}
