//! What Roost keeps: SQLite and PostgreSQL behind the ports of [`roost_domain::store`].
//!
//! [`SqlStore::open`] gives the one implementation of every port. Reads go through a pool of
//! connections. Every write is a unit of work handed to one writer per node, which commits what is
//! queued in one transaction with one statement per kind, and answers each unit for itself: see
//! [`writer`]. What is secret is encrypted before it reaches a statement: see [`crypto`].
//!
//! After a crash everything that was answered is there, and nothing is half there.

mod audit;
mod config;
mod crypto;
mod database;
mod event;
mod instance;
mod key;
mod link_state;
mod master_key;
mod message;
mod node;
mod open;
#[cfg(test)]
mod plan;
mod reply;
mod schema;
#[cfg(feature = "stop-points")]
pub mod stop_point;
#[cfg(not(feature = "stop-points"))]
mod stop_point;
mod sweep;
mod tenant;
#[cfg(feature = "testing")]
pub mod testing;
mod usage;
mod webhook;
mod writer;

pub use config::{StoreConfig, Synchronous, WriterLimits};
pub use master_key::{MasterKey, MasterKeyError};
pub use open::{OpenError, SqlStore, migrate};
pub use schema::{AppliedMigration, Migrated};
