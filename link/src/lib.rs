//! What nodes of one cluster say to each other.
//!
//! [`Link`] implements the port [`Peers`](roost_domain::peer::Peers) on `ractor_cluster` and hands what
//! others ask to a [`Service`](roost_domain::peer::Service). Only the composition in `src` knows this
//! crate.
//!
//! ```text
//!             accept ──┐ mutual TLS, greeting                ┌── door      starts a NodeSession per link
//!  socket ────┤        ├──────────────────> peer (task) ─────┤
//!             dial   ──┘ (a deadline over both)              └── gateway   the one remotable actor
//! ```
//! - Every socket is ours until the peer is known: mutual TLS, then a greeting in which both prove that
//!   they know the cluster's cookie on this very channel. Only then does `ractor_cluster` see it.
//! - Of two nodes the one with the lower name dials. A link is replaced by a later one of its peer.
//! - A link that brings nothing for three pings is cut. Calls that wait on it fail at once.
//! - Calls have a deadline, a cap on their number and size per peer, and typed errors.
//!
//! Nothing here survives a crash, and nothing needs to: addresses come from the database, calls are
//! answered or fail, notes may be lost.

mod accept;
pub mod certs;
mod config;
mod dial;
mod door;
mod error;
mod gateway;
mod greeting;
mod link;
mod outbox;
mod peer;
mod renew;
mod root;
mod shared;
mod socket;
mod stream;
mod tls;
mod wire;

#[cfg(test)]
mod tests;

pub use config::{Cookie, CookieError, Limits, LinkConfig, TlsFiles};
pub use error::LinkError;
pub use link::{Link, Listening};
