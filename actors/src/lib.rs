//! The session runtime: a tree of supervised actors that runs WhatsApp sessions against the ports of
//! `roost-domain`. Knows neither HTTP, nor SQL, nor a WhatsApp library.
//!
//! ```text
//! node                    root supervisor (`node`)
//! ├─ instances            registry (`registry`)
//! │  └─ instance/<id>     session of one WhatsApp number (`instance`)
//! ├─ webhooks             registry (`registry`)
//! │  └─ webhook/<id>      deliverer of one webhook (`webhook`)
//! ├─ buckets              registry (`registry`)
//! │  └─ bucket/<key>      owner of one rate limit (`bucket`)
//! ├─ streams              fan-out of new events (`stream`)
//! ├─ upkeep               expires and sweeps (`node::upkeep`)
//! └─ steward              who owns which slot, in a cluster (`cluster`)
//! ```
//!
//! Reading order: [`instance`], its `machine`, then `registry`, then [`Runtime`].

mod backoff;
pub mod bucket;
pub mod cluster;
mod error;
mod gate;
mod inbox;
mod index;
pub mod instance;
mod line;
mod node;
pub mod operator;
mod pace;
mod permit;
mod persist;
mod placement;
mod post;
mod registry;
mod residents;
mod rest;
mod runtime;
mod settings;
mod stream;
#[cfg(test)]
mod testing;
mod wave;
pub mod webhook;

pub use bucket::{BucketSettings, Buckets};
pub use error::CallError;
pub use gate::GateView;
pub use index::{
    ACTORS_PAGE_MAX, ActorFilter, ActorIndex, ActorView, Grade, LastError, MailboxView, PaceView, PermitView,
    Urgency,
};
pub use instance::Instances;
pub use operator::{Operator, OperatorError};
pub use placement::LocalPlacement;
pub use registry::Operation;
pub use rest::Rest;
pub use runtime::{Runtime, RuntimeParts, StartError, StopReport};
pub use settings::Settings;
pub use stream::{StreamError, Streams, Subscription};
pub use webhook::{WebhookSettings, Webhooks};
