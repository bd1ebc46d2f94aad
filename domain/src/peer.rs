//! What nodes of one cluster say to each other: calls, notes, and the two ports between them.
//!
//! [`Peers`] is the way out and [`Service`] the way in. Who owns what is not decided here: a call goes
//! to the node that the caller names, and that node says whether it is the right one.
//! A call is carried out at most once. When its answer is lost, it may have been carried out or not;
//! [`PeerError::may_have_run`] says when that is so.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::cluster::NodeName;

/// What a call is for. The numbers are spoken between releases: they are never used again for
/// something else. A node that does not know one says so ([`WireError::UnknownKind`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Kind(pub u16);

impl Kind {
    /// A call to an instance's session.
    pub const INSTANCE: Self = Self(1);
    /// A call to a webhook's actor.
    pub const WEBHOOK: Self = Self(2);
    /// A call to a bucket's actor.
    pub const BUCKET: Self = Self(3);
    /// A question or an order of an operator.
    pub const OPERATOR: Self = Self(4);
    /// An order to end a tenant's actors, answered when they have ended.
    pub const REST: Self = Self(5);
}

/// What a note tells of. The numbers are spoken between releases, as those of [`Kind`]. A node passes
/// over notes that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NoteKind(pub u16);

impl NoteKind {
    /// A tenant's log has grown.
    pub const COMMIT: Self = Self(1);
    /// An API key was changed or revoked.
    pub const KEY: Self = Self(2);
    /// A tenant was changed, suspended or deleted.
    pub const TENANT: Self = Self(3);
}

/// Something that other nodes had better know soon. It may be lost: who relies on it looks for itself
/// now and then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What it tells of.
    pub kind: NoteKind,
    /// What it is about: a note that has not gone out yet is replaced by a later one of the same kind
    /// and key.
    pub key: Bytes,
    /// What it says.
    pub body: Bytes,
}

/// Another node of the cluster, as far as this one has to know it to speak to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its name.
    pub node: NodeName,
    /// Number of its life: an earlier one is refused.
    pub incarnation: i64,
    /// Host and port of its cluster listener.
    pub address: String,
}

/// A peer, for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerView {
    /// Its name.
    pub node: NodeName,
    /// Whether there is a link to it that works.
    pub connected: bool,
    /// Number of the life that it is linked to, if it is.
    pub incarnation: Option<i64>,
    /// Release that it runs, if it is linked.
    pub release: Option<String>,
    /// How long its last answers to a ping took.
    pub rtt: Option<Duration>,
    /// Calls of this node that wait for its answer.
    pub in_flight: usize,
    /// Its calls that this node is carrying out.
    pub serving: usize,
    /// Notes to it that were dropped since this node started.
    pub notes_dropped: u64,
    /// Links to it that were made since this node started.
    pub links: u64,
    /// Why there is no link, or why the last one ended.
    pub last_error: Option<String>,
}

/// Why the called node did not carry a call out, in its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Another node owns what the call is for.
    #[error("the called node is not the owner")]
    NotOwner {
        /// Who the called node takes for the owner.
        hint: Option<NodeName>,
    },
    /// Nobody owns what the call is for at this moment.
    #[error("nobody owns it at this moment")]
    Unowned,
    /// The called node has lost its lease.
    #[error("the called node has lost its lease")]
    Fenced,
    /// The called node has as many calls as it takes.
    #[error("the called node is overloaded")]
    Overloaded {
        /// When to try again.
        retry_ms: u32,
    },
    /// The called node does not know this kind of call, or this form of it: it runs another release.
    #[error("the called node does not know this kind of call")]
    UnknownKind,
    /// The call was not finished by its deadline. It may have been carried out.
    #[error("the called node was not done by the deadline")]
    Deadline,
    /// The answer is larger than a link carries. The call was carried out.
    #[error("the answer is too large")]
    TooLarge,
    /// The call could not be read.
    #[error("the called node could not read the call: {0}")]
    Bad(String),
    /// The called node failed at it. The call may have been carried out.
    #[error("the called node failed: {0}")]
    Failed(String),
}

/// What came of a call that has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// No node of this name is in the cluster.
    #[error("no node of this name is in the cluster")]
    Unknown,
    /// There is no link to it at this moment; nothing was sent.
    #[error("there is no link to the node")]
    Down,
    /// The link broke while the call was under way.
    #[error("the link to the node broke during the call")]
    Lost,
    /// The answer did not come by the deadline.
    #[error("the node did not answer by the deadline")]
    Deadline,
    /// As many calls to it are under way as may be; nothing was sent.
    #[error("too many calls to the node are under way")]
    Overloaded {
        /// When to try again.
        retry_ms: u32,
    },
    /// The body is larger than a link carries; nothing was sent.
    #[error("the call is too large")]
    TooLarge,
    /// The answer could not be read.
    #[error("the answer could not be read: {0}")]
    Unreadable(String),
    /// The node refused it.
    #[error(transparent)]
    Refused(WireError),
}

impl PeerError {
    /// Whether the call may have been carried out, so that it is only repeated if that does no harm.
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Unknown | Self::Down | Self::Overloaded { .. } | Self::TooLarge => false,
            Self::Lost | Self::Deadline | Self::Unreadable(_) => true,
            Self::Refused(error) => match error {
                WireError::Deadline | WireError::TooLarge | WireError::Failed(_) => true,
                WireError::NotOwner { .. }
                | WireError::Unowned
                | WireError::Fenced
                | WireError::Overloaded { .. }
                | WireError::UnknownKind
                | WireError::Bad(_) => false,
            },
        }
    }
}

/// The way to the other nodes.
#[async_trait]
pub trait Peers: Send + Sync {
    /// Asks another node. Returns by the deadline, whatever the node and the network do. Calls to one
    /// node overtake each other.
    async fn call(
        &self,
        node: &NodeName,
        kind: Kind,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, PeerError>;
    /// Tells every node that is linked at this moment. Never waits; may be lost.
    fn notify(&self, note: Note);
    /// Every other node of the cluster, by name.
    fn peers(&self) -> Vec<PeerView>;
}

/// The way to the other nodes, as whoever knows the cluster's rows guides it.
#[async_trait]
pub trait Mesh: Peers {
    /// Makes these the peers, from the rows of nodes whose leases hold. This node is passed over.
    fn set_peers(&self, peers: Vec<PeerAddress>);
    /// Goes on as a later life of this node, after its lease was lost and it registered again.
    fn reborn(&self, incarnation: i64);
    /// Ends every link: peers see it at once, calls that are being served get a few seconds.
    async fn stop(&self);
}

/// The mesh could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the link to other nodes cannot be opened: {0}")]
pub struct MeshError(pub String);

/// A port that is taken, and where nobody answers before this node has registered.
#[async_trait]
pub trait MeshPort: Send + Sync {
    /// Begins to answer and to link, as the life that was registered.
    async fn open(
        self: Box<Self>,
        incarnation: i64,
        service: Arc<dyn Service>,
    ) -> Result<Arc<dyn Mesh>, MeshError>;
}

/// What answers other nodes.
#[async_trait]
pub trait Service: Send + Sync {
    /// Carries a call out. It is dropped at the deadline: what must not stop half-way is to run in a
    /// task of its own.
    async fn serve(
        &self,
        from: &NodeName,
        kind: Kind,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, WireError>;
    /// Takes note. Must not wait.
    fn told(&self, from: &NodeName, note: Note);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_not_sent_or_not_begun_may_be_repeated() {
        for never in [
            PeerError::Down,
            PeerError::Overloaded { retry_ms: 1 },
            PeerError::Refused(WireError::Unowned),
            PeerError::Refused(WireError::NotOwner { hint: None }),
        ] {
            assert!(!never.may_have_run(), "{never}");
        }
        for perhaps in [
            PeerError::Lost,
            PeerError::Deadline,
            PeerError::Refused(WireError::Deadline),
            PeerError::Refused(WireError::TooLarge),
        ] {
            assert!(perhaps.may_have_run(), "{perhaps}");
        }
    }
}
