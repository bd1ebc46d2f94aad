//! The sandbox over real sockets, spoken to by a client of the tests' own.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod appstate;
mod bundle;
mod client;
mod connection;
mod control;
mod device;
mod fault;
mod group;
mod group_control;
mod group_invite;
mod group_kinds;
mod group_message;
mod group_restart;
mod history;
mod hostile;
mod kinds;
mod ledger;
mod limit;
mod media;
mod member;
mod message;
mod pairing;
mod peer_data;
mod picture;
mod privacy;
mod restart;
mod rules;
mod scenario;
mod stage;
mod state;
mod traffic;
