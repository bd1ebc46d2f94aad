//! What callers are told whose actor another owner has taken over.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SpawnErr};
use roost_domain::{Epoch, InstanceId, Slot};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::node::NodeContext;
use crate::registry::{ActorExit, Child, Children, EnabledPage, Kind, NotRunning, Registry, Start};
use crate::testing::{SystemClock, SystemEntropy, TestNode, eventually, quick};
use crate::{CallError, LocalPlacement};

/// Ends as it is told.
struct Ending;

impl Actor for Ending {
    type Msg = ActorExit;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<ActorExit>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<ActorExit>,
        exit: ActorExit,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Err(Box::new(exit))
    }
}

impl ractor::Message for ActorExit {}

/// Its actors have ended only when the test lets them.
struct Lingering {
    gone: Arc<Semaphore>,
}

impl Kind for Lingering {
    const NAME: &'static str = "lingering";
    const REGISTRY: &'static str = "lingerings";
    type Key = InstanceId;
    type Seed = ();
    type Handle = ActorRef<ActorExit>;

    fn slot(&self, key: InstanceId) -> Option<Slot> {
        Some(Slot::of(key))
    }

    async fn spawn(
        &self,
        start: Start<InstanceId, ()>,
        supervisor: ActorCell,
    ) -> Result<Child<ActorRef<ActorExit>>, SpawnErr> {
        let (handle, ended) = Ending::spawn_linked(None, Ending, (), supervisor).await?;
        let cell = handle.get_cell();
        start.meta.started(cell.clone(), Some(start.epoch), None);
        let gone = Arc::clone(&self.gone);
        let join = tokio::spawn(async move {
            ended.await.unwrap();
            gone.acquire().await.unwrap().forget();
        });
        Ok(Child { handle, cell, join })
    }

    fn ask_to_stop(&self, handle: &ActorRef<ActorExit>, _: bool) {
        handle.stop(None);
    }

    async fn enabled(&self, _: &[Slot], _: Option<InstanceId>) -> EnabledPage<InstanceId, ()> {
        unreachable!("nobody starts all of them")
    }

    async fn stopped(&self, _: InstanceId, (): (), _: Epoch) {}
}

struct Bench {
    node: TestNode,
    children: Arc<Children<Lingering>>,
    gone: Arc<Semaphore>,
    registry: ActorCell,
    ended: JoinHandle<()>,
    key: InstanceId,
}

impl Bench {
    async fn start() -> Self {
        let node = TestNode::start(quick()).await;
        let context = Arc::new(NodeContext::new(
            Arc::clone(&node.store) as _,
            Arc::clone(&node.engine) as _,
            Arc::new(LocalPlacement::start(&*node.store, "node-b").await.unwrap()),
            Arc::new(SystemClock),
            Arc::new(SystemEntropy),
            quick(),
        ));
        let gone = Arc::new(Semaphore::new(0));
        let children = Arc::new(Children::new(Lingering {
            gone: Arc::clone(&gone),
        }));
        let arguments = (context, Arc::clone(&children));
        let (registry, ended) = Registry::spawn(None, Registry::new(), arguments).await.unwrap();
        Self {
            node,
            children,
            gone,
            registry: registry.get_cell(),
            ended,
            key: InstanceId::from_parts(1_700_000_000_000, 1),
        }
    }

    async fn call(&self) -> Result<ActorRef<ActorExit>, NotRunning> {
        let deadline = Instant::now() + Duration::from_secs(60);
        self.children.try_ensure(self.key, (), deadline).await.unwrap()
    }

    async fn stop(self) {
        self.registry.stop(None);
        self.ended.await.unwrap();
        self.node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_fenced_actor_ends_callers_learn_who_has_taken_over() {
    let bench = Bench::start().await;
    let first = bench.call().await.unwrap();
    first.cast(ActorExit::Fenced).unwrap();
    bench.children.turned_over(bench.key, |_| false).await;
    for _ in 0..3 {
        let refused = bench.call().await.unwrap_err();
        assert_eq!(refused, NotRunning::Fenced);
        assert_eq!(refused.refusal("webhook"), CallError::Moved);
    }
    // Forgotten, it is looked for anew: this node may own it again.
    bench.gone.add_permits(1);
    bench.children.gone(&[bench.key]).await;
    let second = bench.call().await.unwrap();
    assert_ne!(second.get_id(), first.get_id());
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_on_a_node_that_was_taken_over_says_so_whenever_it_comes() {
    const PHONE: &str = "+4915188888888";
    let node = Arc::new(TestNode::start(quick()).await);
    let id = node.connected().await;
    let successor = node.successor().await;
    eventually("the successor has it", async || {
        let view = successor.introspection().get(&format!("instance/{id}"))?;
        (view.state == "connected").then_some(())
    })
    .await;
    let mut callers = Vec::new();
    for caller in 0..4 {
        let node = Arc::clone(&node);
        callers.push(tokio::spawn(async move {
            for round in 0..40 {
                let refused = if (caller + round) % 2 == 0 {
                    node.send(id, PHONE, "x", None).await.map(drop)
                } else {
                    node.instances().disconnect(node.tenant, id).await.map(drop)
                };
                assert_eq!(refused, Err(CallError::Moved), "caller {caller}, round {round}");
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(node.engine.sent(id).is_empty());
    assert!(successor.stop().await.complete);
    node.stop().await;
}
