//! The gateway: the one actor of a node that others can reach.
//!
//! Every actor that can be reached from outside is mirrored on every peer; so there is one, and what it
//! gets says where it goes. It never waits in a handler: a call is a task. When it ends, the links are
//! cut, since peers know it by its number.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use ractor_cluster::RactorClusterMessage;
use roost_domain::cluster::NodeName;

use crate::shared::Shared;

/// Group in which nodes find each other's gateways.
pub(crate) const GROUP: &str = "roost.gateway";

/// What a gateway is sent. The variants' names are spoken between releases.
#[derive(RactorClusterMessage)]
pub(crate) enum GatewayMessage {
    /// A call; the answer is its frame.
    #[rpc]
    Invoke(Vec<u8>, RpcReplyPort<Vec<u8>>),
    /// A batch of notes; answered when they were passed on.
    #[rpc]
    Tell(Vec<u8>, RpcReplyPort<Vec<u8>>),
    /// Answered as it came.
    #[rpc]
    Ping(Vec<u8>, RpcReplyPort<Vec<u8>>),
}

/// Name of a node's gateway.
pub(crate) fn name(node: &NodeName) -> String {
    format!("gateway@{node}")
}

/// The gateway at the other end of a link.
pub(crate) fn find(session: u64, node: &NodeName) -> Option<ActorRef<GatewayMessage>> {
    let name = name(node);
    ractor::pg::get_members(&GROUP.to_owned())
        .into_iter()
        .find(|cell| {
            matches!(cell.get_id(), ractor::ActorId::Remote { node_id, .. } if node_id == session)
                && cell.get_name().as_deref() == Some(&name)
        })
        .map(ActorRef::from)
}

/// The actor.
pub(crate) struct Gateway {
    pub shared: Arc<Shared>,
}

impl Actor for Gateway {
    type Msg = GatewayMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<GatewayMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        ractor::pg::join(GROUP.to_owned(), vec![myself.get_cell()]);
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<GatewayMessage>,
        message: GatewayMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            GatewayMessage::Invoke(call, reply) => self.shared.serve(call, reply),
            GatewayMessage::Tell(notes, reply) => self.shared.told(notes, reply),
            GatewayMessage::Ping(ping, reply) => {
                let _ = reply.send(ping);
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<GatewayMessage>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}
