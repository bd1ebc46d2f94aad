//! A cluster under faults: three nodes as processes of their own on one PostgreSQL, one sandbox, and between
//! any two of them a proxy of the test. What must hold: at no time do two nodes act for one number, no side
//! effect carries an epoch below one that was seen before, and nothing acknowledged is lost or done twice.
//!
//! Who judges:
//! - the sandbox, which gives every login and every frame of every device one number in one order. Each life
//!   of a node reaches it from an address of its own (`wire.rs`);
//! - PostgreSQL, in which triggers note for every write of an owner which life made it, for which number and
//!   under which epoch, and every claim of a slot (`journal.rs`);
//! - a receiver of webhooks, which finds out for every connection which process made it (`receiver.rs`);
//! - the phones and the event log, as in the fault tests (`../fault/ledger.rs`).
//!
//! The rules are in `judge.rs`. Each test also shows that its fault happened. Times are printed, and asserted
//! only where the promise is one of safety, because machines that run tests are slow.
//!
//! 60 instances by default, as many as `ROOST_TEST_CLUSTER_INSTANCES` says. The tests run one after the other.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a broken expectation is how a test fails"
)]
#![allow(clippy::print_stdout, reason = "says what was measured")]
#![allow(
    clippy::disallowed_methods,
    reason = "reads its environment and the time; stands outside the gateway"
)]

#[allow(dead_code, reason = "the fault tests use the rest")]
#[path = "../fault/gateway.rs"]
mod gateway;
#[allow(dead_code, reason = "the fault tests use the rest")]
#[path = "../fault/ground.rs"]
mod ground;
#[allow(dead_code, reason = "the fault tests use the rest")]
#[path = "../fault/ledger.rs"]
mod ledger;
#[allow(dead_code, reason = "the fault tests use the rest")]
#[path = "../fault/proxy.rs"]
mod proxy;

mod change;
mod cluster;
mod crash;
mod freeze;
mod front;
mod journal;
mod judge;
mod line;
mod measure;
mod node;
mod operator;
mod outage;
mod partition;
mod receiver;
mod traffic;
mod wire;
