//! A node of a cluster under test: a real runtime on the store and the engine that all of them share, over
//! rows and a network in memory.

use std::sync::Arc;
use std::time::Duration;

use roost_domain::slot::{Place, Placement as _, Slot};

use super::{TestMembership, TestNet, card, name};
use crate::cluster::{BootTime, ClusterParts, ClusterPlacement, ClusterSettings, HeldLease, rendezvous};
use crate::testing::{TestNode, eventually};
use crate::{Instances, Runtime};

pub struct Node {
    pub runtime: Runtime,
    pub placement: Arc<ClusterPlacement>,
    pub lease: Arc<HeldLease>,
}

/// Slots move soon, and in several waves.
pub fn settings() -> ClusterSettings {
    let millis = Duration::from_millis;
    ClusterSettings {
        ttl: millis(3_000),
        tick: millis(50),
        pause: millis(5),
        stable_for: millis(100),
        moves_max: 100,
        ..ClusterSettings::default()
    }
}

impl Node {
    pub async fn start(world: &TestNode, rows: &Arc<TestMembership>, net: &TestNet, node: &str) -> Self {
        let lease = Arc::new(HeldLease::new(Arc::new(BootTime)));
        let placement = Arc::new(ClusterPlacement::new(name(node), Arc::clone(&lease) as _));
        let cluster = ClusterParts {
            card: card(node, node),
            membership: Arc::clone(rows) as _,
            lease_rows: Arc::clone(rows) as _,
            lease: Arc::clone(&lease),
            placement: Arc::clone(&placement),
            port: net.port(name(node)),
            settings: settings(),
        };
        Self {
            runtime: world.in_cluster(cluster).await,
            placement,
            lease,
        }
    }

    pub async fn stop(self) {
        assert!(self.runtime.stop().await.complete);
    }

    pub fn instances(&self) -> Instances {
        self.runtime.instances()
    }

    pub fn owns(&self, slot: Slot) -> bool {
        matches!(self.placement.place(slot), Place::Here(_))
    }

    pub fn runs(&self, kind: &str, key: impl std::fmt::Display) -> bool {
        let path = format!("{kind}/{key}");
        self.runtime.introspection().get(&path).is_some()
    }
}

/// Waits until these own every slot, each its share, and all of them know.
pub async fn settled(nodes: &[&Node]) {
    let names: Vec<_> = nodes.iter().map(|node| name(node.placement.node())).collect();
    let names: Vec<_> = names.iter().collect();
    eventually("every slot is at its own node, and all know", async || {
        let right = |node: &&Node, slot| {
            let owner = rendezvous(slot, &names).unwrap();
            match node.placement.place(slot) {
                Place::Here(_) => owner.as_str() == node.placement.node(),
                Place::Node(other) => other == *owner,
                Place::Nowhere { .. } => false,
            }
        };
        let all = |node: &&Node| Slot::all().all(|slot| right(node, slot));
        nodes.iter().all(all).then_some(())
    })
    .await;
}
