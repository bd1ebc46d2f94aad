//! The root of a link's actors: starts the door and the gateway again when they end.
//!
//! Links do not survive either of them: peers know the gateway by its number, and the door's sessions
//! end with it.

use std::sync::Arc;

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::door::Door;
use crate::gateway::{self, Gateway};
use crate::greeting;
use crate::shared::Shared;

/// The root is told nothing.
pub(crate) enum RootMessage {}

impl ractor::Message for RootMessage {}

pub(crate) struct Root {
    pub shared: Arc<Shared>,
}

pub(crate) struct RootState {
    door: ActorId,
    gateway: ActorId,
}

impl Root {
    async fn open_door(&self, myself: &ActorRef<RootMessage>) -> Result<ActorId, ActorProcessingErr> {
        let config = &self.shared.config;
        let door = Door {
            node: config.node.clone(),
            cookie: greeting::inner_cookie(&config.cookie),
            frame_bytes_max: config.limits.frame_bytes_max(),
            openings: self.shared.openings.clone(),
        };
        let (door, _) = Actor::spawn_linked(None, door, (), myself.get_cell()).await?;
        let id = door.get_id();
        self.shared.set_door(door);
        Ok(id)
    }

    async fn start_gateway(&self, myself: &ActorRef<RootMessage>) -> Result<ActorId, ActorProcessingErr> {
        let gateway = Gateway {
            shared: Arc::clone(&self.shared),
        };
        let name = gateway::name(&self.shared.config.node);
        let (gateway, _) = Actor::spawn_linked(Some(name), gateway, (), myself.get_cell()).await?;
        Ok(gateway.get_id())
    }

    async fn ended(
        &self,
        myself: &ActorRef<RootMessage>,
        actor: ActorId,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        if self.shared.stop.is_cancelled() {
            return Ok(());
        }
        tracing::error!("an actor of the cluster link has ended; it is started again");
        if actor == state.door {
            state.door = self.open_door(myself).await?;
        } else if actor == state.gateway {
            state.gateway = self.start_gateway(myself).await?;
        }
        self.shared.cut_links();
        Ok(())
    }
}

impl Actor for Root {
    type Msg = RootMessage;
    type State = RootState;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<RootMessage>,
        (): (),
    ) -> Result<RootState, ActorProcessingErr> {
        Ok(RootState {
            gateway: self.start_gateway(&myself).await?,
            door: self.open_door(&myself).await?,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<RootMessage>,
        message: RootMessage,
        _: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        match message {}
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RootMessage>,
        event: SupervisionEvent,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(actor, ..) | SupervisionEvent::ActorFailed(actor, _) => {
                self.ended(&myself, actor.get_id(), state).await
            }
            _ => Ok(()),
        }
    }
}
