//! Sessions: the live runs of instances.
//!
//! ```text
//!   HTTP ──> Instances ──permit──> SessionActor ──> Machine (life)   ──effects──> Engine, Store
//!            (handle)              (shell)      ──> Outbox (sending)
//!   link ──> SessionObserver ──inbox──┘         ──> StatusQueue (acks and receipts)
//! ```
//!
//! [`Instances`] is what callers hold. It checks the tenant, asks the placement where the instance
//! lives, takes a permit and queues a command for the session's actor. The actor is a shell around
//! three pure structures: it never waits in a handler, but runs tasks which report back.
//!
//! After a crash nothing in here is missed: what the owner wants, each accepted message with its
//! WhatsApp id and each step of the session's life are rows before they have an effect. A successor
//! reads them and goes on. Messages that were on the wire are sent again under the same id.

mod actor;
pub(crate) mod ask;
mod desk;
mod effect;
mod handle;
mod kind;
mod machine;
mod message;
mod observer;
mod outbox;
mod sending;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod wire;

pub use handle::Instances;
pub(crate) use handle::InstancesParts;
pub(crate) use kind::InstanceKind;
pub use message::{CreateInstance, ReplyTo, SendRequest, ShownCode};
