//! The sandbox over real sockets, spoken to by a client of the tests' own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bundle;
mod client;
mod control;
mod fault;
mod group;
mod group_control;
mod group_invite;
mod group_message;
mod group_restart;
mod history;
mod hostile;
mod ledger;
mod media;
mod member;
mod message;
mod pairing;
mod picture;
mod restart;
mod rules;
mod scenario;
mod stage;
mod state;
mod traffic;
