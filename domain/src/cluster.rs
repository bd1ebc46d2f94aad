//! Nodes of one gateway: their leases, and the slots that each owns.
//!
//! Rows in the database are the truth. A node may act for as long as its lease is valid by its own
//! monotonic clock, counted from before each renewal was sent; the database's clock alone decides when
//! a lease has expired for the others. So a node always stops before another can take over.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::StoreError;
use crate::{Epoch, Slot};

/// Longest name of a node, in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 63;

/// Name under which a gateway registers that is no node of a cluster. It is alone on its database.
pub const LOCAL_NODE: &str = "local";

/// Name of a node: unique in its cluster, kept over restarts. Lower-case letters, digits, `-` and `.`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, pattern = "^[a-z0-9][a-z0-9.-]{0,62}$", example = "node-1")]
pub struct NodeName(String);

/// A text is no name of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 63 lower-case letters, digits, '-' or '.', beginning with a letter or digit")]
pub struct NodeNameError;

impl TryFrom<String> for NodeName {
    type Error = NodeNameError;

    fn try_from(text: String) -> Result<Self, NodeNameError> {
        let fits = (1..=NODE_NAME_BYTES_MAX).contains(&text.len());
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        let begins = text
            .bytes()
            .next()
            .is_some_and(|byte| byte.is_ascii_alphanumeric());
        if fits && begins && text.bytes().all(known) {
            Ok(Self(text))
        } else {
            Err(NodeNameError)
        }
    }
}

impl std::str::FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        text.to_owned().try_into()
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

impl NodeName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for NodeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One life of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its name.
    pub node: NodeName,
    /// Number of this life: each registration raises it.
    pub incarnation: i64,
}

/// What a node says of itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCard {
    /// Its name.
    pub node: NodeName,
    /// Where other nodes reach it: host and port of its cluster listener.
    pub address: String,
    /// Where its HTTP API is, for operators.
    pub http_address: String,
    /// Release that it runs.
    pub version: String,
}

/// A node's row, as the database sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLease {
    /// What it said of itself.
    pub card: NodeCard,
    /// Number of its life.
    pub incarnation: i64,
    /// How long the lease holds on; `None` when it has expired.
    pub expires_in: Option<Duration>,
    /// How long ago this life registered.
    pub age: Duration,
    /// Whether it gives its slots away: nobody gives it new ones.
    pub draining: bool,
}

impl NodeLease {
    /// Whether its lease holds.
    pub fn is_live(&self) -> bool {
        self.expires_in.is_some()
    }
}

/// Who owns a slot. The owner may act only while its lease of the same incarnation holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotOwner {
    /// The owner; `None` when it was released or never owned.
    pub member: Option<Member>,
    /// Epoch of the last claim.
    pub epoch: Epoch,
}

/// Everything about the cluster at one moment.
#[derive(Debug, Clone, Default)]
pub struct ClusterView {
    /// Every node that has a row, by name.
    pub nodes: BTreeMap<NodeName, NodeLease>,
    /// Every slot that has ever been claimed, by slot.
    pub slots: BTreeMap<Slot, SlotOwner>,
}

/// Why the membership could not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// Another process with this name holds a lease, at another address.
    #[error("a node named {node} is alive at {address}: give this one another name, or stop that one")]
    NameTaken {
        /// The name.
        node: NodeName,
        /// Where the other one is.
        address: String,
    },
    /// Another gateway holds a lease, and one of the two is not configured to share the database.
    #[error(
        "another gateway uses this database: {node} at {address}; stop it first, or configure both as nodes of one cluster"
    )]
    NotAlone {
        /// Its name.
        node: NodeName,
        /// Where it is.
        address: String,
    },
    /// The cluster was made with another number of slots or another hash: no node may join with this
    /// release.
    #[error("the cluster's slots were laid out otherwise: {0}")]
    Layout(String),
    /// The lease is gone: nothing may be claimed or released under it.
    #[error("this node's lease is lost")]
    Lost,
    /// The database does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether this node may act for what it owns. Asked before every side effect: it answers at once, from
/// memory.
pub trait Lease: Send + Sync {
    /// Whether the lease holds at this moment.
    fn holds(&self) -> bool;
    /// Which life of this node the lease is of, if it holds at this moment: what was begun in an earlier one
    /// may not go on in a later one.
    fn life(&self) -> Option<u64> {
        self.holds().then_some(0)
    }
}

/// The rows of nodes and slots. Every call is one round trip with a deadline.
///
/// A call that fails with [`MembershipError::Store`], or is given up, may have been carried out all the
/// same: a claim whose answer was lost shows in the next view.
#[async_trait]
pub trait Membership: Send + Sync {
    /// Registers a node under a new incarnation, with a lease of `ttl` from now on by the database's
    /// clock. A live lease of the same name and address is taken over: the caller has proven, by owning
    /// the port, that the process before it is gone. [`LOCAL_NODE`] tolerates no other live node, and none
    /// tolerates it.
    async fn register(&self, card: &NodeCard, ttl: Duration) -> Result<Member, MembershipError>;
    /// Extends a lease that has not expired. [`MembershipError::Lost`] when it has, or when another life
    /// has registered: it is never revived.
    async fn renew(&self, me: &Member, ttl: Duration) -> Result<(), MembershipError>;
    /// Everything.
    async fn view(&self) -> Result<ClusterView, MembershipError>;
    /// Takes slots of those asked for that nobody owns or whose owner's lease is gone, each under an
    /// epoch greater than every epoch before, of any slot. Returns those that were taken.
    async fn claim(&self, me: &Member, slots: &[Slot]) -> Result<Vec<(Slot, Epoch)>, MembershipError>;
    /// Gives slots back. Those that it does not own are passed over.
    async fn release(&self, me: &Member, slots: &[Slot]) -> Result<(), MembershipError>;
    /// Marks a node as draining, or takes the mark away. Whether there is such a node.
    async fn set_draining(&self, node: &NodeName, draining: bool) -> Result<bool, MembershipError>;
    /// Ends a lease whose slots were all given back, and removes its row. What was not given back is free
    /// from then on.
    async fn leave(&self, me: &Member) -> Result<(), MembershipError>;
    /// Waits until somebody has changed something, as far as the database tells: a hint that may be
    /// missed, and may come without reason.
    async fn changed(&self) -> Result<(), MembershipError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_are_safe_in_paths_logs_and_certificates() {
        for good in ["a", "node-1", "roost-0.roost.svc", "7"] {
            assert!(good.parse::<NodeName>().is_ok(), "{good}");
        }
        let long = "a".repeat(64);
        for bad in ["", "-a", ".", "A", "a b", "a/b", "ä", "a\n", &long] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
    }
}
