//! The API on the real router over TCP: real store on a SQLite file, real engine, real wire to the
//! sandbox with real end-to-end encryption.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(clippy::disallowed_methods, reason = "clients of a test need no limits")]

mod audit;
mod bad_input;
mod bound_key;
mod browser;
mod connection;
mod delivery;
mod description;
mod event;
mod flood;
mod health;
mod hostile;
mod idempotency;
mod instance;
mod isolation;
mod key;
mod limit;
mod matrix;
mod message;
mod operator;
mod pacing;
mod publish;
mod raw;
mod receiver;
mod restart;
mod revocation;
mod slow;
mod stream_token;
mod suspension;
mod tenant;
mod usage;
mod webhook;
mod websocket;
mod world;
