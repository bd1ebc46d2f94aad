//! What this node tells and does for operators, to itself and to other nodes.

use std::ops::Bound;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use roost_domain::limit::BucketKey;
use roost_domain::peer::WireError;
use roost_domain::slot::{Place, Slot};
use tokio::time::Instant;

use super::nodes::{Census, NodeLoad};
use super::wire::{self, From, Listed, Listing, OperatorAnswer, OperatorCall, Refusal};
use crate::CallError;
use crate::bucket::BucketKind;
use crate::index::ActorView;
use crate::instance::InstanceKind;
use crate::node::NodeContext;
use crate::registry::{Kind, Operation};
use crate::residents::Residents;
use crate::webhook::WebhookKind;

/// See the module.
pub(crate) struct Local {
    residents: Arc<Residents>,
    ready: Arc<AtomicBool>,
    started: Instant,
    /// Largest answer to another node.
    answer_bytes_max: usize,
}

impl Local {
    pub fn new(residents: Arc<Residents>, ready: Arc<AtomicBool>, answer_bytes_max: usize) -> Self {
        Self {
            residents,
            ready,
            started: Instant::now(),
            answer_bytes_max,
        }
    }

    pub fn node(&self) -> &Arc<NodeContext> {
        &self.residents.node
    }

    /// Answers another node.
    pub async fn serve(&self, body: &[u8]) -> Result<Bytes, WireError> {
        let answer = match wire::decode(body)? {
            OperatorCall::Actors(listing) => return self.list(&listing).fit(self.answer_bytes_max),
            OperatorCall::Actor { path } => OperatorAnswer::Actor(self.find(&path)?.map(Box::new)),
            OperatorCall::Operate { path, operation } => {
                self.find(&path)?;
                let done = self.operate(&path, operation).await;
                OperatorAnswer::Operated(done.map_err(refusal))
            }
            OperatorCall::Node => OperatorAnswer::Node(Box::new(self.load())),
        };
        wire::encode(&answer)
    }

    /// A part of the actors of this node.
    pub(super) fn list(&self, listing: &Listing) -> Listed {
        let Listing { filter, from, limit } = listing;
        let index = &self.node().index;
        let from = match from {
            From::Start => Bound::Unbounded,
            From::At(path) => Bound::Included(path.as_str()),
            From::After(path) => Bound::Excluded(path.as_str()),
            From::Worst => {
                let rows = index.worst(filter, *limit);
                return Listed { rows, more: false };
            }
        };
        let (rows, next) = index.list_from(filter, from, *limit);
        let more = next.is_some();
        Listed { rows, more }
    }

    /// One actor of this node. When it is not here because its slot is another's, that is said.
    fn find(&self, path: &str) -> Result<Option<ActorView>, WireError> {
        if let Some(view) = self.node().index.get(path) {
            return Ok(Some(view));
        }
        match slot_of(path).map(|slot| self.node().placement.place(slot)) {
            Some(Place::Node(node)) => Err(WireError::NotOwner { hint: Some(node) }),
            Some(Place::Nowhere { .. }) => Err(WireError::Unowned),
            Some(Place::Here(_)) | None => Ok(None),
        }
    }

    /// Does something to an actor of this node.
    pub async fn operate(&self, path: &str, operation: Operation) -> Result<(), CallError> {
        if self.node().index.get(path).is_none() {
            return Err(CallError::NotFound);
        }
        let deadline = Instant::now() + self.node().settings.control_timeout;
        let key = path.split_once('/');
        if let Some(key) = key_of::<InstanceKind>(key) {
            self.residents.sessions.operate(key, operation, deadline).await
        } else if let Some(key) = key_of::<WebhookKind>(key) {
            self.residents.deliverers.operate(key, operation, deadline).await
        } else if let Some(key) = key_of::<BucketKind>(key) {
            self.residents.buckets.operate(key, operation, deadline).await
        } else {
            let detail = "a part of the node itself cannot be restarted, stopped or put into quarantine";
            Err(CallError::WrongMessage {
                detail: detail.to_owned(),
            })
        }
    }

    /// How this node does.
    pub fn load(&self) -> NodeLoad {
        let index = &self.node().index;
        let census = |kind| Census::of(index.count(kind));
        NodeLoad {
            ready: self.ready.load(Ordering::Acquire),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            sessions: census(InstanceKind::NAME),
            webhooks: census(WebhookKind::NAME),
            buckets: census(BucketKind::NAME),
            need_operator: index.need_operator(),
            gate: self.node().gate.view(),
        }
    }
}

/// The slot that decides where the actor with this path lives, if one does.
pub(super) fn slot_of(path: &str) -> Option<Slot> {
    let key = path.split_once('/');
    let bucket = || key_of::<BucketKind>(key).filter(|bucket| !bucket.is_of_each_node());
    key_of::<InstanceKind>(key)
        .map(Slot::of)
        .or_else(|| key_of::<WebhookKind>(key).map(Slot::of_webhook))
        .or_else(|| bucket().map(Slot::of_bucket))
}

/// Whether any node may have a bucket with this path.
pub(super) fn is_bucket_of_each_node(path: &str) -> bool {
    key_of::<BucketKind>(path.split_once('/')).is_some_and(BucketKey::is_of_each_node)
}

/// The key in a path, if it is of this kind.
fn key_of<K: Kind>(path: Option<(&str, &str)>) -> Option<K::Key>
where
    K::Key: FromStr,
{
    path.filter(|(kind, _)| *kind == K::NAME)
        .and_then(|(_, key)| key.parse().ok())
}

fn refusal(error: CallError) -> Refusal {
    match error {
        CallError::NotFound => Refusal::NotFound,
        CallError::Timeout => Refusal::Timeout,
        CallError::WrongState { detail, .. } | CallError::WrongMessage { detail } => {
            Refusal::Impossible(detail)
        }
        other => Refusal::Unavailable(other.to_string()),
    }
}
