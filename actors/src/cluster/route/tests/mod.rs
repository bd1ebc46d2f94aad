//! Calls between nodes of one process: the real runtimes and store, over a network in memory.

mod bucket;
mod fault;
mod instance;
mod rest;
mod same;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use roost_domain::instance::{Instance, InstanceState};
use roost_domain::message::{Content, Message};
use roost_domain::slot::{Place, Placement as _, Slot};
use roost_domain::store::{Outcome, Stamp};
use roost_domain::{InstanceId, TenantId};

use crate::cluster::testing::{TestMembership, TestNet, card, name};
use crate::cluster::{BootTime, ClusterParts, ClusterPlacement, ClusterSettings, HeldLease};
use crate::instance::{CreateInstance, SendRequest};
use crate::testing::{TestNode, eventually, quick};
use crate::{CallError, Instances, Runtime, Settings};

/// A node of the cluster under test.
struct Node {
    runtime: Runtime,
    placement: Arc<ClusterPlacement>,
    lease: Arc<HeldLease>,
}

/// Several nodes over one store, one engine and the same rows.
struct Stage {
    world: TestNode,
    rows: Arc<TestMembership>,
    net: TestNet,
}

fn settings() -> ClusterSettings {
    let millis = Duration::from_millis;
    ClusterSettings {
        ttl: millis(3_000),
        tick: millis(50),
        pause: millis(5),
        stable_for: millis(100),
        moves_max: 200,
        ..ClusterSettings::default()
    }
}

impl Stage {
    async fn new(settings: Settings) -> Self {
        let world = TestNode::start(settings).await;
        world.stop().await;
        Self {
            world,
            rows: Arc::new(TestMembership::new()),
            net: TestNet::default(),
        }
    }

    async fn node(&self, node: &str, settings: ClusterSettings) -> Node {
        let lease = Arc::new(HeldLease::new(Arc::new(BootTime)));
        let placement = Arc::new(ClusterPlacement::new(name(node), Arc::clone(&lease) as _));
        let cluster = ClusterParts {
            card: card(node, node),
            membership: Arc::clone(&self.rows) as _,
            lease_rows: Arc::clone(&self.rows) as _,
            lease: Arc::clone(&lease),
            placement: Arc::clone(&placement),
            port: self.net.port(name(node)),
            settings,
        };
        let runtime = self.world.in_cluster(cluster).await;
        Node {
            runtime,
            placement,
            lease,
        }
    }

    /// Nodes that know of each other, each with its share.
    async fn nodes<const N: usize>(names: [&str; N]) -> (Self, [Node; N]) {
        Self::with(quick(), names).await
    }

    async fn with<const N: usize>(limits: Settings, names: [&str; N]) -> (Self, [Node; N]) {
        let stage = Self::new(limits).await;
        let mut nodes = Vec::new();
        for name in names {
            nodes.push(stage.node(name, settings()).await);
        }
        let Ok(nodes) = <[Node; N]>::try_from(nodes) else {
            unreachable!("as many as there are names");
        };
        settled(&nodes.iter().collect::<Vec<_>>()).await;
        (stage, nodes)
    }

    fn tenant(&self) -> TenantId {
        self.world.tenant
    }

    /// An instance that is not connected and whose slot is here; made through another node.
    async fn instance_on(&self, owner: &Node, through: &Node) -> InstanceId {
        loop {
            let create = CreateInstance {
                name: "a number".into(),
                ..CreateInstance::default()
            };
            let instances = through.instances();
            let made = instances.create(self.tenant(), create, None, Stamp::default());
            let Outcome::Done(instance) = made.await.unwrap() else {
                panic!("nothing to replay");
            };
            if owner.owns(Slot::of(instance.id)) {
                return instance.id;
            }
        }
    }

    /// One that is connected, by a call through another node.
    async fn number_on(&self, owner: &Node, through: &Node) -> InstanceId {
        let id = self.instance_on(owner, through).await;
        self.world.engine.pair(id);
        let instances = through.instances();
        instances.connect(self.tenant(), id, None).await.unwrap();
        self.in_state(through, id, InstanceState::Connected).await;
        id
    }

    async fn in_state(&self, node: &Node, id: InstanceId, state: InstanceState) -> Instance {
        eventually(&format!("{id} becomes {}", state.as_str()), async || {
            let row = node.instances().get(self.tenant(), id).await.unwrap();
            (row.state == state).then_some(row)
        })
        .await
    }

    async fn send(
        &self,
        through: &Node,
        id: InstanceId,
        text: &str,
        wait: Option<Duration>,
        stamp: Stamp,
    ) -> Result<Outcome<Message>, CallError> {
        let request = SendRequest {
            to: "+4915155555555".parse().unwrap(),
            content: Content::text(text),
            reply_to: None,
            wait,
        };
        through.instances().send(self.tenant(), id, request, stamp).await
    }

    async fn end<const N: usize>(self, nodes: [Node; N]) {
        for node in nodes {
            assert!(node.runtime.stop().await.complete);
        }
        assert_eq!(self.world.engine.live(), 0);
        assert_eq!(self.world.endpoint.in_flight(), 0);
    }
}

impl Node {
    fn instances(&self) -> Instances {
        self.runtime.instances()
    }

    fn owns(&self, slot: Slot) -> bool {
        matches!(self.placement.place(slot), Place::Here(_))
    }

    fn runs(&self, kind: &str, key: impl std::fmt::Display) -> bool {
        let path = format!("{kind}/{key}");
        self.runtime.introspection().get(&path).is_some()
    }
}

/// Waits until every slot is at its own node, and every node knows.
async fn settled(nodes: &[&Node]) {
    let names: Vec<_> = nodes.iter().map(|node| name(node.placement.node())).collect();
    let names: Vec<_> = names.iter().collect();
    eventually("every slot is at its own node, and all know", async || {
        let right = |node: &&Node, slot| {
            let owner = super::super::placement::rendezvous(slot, &names).unwrap();
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
