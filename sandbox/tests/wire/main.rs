//! The sandbox over real sockets, spoken to by a client of the tests' own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bundle;
mod client;
mod control;
mod fault;
mod history;
mod hostile;
mod ledger;
mod media;
mod message;
mod pairing;
mod picture;
mod restart;
mod rules;
mod scenario;
mod stage;
mod state;
mod traffic;
