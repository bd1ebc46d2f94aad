//! How the registry of instances starts and stops sessions.

use std::sync::Arc;

use ractor::{Actor, ActorCell, SpawnErr};
use roost_domain::slot::Slot;
use roost_domain::{InstanceId, Owner, TenantId};

use super::actor::{SessionActor, SessionArguments};
use super::message::SessionMessage;
use crate::node::NodeContext;
use crate::permit::Permits;
use crate::post::Post;
use crate::registry::{Child, Kind, Start};

/// The kind of actor that runs an instance.
pub(crate) struct InstanceKind {
    pub node: Arc<NodeContext>,
}

/// What callers need of a live session.
#[derive(Clone)]
pub(crate) struct SessionHandle {
    pub tenant: TenantId,
    pub permits: Arc<Permits>,
    pub post: Post<SessionMessage>,
}

impl Kind for InstanceKind {
    const NAME: &'static str = "instance";
    const REGISTRY: &'static str = "instances";
    type Key = InstanceId;
    type Seed = TenantId;
    type Handle = SessionHandle;

    fn slot(&self, key: InstanceId) -> Slot {
        Slot::of(key)
    }

    async fn spawn(
        &self,
        start: Start<InstanceId, TenantId>,
        supervisor: ActorCell,
    ) -> Result<Child<SessionHandle>, SpawnErr> {
        let Start {
            key,
            seed: tenant,
            epoch,
            meta,
        } = start;
        let settings = &self.node.settings;
        let permits = Arc::new(Permits::new(
            settings.send_permits,
            settings.query_permits,
            settings.control_permits,
        ));
        let arguments = SessionArguments {
            node: Arc::clone(&self.node),
            owner: Owner {
                tenant,
                instance: key,
                epoch,
            },
            permits: Arc::clone(&permits),
            meta: Arc::clone(&meta),
        };
        let (actor, join) = SessionActor::spawn_linked(None, SessionActor, arguments, supervisor).await?;
        let cell = actor.get_cell();
        meta.started(cell.clone(), Some(epoch), Some(Arc::clone(&permits)));
        let handle = SessionHandle {
            tenant,
            permits,
            post: Post::new(actor, meta),
        };
        Ok(Child { handle, cell, join })
    }

    fn ask_to_stop(&self, handle: &SessionHandle) {
        handle.permits.retire();
        // One that is gone has stopped.
        let _ = handle.post.cast(SessionMessage::Shutdown);
    }
}
