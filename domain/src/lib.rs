//! The words of Roost and the ports between its parts.
//!
//! This crate holds types and traits only: no runtime, no I/O, no ambient clock or randomness.
//! Everything else depends on it and on nothing beside it: `actors` runs sessions against the ports
//! [`engine`] and [`store`]; the crates `roost-engine` and `roost-store` implement them.
//!
//! Reading order: [`instance`], [`message`], [`event`], [`webhook`], [`tenant`], [`api_key`],
//! [`limit`], [`audit`], then the ports.

pub mod address;
pub mod api_key;
pub mod audit;
pub mod cluster;
pub mod engine;
pub mod error;
pub mod event;
pub mod id;
pub mod instance;
pub mod limit;
pub mod message;
pub mod outage;
pub mod page;
pub mod peer;
pub mod rotation;
mod schema;
pub mod slot;
pub mod store;
pub mod tenant;
pub mod time;
pub mod usage;
pub mod webhook;

pub use address::{Address, AddressError, PhoneNumber};
pub use error::ErrorCode;
pub use id::{ApiKeyId, AuditEventId, EventId, InstanceId, MessageId, TenantId, WebhookId};
pub use slot::{Epoch, Owner, Slot};
pub use time::{Clock, Timestamp};
