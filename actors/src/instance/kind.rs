//! How the registry of instances starts and stops sessions.

use std::sync::Arc;

use ractor::{Actor, ActorCell, SpawnErr};
use roost_domain::instance::{AccountChange, DesiredState, InstanceState, StateChange};
use roost_domain::page::{PAGE_ROWS_MAX, Page, PageRequest};
use roost_domain::slot::Slot;
use roost_domain::{Epoch, InstanceId, Owner, TenantId};
use tokio::time::timeout;

use super::actor::{SessionActor, SessionArguments};
use super::message::SessionMessage;
use crate::line::Line;
use crate::node::NodeContext;
use crate::permit::Permits;
use crate::persist::Persist;
use crate::post::Post;
use crate::registry::{Child, EnabledPage, Kind, Start};
use crate::rest::Rest;

/// Reason of the step that an operator makes.
const STOPPED: &str = "stopped by the operator of the gateway; connect starts it again";
/// Reason of the step that the suspension of a tenant makes.
const SUSPENDED: &str = "the tenant is suspended by the operator of the gateway";

/// The kind of actor that runs an instance.
pub(crate) struct InstanceKind {
    pub node: Arc<NodeContext>,
}

/// What callers need of a live session.
#[derive(Clone)]
pub(crate) struct SessionHandle {
    pub tenant: TenantId,
    pub line: Line<SessionMessage>,
}

impl Kind for InstanceKind {
    const NAME: &'static str = "instance";
    const REGISTRY: &'static str = "instances";
    type Key = InstanceId;
    type Seed = TenantId;
    type Handle = SessionHandle;

    fn slot(&self, key: InstanceId) -> Option<Slot> {
        Some(Slot::of(key))
    }

    fn tenant(seed: &TenantId) -> Option<TenantId> {
        Some(*seed)
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
            line: Line::new(Self::NAME, permits, Post::new(actor, meta)),
        };
        Ok(Child { handle, cell, join })
    }

    fn ask_to_stop(&self, handle: &SessionHandle, succeeded: bool) {
        handle.line.permits.retire();
        // One that is gone has stopped.
        let _ = handle.line.post.cast(SessionMessage::Shutdown { succeeded });
    }

    async fn enabled(&self, slots: &[Slot], after: Option<InstanceId>) -> EnabledPage<InstanceId, TenantId> {
        let page = PageRequest::new(after, PAGE_ROWS_MAX);
        let page = self.node.store.running_instances(slots, page).await?;
        let rows = page.rows.iter().map(|row| (row.id, row.tenant_id));
        Ok(Page {
            rows: rows.collect(),
            next: page.next,
        })
    }

    async fn stopped(&self, key: InstanceId, tenant: TenantId, epoch: Epoch) {
        let owner = Owner {
            tenant,
            instance: key,
            epoch,
        };
        let reason = match self.node.resting.get(tenant) {
            None => STOPPED,
            Some(Rest::Suspended) => SUSPENDED,
            // Its rows are on their way out.
            Some(Rest::Deleted) => return,
        };
        let at = self.node.clock.now();
        let persist = Persist::new(Arc::clone(&self.node), owner);
        let noted = persist.until_done(|store, owner| async move {
            // A session that failed may not have come to take ownership.
            let row = store.activate(owner).await?;
            let lives = matches!(
                row.state,
                InstanceState::Connecting
                    | InstanceState::Pairing
                    | InstanceState::Connected
                    | InstanceState::Reconnecting
            );
            if !lives || row.desired_state != DesiredState::Running {
                return Ok(());
            }
            let change = StateChange {
                state: InstanceState::Disconnected,
                reason: Some(reason.to_owned()),
                desired: None,
                account: AccountChange::Keep,
                at,
            };
            store.change_state(owner, change).await.map(drop)
        });
        if timeout(self.node.settings.control_timeout, noted).await.is_err() {
            tracing::warn!(instance.id = %key, "the state of a session that an operator stopped could not be written");
        }
    }
}
