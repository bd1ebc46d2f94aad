//! An actor as operators see it, on whichever node it lives.

use std::borrow::Cow;

use roost_domain::slot::Slot;
use roost_domain::{Epoch, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::bucket::BucketView;

/// A message that has waited for so long shows an actor that does not keep up, or has stopped to work.
const STUCK_MS: u64 = 5_000;

/// The last failure of an actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// `panic`, `retry` or `final`.
    pub class: Cow<'static, str>,
    /// What happened.
    pub text: String,
}

/// Commands that wait in an actor's mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MailboxView {
    /// How many.
    pub depth: usize,
    /// How long the oldest has waited, in milliseconds.
    pub oldest_ms: u64,
}

/// Permits of one class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PermitView {
    /// The class: `send`, `query` or `control`.
    pub class: Cow<'static, str>,
    /// Taken.
    pub used: usize,
    /// Most.
    pub max: usize,
}

/// The pace of a session that has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PaceView {
    /// Accepted messages that are not sent yet.
    pub waiting: u64,
    /// When the next of them may be sent at the earliest, once the instance is connected.
    pub next_send_at: Option<Timestamp>,
}

/// One actor as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActorView {
    /// Place in the tree, for example `instance/ins_…`.
    pub path: String,
    /// Kind of actor.
    pub kind: Cow<'static, str>,
    /// What it is for, when there are many of its kind.
    pub key: Option<String>,
    /// Slot of the key.
    pub slot: Option<Slot>,
    /// Node it runs on.
    pub node: String,
    /// Epoch under which it acts.
    pub epoch: Option<Epoch>,
    /// Where it stands, in the words of its kind; `backing_off` and `quarantined` for one that does
    /// not run.
    pub state: Cow<'static, str>,
    /// Its status in the actor runtime.
    pub ractor_status: Option<String>,
    /// When this life of it began.
    pub started_at: Option<Timestamp>,
    /// How long this life has lasted.
    pub uptime_ms: Option<u64>,
    /// How often it was started again.
    pub restarts: u32,
    /// Its last failure.
    pub last_error: Option<LastError>,
    /// When it is started again.
    pub next_retry_at: Option<Timestamp>,
    /// Whether an operator has to look at it.
    pub needs_operator: bool,
    /// Its mailbox.
    pub mailbox: MailboxView,
    /// Its permits.
    pub permits: Vec<PermitView>,
    /// Its pace, if it is a session that has one.
    pub pacing: Option<PaceView>,
    /// Messages handled in this life.
    pub handled: u64,
    /// When it last handled one.
    pub last_activity_at: Option<Timestamp>,
    /// Kind of the message handled last.
    pub last_message: Option<Cow<'static, str>>,
    /// What a bucket has counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub bucket: Option<BucketView>,
}

/// How much an actor needs somebody to look at it: the grade, how long its oldest message has waited, and
/// how often it was started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Urgency {
    grade: Grade,
    oldest_ms: u64,
    restarts: u32,
}

/// What is wrong with an actor, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Nothing.
    Fine,
    /// It failed and is started again.
    BacksOff,
    /// It does not handle its messages.
    Stuck,
    /// It waits for an operator.
    Quarantined,
}

impl Urgency {
    pub(super) fn new(needs_operator: bool, state: &str, mailbox: MailboxView, restarts: u32) -> Self {
        let grade = if needs_operator {
            Grade::Quarantined
        } else if mailbox.depth > 0 && mailbox.oldest_ms >= STUCK_MS {
            Grade::Stuck
        } else if state == "backing_off" {
            Grade::BacksOff
        } else {
            Grade::Fine
        };
        Self {
            grade,
            oldest_ms: mailbox.oldest_ms,
            restarts,
        }
    }

    /// What is wrong.
    pub fn grade(self) -> Grade {
        self.grade
    }
}

impl ActorView {
    /// How much it needs somebody to look at it.
    pub fn urgency(&self) -> Urgency {
        Urgency::new(self.needs_operator, &self.state, self.mailbox, self.restarts)
    }
}

/// What a listing is restricted to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActorFilter {
    /// Only this kind.
    pub kind: Option<String>,
    /// Only this state.
    pub state: Option<String>,
}
