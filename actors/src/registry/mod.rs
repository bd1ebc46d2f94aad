//! One registry for each kind of actor: spawns, restarts with backoff, quarantines, and hands off.
//!
//! [`Registry`] is the supervisor of every actor of its [`Kind`]. Its table lives outside the actor, so
//! that a successor of a registry that broke finds the children of its predecessor and waits for their
//! end: a successor of a child starts only after the predecessor's join handle completed. Callers find
//! a live child in [`Children::handle`] without passing the registry's mailbox.
//!
//! Nothing in here survives the process; what has to run again is found in the store.

mod actor;
mod orders;
mod policy;
mod table;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use ractor::{ActorCell, SpawnErr};
use roost_domain::page::Page;
use roost_domain::slot::{Place, Placement, Slot};
use roost_domain::store::StoreError;
use roost_domain::{Epoch, TenantId};
use tokio::task::JoinHandle;

pub(crate) use actor::Registry;
pub use table::Operation;
pub(crate) use table::{Children, Slots};

use crate::CallError;
use crate::index::ActorMeta;

/// A page of the actors that a node starts with.
pub(crate) type EnabledPage<K, S> = Result<Page<(K, S), K>, StoreError>;

/// What a kind of actor is, to its registry.
pub(crate) trait Kind: Send + Sync + 'static {
    /// The kind's name, and the first part of its actors' paths.
    const NAME: &'static str;
    /// Path of its registry.
    const REGISTRY: &'static str;
    /// Names one actor of the kind.
    type Key: Copy + Eq + Hash + Ord + Display + Send + Sync + 'static;
    /// What is needed besides the key to spawn it.
    type Seed: Clone + Send + Sync + 'static;
    /// What callers need of a live one.
    type Handle: Clone + Send + Sync + 'static;

    /// Slot that decides which node runs it; none for what every node has for itself.
    fn slot(&self, key: Self::Key) -> Option<Slot>;

    /// Tenant that it works for, if it is one's alone: it rests with the tenant.
    fn tenant(_: &Self::Seed) -> Option<TenantId> {
        None
    }

    /// Spawns it, linked to the supervisor. Its start must be trivial: it runs in the registry.
    fn spawn(
        &self,
        start: Start<Self::Key, Self::Seed>,
        supervisor: ActorCell,
    ) -> impl Future<Output = Result<Child<Self::Handle>, SpawnErr>> + Send;

    /// Asks it to finish and stop by itself; whether a successor follows, here or on another node.
    fn ask_to_stop(&self, handle: &Self::Handle, succeeded: bool);

    /// Those of some slots that a node starts with, after one; and where the next page begins.
    fn enabled(
        &self,
        slots: &[Slot],
        after: Option<Self::Key>,
    ) -> impl Future<Output = EnabledPage<Self::Key, Self::Seed>> + Send;

    /// An operator has stopped it, and nothing of it runs any more: notes that for its owner.
    fn stopped(&self, key: Self::Key, seed: Self::Seed, epoch: Epoch) -> impl Future<Output = ()> + Send;
}

/// What a child starts with.
pub(crate) struct Start<K, S> {
    pub key: K,
    pub seed: S,
    /// Of its slot; 0 without one.
    pub epoch: Epoch,
    pub meta: Arc<ActorMeta>,
}

/// A child that was spawned.
pub(crate) struct Child<H> {
    pub handle: H,
    pub cell: ActorCell,
    pub join: JoinHandle<()>,
}

/// How an actor ends itself; anything else that ends it is a panic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ActorExit {
    /// Another owner has taken over: it does not start again here.
    #[error("another owner has taken over")]
    Fenced,
    /// It cannot go on now, and starts again later.
    #[error("{0}")]
    Retry(String),
    /// Something of it panicked.
    #[error("{0}")]
    Panic(String),
}

/// Why a child is not running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotRunning {
    /// It failed and is started again after this time.
    BacksOff(Duration),
    /// It panicked too often; an operator has to look at it.
    Quarantined,
    /// Another node owns it, or nobody.
    NotHere(Duration),
    /// Another owner has taken over.
    Fenced,
    /// This node starts nothing any more.
    Stopping,
    /// Its tenant is suspended or deleted.
    Resting,
    /// Too many wait for it.
    Overloaded,
    /// It could not be spawned.
    Broken(String),
}

impl NotRunning {
    /// What a caller of this kind of actor is told.
    pub fn refusal(self, kind: &str) -> CallError {
        let (detail, retry_after) = match self {
            Self::BacksOff(wait) => (
                format!("the actor of this {kind} failed and is being restarted"),
                wait,
            ),
            Self::Quarantined => (
                format!("the actor of this {kind} is in quarantine and waits for the operator"),
                Duration::from_secs(60),
            ),
            Self::NotHere(retry_after) => {
                let detail = format!("this {kind} is moving to another node");
                return CallError::Moving { detail, retry_after };
            }
            Self::Stopping => return CallError::moving("this node is being stopped"),
            Self::Resting => (
                "the tenant is suspended or deleted".to_owned(),
                Duration::from_secs(60),
            ),
            Self::Fenced => return CallError::Moved,
            Self::Overloaded => return CallError::overloaded(),
            Self::Broken(detail) => return CallError::Internal { detail },
        };
        CallError::Unavailable { detail, retry_after }
    }
}

/// The epoch under which this node owns a slot, for what is of this kind and lies in it.
pub(crate) fn here(placement: &dyn Placement, slot: Slot, kind: &str) -> Result<Epoch, CallError> {
    match placement.place(slot) {
        Place::Here(epoch) => Ok(epoch),
        Place::Node(node) => Err(CallError::moving(format!("this {kind} lives on node {node}"))),
        Place::Nowhere { retry_after } => Err(nowhere(kind, retry_after)),
    }
}

/// What a caller is told of what nobody owns at this moment.
pub(crate) fn nowhere(kind: &str, retry_after: Duration) -> CallError {
    NotRunning::NotHere(retry_after).refusal(kind)
}
