//! One suite of facts about the store, true on SQLite and on PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod cluster;
mod cluster_calls;
mod events;
mod faults;
mod fixture;
mod inbound;
mod instances;
mod isolation;
mod keys;
mod lease;
mod link_state;
mod messages;
mod model;
mod nodes;
mod open;
mod policy;
mod retention;
mod rotation;
mod secrets;
mod slots;
mod tenant_end;
mod tenants;
mod upgrade;
mod usage;
mod webhook;
mod webhook_lists;
mod webhook_log;
mod webhook_owner;
mod webhook_redrive;
mod webhook_secrets;
mod webhook_settle;
mod webhook_sweep;

/// Runs each fact on both databases.
macro_rules! on_both {
    ($($fact:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $fact() { super::$fact(crate::fixture::Fixture::sqlite().await).await; })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $fact() { super::$fact(crate::fixture::Fixture::postgres().await).await; })*
        }
    };
}
pub(crate) use on_both;
