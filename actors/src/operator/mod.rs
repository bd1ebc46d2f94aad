//! What operators see of the whole gateway and do to it, whichever node they ask.
//!
//! ```text
//! HTTP ── Operator ──┬── Local          this node's index and registries
//!                    ├── Peers          the same of every other node (`wire`)
//!                    └── Membership     rows of nodes and slots
//! ```
//! Every other node is asked at the same time and has the same short time to answer. One that does not is
//! named as unreachable, with the reason, and never left out. Nothing is kept here, so nothing is lost in a
//! crash; orders go to the node that runs the actor, and can be repeated without harm.

mod actors;
mod local;
mod nodes;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use roost_domain::cluster::{ClusterView, MembershipError, NodeLease, NodeName};
use roost_domain::peer::{Kind, PeerError, PeerView, WireError};

pub use self::actors::{ActorPlace, ActorsPage, Order};
pub(crate) use self::local::Local;
pub use self::nodes::{
    Census, LeaseState, LeaseView, LinkView, NodeAnswer, NodeLoad, NodeStatus, NodeView, SlotCount, SlotView,
};
use self::wire::{OperatorAnswer, OperatorCall};
use crate::CallError;
use crate::cluster::Stewardship;
use crate::node::NodeContext;

/// How long other nodes have for an answer, when the configuration says nothing.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Why an operator's call was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// No such actor, running or waiting to be started again.
    #[error("there is no such actor")]
    NoSuchActor,
    /// No node of this name is in the cluster.
    #[error("no node named {node} is in the cluster")]
    NoSuchNode {
        /// The name.
        node: String,
    },
    /// Every node has an actor with this path, or may have one.
    #[error("each node may have one named so: say which by ?node=")]
    WhichNode,
    /// The node does not answer; nothing was done.
    #[error("node {node} is unreachable: {error}")]
    Unreachable {
        /// Its name.
        node: String,
        /// Why.
        error: String,
    },
    /// The node did not answer; it may have been done.
    #[error("node {node} did not answer: {error}; it may have been done, and can be asked for again")]
    Unanswered {
        /// Its name.
        node: String,
        /// Why.
        error: String,
    },
    /// The actor's slot is moving to another node.
    #[error("the actor is moving to another node")]
    Moving,
    /// This gateway is no node of a cluster.
    #[error("this gateway is not a node of a cluster")]
    NoCluster,
    /// No other node would take its slots.
    #[error("no other node would take over what {node} runs; to end everything, stop its process")]
    LastNode {
        /// Its name.
        node: String,
    },
    /// The database does not answer.
    #[error("the database does not answer")]
    Rows(#[source] MembershipError),
    /// The node refused.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Operator {
    local: Arc<Local>,
    cluster: Option<Arc<Stewardship>>,
}

impl Operator {
    pub(crate) fn new(local: Arc<Local>, cluster: Option<Arc<Stewardship>>) -> Self {
        Self { local, cluster }
    }

    fn node(&self) -> &Arc<NodeContext> {
        self.local.node()
    }

    fn me(&self) -> &str {
        self.node().placement.node()
    }

    /// Other nodes whose leases hold, as far as this one knows.
    fn others(&self) -> Vec<PeerView> {
        self.node().peers().map_or_else(Vec::new, |peers| peers.peers())
    }

    fn timeout(&self) -> Duration {
        let settings = self.cluster.as_ref().map(|cluster| cluster.settings);
        settings.map_or(TIMEOUT, |settings| settings.operator_timeout)
    }

    async fn ask(
        &self,
        node: &NodeName,
        call: &OperatorCall,
        wait: Duration,
    ) -> Result<OperatorAnswer, PeerError> {
        let peers = self.node().peers().ok_or(PeerError::Unknown)?;
        let body = wire::encode(call).map_err(PeerError::Refused)?;
        let deadline = std::time::Instant::now() + wait;
        let answer = peers.call(node, Kind::OPERATOR, body, deadline).await?;
        wire::decode(&answer).map_err(|error| PeerError::Unreadable(error.to_string()))
    }

    async fn view(&self, cluster: &Stewardship) -> Result<ClusterView, OperatorError> {
        cluster.membership.view().await.map_err(OperatorError::Rows)
    }

    /// Every node, by name.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, OperatorError> {
        let Some(cluster) = &self.cluster else {
            return Ok(vec![nodes::alone(self.me(), self.local.load())]);
        };
        let view = self.view(cluster).await?;
        let (counts, links) = (nodes::counts(&view), self.others());
        let rows = view.nodes.iter().map(|(node, lease)| {
            let row = nodes::row(lease, counts.get(node).copied().unwrap_or_default());
            let link = links.iter().find(|peer| peer.node == *node).cloned();
            self.fill(node, row, link)
        });
        Ok(futures::future::join_all(rows).await)
    }

    /// Asks a node how it does.
    async fn fill(&self, node: &NodeName, mut row: NodeView, link: Option<PeerView>) -> NodeView {
        row.link = link.map(LinkView::from);
        if node.as_str() == self.me() {
            row.here = true;
            (row.status, row.error) = (NodeStatus::Ok, None);
            row.load = Some(self.local.load());
            return row;
        }
        if row.error.is_some() {
            return row;
        }
        match self.ask(node, &OperatorCall::Node, self.timeout()).await {
            Ok(OperatorAnswer::Node(load)) => {
                row.status = NodeStatus::Ok;
                row.load = Some(*load);
            }
            Ok(_) => row.error = Some(MIXED_UP.to_owned()),
            Err(error) => row.error = Some(error.to_string()),
        }
        row
    }

    /// Slots from a number on, by number; only those that a node owns, or did last, if it is named.
    pub async fn slots(&self, owner: Option<&str>) -> Result<Vec<SlotView>, OperatorError> {
        let mut rows = match &self.cluster {
            Some(cluster) => nodes::slots(&self.view(cluster).await?),
            None => nodes::local_slots(&*self.node().placement),
        };
        if let Some(owner) = owner {
            rows.retain(|row| row.owner.as_deref() == Some(owner));
        }
        Ok(rows)
    }

    /// Has a node give all its slots away, and take none until that is taken back. It goes on answering.
    pub async fn drain(&self, node: &NodeName, draining: bool) -> Result<NodeView, OperatorError> {
        let Some(cluster) = &self.cluster else {
            return Err(OperatorError::NoCluster);
        };
        let no_such_node = || OperatorError::NoSuchNode {
            node: node.to_string(),
        };
        let before = self.view(cluster).await?;
        let lease = before.nodes.get(node).ok_or_else(no_such_node)?;
        let takes =
            |(other, lease): (&NodeName, &NodeLease)| other != node && lease.is_live() && !lease.draining;
        if draining && lease.is_live() && !before.nodes.iter().any(takes) {
            return Err(OperatorError::LastNode {
                node: node.to_string(),
            });
        }
        let marked = cluster.membership.set_draining(node, draining).await;
        if !marked.map_err(OperatorError::Rows)? {
            return Err(no_such_node());
        }
        cluster.hint.notify_one();
        let rows = self.nodes().await?;
        let row = rows.into_iter().find(|row| row.node == node.as_str());
        row.ok_or_else(no_such_node)
    }
}

/// An answer to another question: nodes of these releases do not understand each other.
const MIXED_UP: &str = "the node answered another question";

/// What a call to another node came to, for the operator.
fn failed(node: &NodeName, error: &PeerError) -> OperatorError {
    let (node, text) = (node.to_string(), error.to_string());
    match error {
        PeerError::Unknown => OperatorError::NoSuchNode { node },
        PeerError::Refused(WireError::NotOwner { .. } | WireError::Unowned) => OperatorError::Moving,
        error if error.may_have_run() => OperatorError::Unanswered { node, error: text },
        _ => OperatorError::Unreachable { node, error: text },
    }
}
