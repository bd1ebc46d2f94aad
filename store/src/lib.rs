//! What Roost keeps: SQLite and PostgreSQL behind the ports of [`roost_domain::store`].
//!
//! [`SqlStore::open`] gives the one implementation of every port. Reads go through a pool of
//! connections. Every write is a unit of work handed to one writer per node, which commits what is
//! queued in one transaction with one statement per kind, and answers each unit for itself: see
//! [`writer`]. What is secret is encrypted before it reaches a statement: see [`crypto`].
//!
//! After a crash everything that was answered is there, and nothing is half there.

mod audit;
mod backup;
mod cluster;
mod config;
mod crypto;
mod custody;
mod database;
mod event;
mod inspect;
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
mod rotation;
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

pub use backup::{BackedUp, BackupError, Restored, backup, compact, restore};
pub use cluster::{MembershipLimits, PgMembership};
pub use config::{Guard, StoreConfig, Synchronous, WriterLimits};
pub use master_key::{KeySource, MasterKey, MasterKeyError, MasterKeys};
pub use open::{OpenError, SqlStore, migrate};
pub use schema::{AppliedMigration, Migrated};
