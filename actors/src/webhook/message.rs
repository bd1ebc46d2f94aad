//! What a webhook's actor is told.

use std::sync::Arc;

use ractor::Message as ActorMessage;
use roost_domain::event::Event;
use roost_domain::webhook::Attempt;
use roost_domain::webhook::store::{Parked, Replay, ReplayScope, WebhookDuty};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::machine::Verdict;
use crate::CallError;
use crate::inbox::{self, Learns};
use crate::persist::Fatal;

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, CallError>>;

/// Deliveries are to be driven again.
#[derive(Debug)]
pub(super) struct RedriveCall {
    pub seqs: Vec<i64>,
    /// Held until the call is done.
    pub permit: OwnedSemaphorePermit,
    pub reply: Reply<u64>,
}

/// A range of the log is to be gone through again.
#[derive(Debug)]
pub(super) struct ReplayCall {
    pub from_seq: i64,
    pub to_seq: i64,
    pub scope: ReplayScope,
    /// Held until the call is done.
    pub permit: OwnedSemaphorePermit,
    pub reply: Reply<Replay>,
}

/// Messages of a webhook's actor.
#[derive(Debug)]
pub(crate) enum WebhookMessage {
    // Orders.
    /// The row has changed; whoever says so learns when that is applied.
    Reload(oneshot::Sender<()>),
    Redrive(RedriveCall),
    Replay(ReplayCall),
    Shutdown,
    // Facts: they lie in the inbox.
    FactsDue,
    // Timers.
    WakeDue,
    DrainDue,
}

impl ActorMessage for WebhookMessage {}

impl Learns for WebhookMessage {
    type Fact = Fact;

    fn facts_due() -> Self {
        Self::FactsDue
    }

    fn task_panicked() -> Fact {
        Fact::TaskPanicked
    }
}

/// Reports facts to one life of the actor.
pub(crate) type Reporter = inbox::Reporter<WebhookMessage>;
/// Its tasks.
pub(crate) type Tasks = inbox::Tasks<WebhookMessage>;

impl WebhookMessage {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reload(_) => "reload",
            Self::Redrive(_) => "redrive",
            Self::Replay(_) => "replay",
            Self::Shutdown => "shutdown",
            Self::FactsDue => "facts_due",
            Self::WakeDue => "wake_due",
            Self::DrainDue => "drain_due",
        }
    }
}

/// What a webhook's actor learns from its own tasks.
#[derive(Debug)]
pub(crate) enum Fact {
    /// It owns the webhook, and this is what waits.
    Loaded(Box<WebhookDuty>, Vec<Parked>),
    /// The webhook as it now is. The number here and below is that of the load that the task belongs to.
    Changed(u64, Box<WebhookDuty>),
    /// The reader of this number brought events, and has looked at everything up to a `seq`.
    Read(u64, Vec<Arc<Event>>, i64),
    Posted(i64, Attempt, Verdict),
    Fetched(u64, Vec<Arc<Event>>),
    Settled,
    Redriven(u64, Vec<Parked>),
    ReplayAdded(u64, Replay),
    /// A step of a replay was made: where it goes on, and what it made pending.
    Replayed(Option<i64>, Vec<Parked>),
    /// What is in the store may be more than what is known here.
    Uncertain,
    /// The webhook is gone.
    Vanished,
    /// Another owner has taken over.
    Fenced,
    /// The store cannot go on with this webhook.
    Broken(String),
    /// A task of the actor panicked.
    TaskPanicked,
}

impl From<Fatal> for Fact {
    fn from(fatal: Fatal) -> Self {
        match fatal {
            Fatal::Fenced => Self::Fenced,
            Fatal::Vanished => Self::Vanished,
            Fatal::Broken(reason) => Self::Broken(reason),
        }
    }
}
