//! A runtime's place in a cluster: the keeper of its lease and the stewardship of its slots.

use std::sync::Arc;
use std::time::Duration;

use ractor::ActorCell;
use roost_domain::cluster::{Membership, NodeCard};
use roost_domain::peer::{Mesh, MeshPort};
use tokio::sync::{Notify, watch};

use super::keeper::{JoinError, Keeper, KeeperParts, Life};
use super::numbers::{ClusterNumbers, Notebook};
use super::route::Routes;
use super::steward::{self, Outlook, StewardActor, Stewardship};
use super::{ClusterPlacement, ClusterSettings, Exchange, HeldLease};
use crate::node::actor::{Part, Spawning};
use crate::residents::Residents;

/// What makes a node one of a cluster.
pub struct ClusterParts {
    /// What it says of itself.
    pub card: NodeCard,
    /// The rows, for the steward.
    pub membership: Arc<dyn Membership>,
    /// The same rows over connections of their own, for the keeper: it uses them on its own runtime.
    pub lease_rows: Arc<dyn Membership>,
    /// The lease; the store's guard asks the same one.
    pub lease: Arc<HeldLease>,
    /// The placement over that lease; the runtime's other parts ask the same one.
    pub placement: Arc<ClusterPlacement>,
    /// Where other nodes reach this one, as the card says.
    pub port: Box<dyn MeshPort>,
    /// Limits and times.
    pub settings: ClusterSettings,
}

/// See the module.
pub(crate) struct Joined {
    keeper: Keeper,
    lease: Arc<HeldLease>,
    mesh: Arc<dyn Mesh>,
    notebook: Arc<Notebook>,
    stewardship: Arc<Stewardship>,
}

/// Everything that this node does under its lease.
struct Everything {
    placement: Arc<ClusterPlacement>,
    residents: Arc<Residents>,
    notebook: Arc<Notebook>,
}

impl Life for Everything {
    fn lost(&self) {
        self.notebook.lost();
    }

    fn kill(&self) {
        self.placement.end();
        self.residents.kill();
    }

    fn gone(&self) -> bool {
        self.residents.none_runs()
    }
}

impl Joined {
    /// Registers the node and opens its port. It takes slots as soon as [`Self::part`] runs.
    pub async fn join(
        parts: ClusterParts,
        residents: &Arc<Residents>,
        exchange: Exchange,
    ) -> Result<Self, JoinError> {
        let ClusterParts {
            card,
            membership,
            lease_rows,
            lease,
            placement,
            port,
            settings,
        } = parts;
        let notebook = Arc::new(Notebook::new());
        let life = Everything {
            notebook: Arc::clone(&notebook),
            placement: Arc::clone(&placement),
            residents: Arc::clone(residents),
        };
        let keeper = Keeper::start(KeeperParts {
            membership: lease_rows,
            card,
            settings,
            lease: Arc::clone(&lease),
            life: Arc::new(life),
        })
        .await?;
        let mut standing = keeper.standing();
        let incarnation = match standing.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(member)) => member.incarnation,
            _ => return Err(JoinError::Ended),
        };
        let mesh = port.open(incarnation, Arc::new(exchange)).await?;
        let hint = Arc::new(Notify::new());
        residents.node.link(Routes::new(
            Arc::clone(&mesh) as _,
            Arc::clone(&placement),
            Arc::clone(&hint),
            settings.hold,
        ));
        let stewardship = Arc::new(Stewardship {
            membership,
            mesh: Arc::clone(&mesh),
            notebook: Arc::clone(&notebook),
            placement,
            residents: Arc::clone(residents),
            settings,
            standing: keeper.standing(),
            hint,
            outlook: watch::Sender::new(Outlook::default()),
        });
        Ok(Self {
            keeper,
            lease,
            mesh,
            notebook,
            stewardship,
        })
    }

    /// How this node stands.
    pub fn numbers(&self) -> ClusterNumbers {
        let slots = self.stewardship.placement.owned().len();
        let peers = self.mesh.peers();
        let links = peers.iter().filter(|peer| peer.connected).count();
        self.notebook.numbers(self.lease.left(), slots, links)
    }

    /// The steward, as a part of the node.
    pub fn part(&self) -> Part {
        let stewardship = Arc::clone(&self.stewardship);
        let spawn = move |root: ActorCell| -> Spawning {
            let stewardship = Arc::clone(&stewardship);
            Box::pin(async move {
                let spawned = ractor::Actor::spawn_linked(None, StewardActor, stewardship, root);
                let (actor, join): (ractor::ActorRef<_>, _) = spawned.await?;
                Ok((actor.get_cell(), join))
            })
        };
        Part {
            path: steward::PATH,
            kind: steward::PATH,
            spawn: Box::new(spawn),
        }
    }

    /// The rows, and what this node makes of them.
    pub fn stewardship(&self) -> &Arc<Stewardship> {
        &self.stewardship
    }

    /// Waits until this node has taken what is its own.
    pub fn settled(&self) -> impl Future<Output = bool> + Send + 'static {
        let mut outlook = self.stewardship.outlook.subscribe();
        async move { outlook.wait_for(|outlook| outlook.settled).await.is_ok() }
    }

    /// Gives every slot away, in good order and within a time.
    pub async fn drain(&self, wait: Duration) {
        if !self.stewardship.drain(wait).await {
            tracing::warn!(
                "not every slot was given away in time; the rest are free when this node has left"
            );
        }
    }

    /// Speaks to no other node any more.
    pub async fn hang_up(&self) {
        self.mesh.stop().await;
    }

    /// Signs off, when nothing runs any more.
    pub async fn leave(&self) {
        self.keeper.leave().await;
    }
}
