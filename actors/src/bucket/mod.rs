//! Buckets: each counts one rate limit, and has an actor that owns it.
//!
//! ```text
//!              ┌── lease left ──> BucketCell        one lock, no message
//!   HTTP ──> Buckets                  ^
//!          (handle) └── turn ──> BucketActor ──> Bucket (GCRA)
//! ```
//!
//! [`Buckets`] is what callers hold. A bucket's state lies in a cell that its callers share with its actor.
//! The actor takes from the bucket, and each time leaves a small lease in the cell: that much callers grant
//! themselves without asking it. They refuse by themselves too, as long as the bucket has nothing. What is
//! left of a lease flows back when the actor is asked again, or with the next sweep.
//!
//! What the machine promises has an id: B1, in its header. Availability goes before exactness in two cases:
//! a call that gets no answer within `deadline` is let through, and counted as such; and a bucket whose
//! actor broke or was restarted by an operator begins full.
//!
//! A bucket is started by the first call that takes from it, and leaves memory when it is full and has not
//! been used for a while: it is then as a new one, and nothing is stored. Beyond `max` live buckets,
//! addresses that have none share one; buckets of tenants and keys, which are rows, are always started.
//!
//! In a cluster the bucket of a key or a tenant lives on its slot's owner; other nodes have a branch of it
//! ([`branch`]), which spends what the owner has lent. Each node has buckets of its own for addresses.
//!
//! After a crash of the process every bucket is full.

mod actor;
mod ask;
mod branch;
mod cell;
mod clock;
mod handle;
mod kind;
mod machine;
mod message;
mod settings;
mod stats;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use cell::BucketView;
pub use handle::Buckets;
pub use settings::BucketSettings;
pub use stats::{BucketNumbers, LimitNumbers};

pub(crate) use cell::BucketCell;
pub(crate) use handle::BucketsParts;
pub(crate) use kind::BucketKind;

use self::clock::Uptime;
use self::stats::Counters;

/// What all buckets of a node share.
pub(crate) struct BucketNode {
    uptime: Arc<Uptime>,
    counters: Counters,
    settings: BucketSettings,
}

impl BucketNode {
    pub(crate) fn new(settings: BucketSettings) -> Self {
        Self {
            uptime: Arc::new(Uptime::new()),
            counters: Counters::default(),
            settings,
        }
    }
}
