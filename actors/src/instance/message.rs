//! What a session actor is told.

use std::sync::Arc;
use std::time::Duration;

use ractor::Message as ActorMessage;
use roost_domain::engine::{Link, LinkFact, OpenError, SendError};
use roost_domain::instance::{Instance, Pacing, Policy};
use roost_domain::message::{Content, Message, Quoted};
use roost_domain::store::{Outcome, Stamp};
use roost_domain::{Address, MessageId, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::machine::{CodeKind, Generation, Order, Ticket};
use super::outbox::{Backlog, Change};
use crate::CallError;
use crate::gate::GatePass;
use crate::inbox::{self, Learns};
use crate::persist::Fatal;

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, CallError>>;

/// What travels with every command.
#[derive(Debug)]
pub(crate) struct Ride {
    /// Held until the command is done.
    pub permit: OwnedSemaphorePermit,
    /// Nobody waits for the answer after this.
    pub deadline: Instant,
}

/// A code that a phone can use now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownCode {
    /// Text of the QR code, or the pairing code without a hyphen.
    pub code: String,
    /// Until when it can be used.
    pub expires_at: Timestamp,
}

#[derive(Debug)]
pub(crate) struct OrderCall {
    pub order: Order,
    pub ride: Ride,
    pub reply: Reply<Instance>,
}

#[derive(Debug)]
pub(crate) struct SendCall {
    pub to: Address,
    pub content: Content,
    pub reply_to: Option<Quoted>,
    pub stamp: Stamp,
    /// Is told of the message once WhatsApp's server has it or refused it.
    pub settled: Option<oneshot::Sender<Message>>,
    pub ride: Ride,
    pub reply: Reply<Outcome<Message>>,
}

#[derive(Debug)]
pub(crate) struct ReadCall {
    pub message: Message,
    pub ride: Ride,
    pub reply: Reply<Message>,
}

#[derive(Debug)]
pub(crate) struct CodeCall {
    pub kind: CodeKind,
    pub ride: Ride,
    pub reply: Reply<ShownCode>,
}

/// The row was changed by its tenant.
#[derive(Debug)]
pub(crate) struct ChangedCall {
    /// Is told once the change is applied; dropped when the session ends before.
    pub applied: oneshot::Sender<()>,
}

/// Messages of a session actor.
#[derive(Debug)]
pub(crate) enum SessionMessage {
    // Orders.
    Order(OrderCall),
    Send(Box<SendCall>),
    MarkRead(Box<ReadCall>),
    AwaitCode(CodeCall),
    Changed(ChangedCall),
    Shutdown { succeeded: bool },
    // Facts: they lie in the inbox.
    FactsDue,
    // Timers.
    LifeDue(Generation),
    OutboxDue(Generation),
    IdleDue,
}

impl ActorMessage for SessionMessage {}

impl Learns for SessionMessage {
    type Fact = Fact;

    fn facts_due() -> Self {
        Self::FactsDue
    }

    fn task_panicked() -> Fact {
        Fact::TaskPanicked
    }
}

/// Reports facts to one life of the actor.
pub(crate) type Reporter = inbox::Reporter<SessionMessage>;
/// Its tasks.
pub(crate) type Tasks = inbox::Tasks<SessionMessage>;

impl SessionMessage {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Order(call) => match call.order {
                Order::Connect(_) => "connect",
                Order::Disconnect => "disconnect",
                Order::Logout => "logout",
                Order::Delete => "delete",
            },
            Self::Send(_) => "send",
            Self::MarkRead(_) => "mark_read",
            Self::AwaitCode(_) => "await_code",
            Self::Changed(_) => "changed",
            Self::Shutdown { .. } => "shutdown",
            Self::FactsDue => "facts_due",
            Self::LifeDue(_) => "life_due",
            Self::OutboxDue(_) => "outbox_due",
            Self::IdleDue => "idle_due",
        }
    }
}

/// Messages that were accepted before a session began.
pub(crate) struct Unsent {
    pub count: u64,
    pub last: Option<MessageId>,
    /// As many of them as it holds in memory.
    pub first: Vec<Message>,
}

/// What a session learns from its link and from its own tasks.
pub(crate) enum Fact {
    Loaded(Box<Instance>, Unsent),
    Link(Generation, LinkFact),
    GatePassed(Generation, GatePass),
    Opened(Generation, Result<Arc<dyn Link>, OpenError>),
    LogoutTold(Generation),
    Closed(Generation),
    /// An entry of the journal was written.
    Written(Option<Ticket>, Written),
    Accepted(Box<Accepted>),
    Sent(Generation, String, Result<(), SendError>),
    /// Status changes were written; the messages that moved, and what was written.
    Advanced(Vec<Message>, Vec<Change>),
    Fetched(Backlog, usize, Option<Vec<Message>>),
    Deleted(Ticket, Result<(), String>),
    /// The store says that another owner has taken over.
    Fenced,
    /// A task of the session panicked.
    TaskPanicked,
    /// The instance's row is gone.
    Vanished,
    /// The store cannot go on with this instance.
    Broken(String),
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

pub(crate) enum Written {
    Step(Box<Instance>),
    /// Tried once, and not written.
    NotNow(String),
    Event,
    PendingFailed,
    /// Read again; whoever changed it waits.
    Reread(Box<Instance>, ChangedCall),
}

/// What came of accepting a message.
pub(crate) struct Accepted {
    /// The message, when it was accepted now.
    pub message: Option<Message>,
    /// Whether the store may have it although it could not say so.
    pub uncertain: bool,
    pub settled: Option<oneshot::Sender<Message>>,
}

/// What a client asks to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendRequest {
    /// The recipient.
    pub to: Address,
    /// What it says.
    pub content: Content,
    /// The message it answers.
    pub reply_to: Option<ReplyTo>,
    /// How long to wait for the ack of WhatsApp's server; without it the answer comes as soon as the
    /// message is durable.
    pub wait: Option<Duration>,
}

/// How a client names the message it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplyTo {
    /// By its id here.
    Message(roost_domain::MessageId),
    /// By its id on WhatsApp.
    WhatsappId(String),
}

/// What a client asks for as a new instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CreateInstance {
    /// Name for humans.
    pub name: String,
    /// Proxy through which it connects.
    pub proxy: Option<String>,
    /// How fast it sends.
    pub pacing: Option<Pacing>,
    /// What it may not do.
    pub policy: Policy,
    /// How many the tenant may have, where that is less than the node's own limit.
    pub instances_max: Option<u32>,
}
