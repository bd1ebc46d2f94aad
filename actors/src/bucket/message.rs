//! What a bucket's actor is told.

use std::num::NonZeroU32;

use ractor::Message as ActorMessage;
use roost_domain::limit::{Quota, Taken};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Somebody takes more than is leased.
#[derive(Debug)]
pub(super) struct TakeCall {
    pub quota: Quota,
    pub count: NonZeroU32,
    /// The caller's turn: the next one asks when this was answered.
    pub turn: OwnedSemaphorePermit,
    pub reply: oneshot::Sender<Taken>,
}

/// Messages of a bucket's actor.
#[derive(Debug)]
pub(crate) enum BucketMessage {
    // Orders.
    Take(TakeCall),
    Shutdown,
    // Timers.
    IdleDue(OwnedSemaphorePermit),
}

impl ActorMessage for BucketMessage {}

impl BucketMessage {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Take(_) => "take",
            Self::Shutdown => "shutdown",
            Self::IdleDue(_) => "idle_due",
        }
    }
}
