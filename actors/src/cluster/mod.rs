//! This node as one of several: its lease, the slots it owns, and how they move.
//!
//! ```text
//! keeper (own thread) ── register, renew ──▶ node_lease        lease: until when this node may act
//!    │ on loss: kills everything, by signals
//! steward (actor) ────── view, claim, release ──▶ slot         placement: who owns which slot
//!    │ starts what lives in slots that came, ends what lives in slots that go
//! mesh ◀── who is there ─┘      calls to other nodes; exchange: what they ask of this one
//! ```
//! Rows in the database are the truth ([`roost_domain::cluster`]). A node that crashes loses nothing but
//! its slots: they are free when its lease has run out, and whoever takes them finds in the store what is
//! to run.

mod exchange;
mod joined;
mod keeper;
mod lease;
mod news;
mod numbers;
mod placement;
mod plan;
pub(crate) mod resting;
pub(crate) mod route;
mod settings;
pub(crate) mod steward;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use exchange::Exchange;
pub use joined::ClusterParts;
pub(crate) use joined::Joined;
pub use keeper::JoinError;
pub use lease::{BootTime, HeldLease, UpTime};
pub use news::{Listener, News};
pub use numbers::ClusterNumbers;
pub use placement::ClusterPlacement;
pub(crate) use placement::rendezvous;
pub(crate) use plan::live_owner;
pub use settings::ClusterSettings;
pub(crate) use steward::Stewardship;
