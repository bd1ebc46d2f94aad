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

use crate::cluster::testing::{Fault, Node, TestMembership, TestNet, name, settings, settled};
use crate::instance::{CreateInstance, SendRequest};
use crate::testing::{TestNode, eventually, quick};
use crate::{CallError, Settings};

/// Several nodes over one store, one engine and the same rows.
struct Stage {
    world: TestNode,
    rows: Arc<TestMembership>,
    net: TestNet,
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

    async fn node(&self, node: &str) -> Node {
        Node::start(&self.world, &self.rows, &self.net, node).await
    }

    /// Nodes that know of each other, each with its share.
    async fn nodes<const N: usize>(names: [&str; N]) -> (Self, [Node; N]) {
        Self::with(quick(), names).await
    }

    async fn with<const N: usize>(limits: Settings, names: [&str; N]) -> (Self, [Node; N]) {
        let stage = Self::new(limits).await;
        let mut nodes = Vec::new();
        for name in names {
            nodes.push(stage.node(name).await);
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
            node.stop().await;
        }
        assert_eq!(self.world.engine.live(), 0);
        assert_eq!(self.world.endpoint.in_flight(), 0);
    }
}
