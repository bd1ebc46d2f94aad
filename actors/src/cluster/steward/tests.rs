use roost_domain::InstanceId;
use roost_domain::instance::InstanceState;

use super::*;
use crate::cluster::testing::{Fault, Node, TestMembership, TestNet, name, settled};
use crate::testing::{TestNode, eventually, quick};

/// Several nodes over one store, one engine and the same rows.
pub(crate) struct Stage {
    pub world: TestNode,
    pub rows: Arc<TestMembership>,
    pub net: TestNet,
    pub numbers: Vec<InstanceId>,
}

impl Stage {
    /// So many numbers that shall be connected, and no node.
    pub async fn new(count: usize) -> Self {
        let world = TestNode::start(quick()).await;
        let mut numbers = Vec::new();
        for _ in 0..count {
            numbers.push(world.connected().await);
        }
        world.stop().await;
        let rows = Arc::new(TestMembership::new());
        let net = TestNet::default();
        Self {
            world,
            rows,
            net,
            numbers,
        }
    }

    pub async fn node(&self, node: &str) -> Node {
        Node::start(&self.world, &self.rows, &self.net, node).await
    }

    /// Waits until these nodes own every slot, each its share, and every number is connected by its owner.
    pub async fn shared_by(&self, nodes: &[&Node]) {
        settled(nodes).await;
        eventually("every number is connected once", async || {
            let links = self.numbers.iter().filter_map(|&id| self.world.engine.link(id));
            let open = links.filter(|link| !link.is_closed()).count();
            (open == self.numbers.len()).then_some(())
        })
        .await;
        for &id in &self.numbers {
            let node = nodes.iter().find(|node| node.owns(Slot::of(id))).unwrap();
            assert!(node.runs("instance", id), "its owner runs it");
            self.connected(node, id).await;
        }
        assert_eq!(self.world.engine.live(), self.numbers.len());
        assert!(
            self.world.engine.live_max() <= self.numbers.len(),
            "no number ever had two links"
        );
    }

    async fn connected(&self, node: &Node, id: InstanceId) {
        eventually("the number is connected", async || {
            let row = node.instances().get(self.world.tenant, id).await.unwrap();
            (row.state == InstanceState::Connected).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_runs_everything_and_leaves_nothing_behind() {
    let stage = Stage::new(4).await;
    let a = stage.node("a").await;
    stage.shared_by(&[&a]).await;
    eventually("the node is ready", async || a.runtime.ready().then_some(())).await;
    a.stop().await;
    assert!(!stage.rows.has("a"));
    assert_eq!(stage.world.engine.live(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_is_given_its_share_and_gives_it_back_when_it_stops() {
    let stage = Stage::new(8).await;
    let a = stage.node("a").await;
    stage.shared_by(&[&a]).await;
    let b = stage.node("b").await;
    stage.shared_by(&[&a, &b]).await;
    assert!(!b.placement.owned().is_empty());
    b.stop().await;
    stage.shared_by(&[&a]).await;
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_that_is_gone_had_is_taken_over_when_its_lease_has_run_out() {
    let stage = Stage::new(8).await;
    let (a, b) = (stage.node("a").await, stage.node("b").await);
    stage.shared_by(&[&a, &b]).await;
    drop(b);
    stage.shared_by(&[&a]).await;
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_lease_kills_everything_and_begins_again() {
    let stage = Stage::new(4).await;
    let a = stage.node("a").await;
    stage.shared_by(&[&a]).await;
    let before = a.placement.owned();
    stage.rows.expire("a");
    eventually("the node has another life", async || {
        (stage.rows.registrations() == 2).then_some(())
    })
    .await;
    stage.shared_by(&[&a]).await;
    let after = a.placement.owned();
    assert!(
        before.iter().all(|(slot, epoch)| after[slot] > *epoch),
        "under later epochs"
    );
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_whose_claim_had_no_answer_are_adopted() {
    let stage = Stage::new(2).await;
    stage.rows.fault(Fault::LosesClaims);
    let a = stage.node("a").await;
    stage.shared_by(&[&a]).await;
    stage.rows.fault(Fault::None);
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_an_operator_drains_keeps_nothing_until_he_takes_it_back() {
    let stage = Stage::new(4).await;
    let (a, b) = (stage.node("a").await, stage.node("b").await);
    stage.shared_by(&[&a, &b]).await;
    stage.rows.set_draining(&name("a"), true).await.unwrap();
    stage.shared_by(&[&b]).await;
    assert!(a.placement.owned().is_empty());
    stage.rows.set_draining(&name("a"), false).await.unwrap();
    stage.shared_by(&[&a, &b]).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_drained_and_loses_its_lease_is_drained_in_its_next_life_too() {
    let stage = Stage::new(4).await;
    let (a, b) = (stage.node("a").await, stage.node("b").await);
    stage.shared_by(&[&a, &b]).await;
    stage.rows.set_draining(&name("a"), true).await.unwrap();
    stage.shared_by(&[&b]).await;
    eventually("the node says so", async || a.runtime.drains().then_some(())).await;
    stage.rows.expire("a");
    let drained = async || {
        let view = stage.rows.view().await.unwrap();
        let lease = &view.nodes[&name("a")];
        (lease.is_live() && lease.incarnation > 2 && lease.draining).then_some(())
    };
    eventually("its next life is drained", drained).await;
    stage.shared_by(&[&b]).await;
    stage.rows.set_draining(&name("a"), false).await.unwrap();
    stage.shared_by(&[&a, &b]).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_steward_that_broke_is_followed_by_one_that_goes_on() {
    let stage = Stage::new(4).await;
    let a = stage.node("a").await;
    stage.shared_by(&[&a]).await;
    let before = a.placement.owned();
    stage.rows.fault(Fault::BreaksReaders);
    eventually("the steward broke", async || {
        let steward = a.runtime.introspection().get(PATH)?;
        steward.last_error.map(drop)
    })
    .await;
    stage.rows.fault(Fault::None);
    let b = stage.node("b").await;
    stage.shared_by(&[&a, &b]).await;
    let kept = a.placement.owned();
    assert!(
        kept.iter().all(|(slot, epoch)| before[slot] == *epoch),
        "nothing was taken anew"
    );
    a.stop().await;
    b.stop().await;
}
