//! The sandbox over real sockets, spoken to by a client of the tests' own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod appstate;
mod bundle;
mod client;
mod control;
mod device;
mod fault;
mod hostile;
mod kinds;
mod ledger;
mod message;
mod pairing;
mod peer_data;
mod privacy;
mod restart;
mod rules;
mod scenario;
mod stage;
mod state;
mod traffic;
