//! Faults, on real processes: the gateway runs as its own process against a sandbox in the test's
//! process, and is killed, starved and cut off. What must hold afterwards is what Roost promises:
//! nothing acknowledged is lost, nothing is sent twice, every running instance comes back unscanned, and
//! no secret is anywhere in plain text.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a broken expectation is how a test fails"
)]
#![allow(clippy::print_stdout, reason = "says how much traffic there was")]
#![allow(
    clippy::disallowed_methods,
    reason = "kills at points that nobody chose, as often as the environment says; stands outside the gateway"
)]

mod cluster_notes;
mod disk;
mod gap;
#[allow(dead_code, reason = "the cluster tests use the rest")]
mod gateway;
mod ground;
mod kill;
mod ledger;
mod outage;
mod presence;
#[allow(dead_code, reason = "the cluster tests use the rest")]
mod proxy;
mod secrets;
mod webhook;
