//! What goes into the machine of a session and what comes out.

use std::time::Duration;

use roost_domain::engine::{LinkFact, OpenError};
use roost_domain::instance::{AccountChange, DesiredState, InstanceState, PairingMethod};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Names an order until it is answered.
pub(crate) type Ticket = u64;
/// Names one link, or one timer, of a session's life.
pub(crate) type Generation = u64;

/// What the owner orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Order {
    Connect(Option<PairingMethod>),
    Disconnect,
    Logout,
    Delete,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// The session has taken ownership; this is its row.
    Loaded {
        state: InstanceState,
        desired: DesiredState,
        paired: bool,
    },
    Order {
        ticket: Ticket,
        order: Order,
    },
    /// The node wants the session to end. A successor runs on, unless an operator stopped it.
    Shutdown {
        succeeded: bool,
    },
    /// A step is durable, or one that was tried only once is not.
    Written {
        ticket: Option<Ticket>,
        result: Result<(), String>,
    },
    GatePassed {
        generation: Generation,
    },
    OpenFailed {
        generation: Generation,
        error: OpenError,
    },
    Link {
        generation: Generation,
        fact: LinkFact,
    },
    /// WhatsApp was told of the logout, or could not be.
    LogoutTold {
        generation: Generation,
    },
    /// Nothing of the link runs any more.
    Closed {
        generation: Generation,
    },
    Timer {
        generation: Generation,
    },
    Deleted {
        ticket: Ticket,
        result: Result<(), String>,
    },
}

/// A step to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub state: InstanceState,
    pub reason: Option<String>,
    pub desired: Option<DesiredState>,
    pub account: AccountChange,
}

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    WrongState(&'static str),
    Unavailable(String),
    /// The session is ending.
    Moving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CodeKind {
    Qr,
    PairingCode,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Write a step after those before it. With `once` it is tried only once.
    Write {
        step: Step,
        ticket: Option<Ticket>,
        once: bool,
    },
    /// Fail every accepted message, after the steps before it.
    FailPending,
    /// Show a code, and write its event after the steps before it.
    ShowCode {
        kind: CodeKind,
        code: String,
        valid_for: Duration,
    },
    HideCode,
    EnterGate {
        generation: Generation,
    },
    /// Give the gate's pass back, or stop waiting for it; no timer is armed any more.
    LeaveGate,
    Open {
        generation: Generation,
        pairing: Option<PairingMethod>,
    },
    /// Close the link and say [`Input::Closed`].
    Close {
        generation: Generation,
    },
    TellLogout {
        generation: Generation,
    },
    LinkUp {
        generation: Generation,
    },
    LinkDown,
    Arm {
        generation: Generation,
        at: Instant,
    },
    Answer {
        ticket: Ticket,
        result: Result<(), Refusal>,
    },
    DeleteRow {
        ticket: Ticket,
    },
    Exit(Exit),
}

/// How the actor ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Fenced,
    Retry(String),
    Panic(String),
}
