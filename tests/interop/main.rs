//! What was written elsewhere: Baileys against the sandbox and against instances of Roost, and the public
//! libraries of Standard Webhooks against what Roost posts; and tools that test the API by its description.
//!
//! Each Baileys is a Node process (`client/main.js`) that does what it is told. What came of it is judged
//! by Roost's API and by the sandbox, which verifies every signature itself: this client's own checks of
//! signatures accept anything. `just interop` fetches what they need and runs them.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]
#![allow(clippy::disallowed_methods, reason = "clients of a test need no limits")]

mod account;
mod amend;
mod baileys;
mod chat;
mod contract;
mod device;
mod fault;
mod ground;
mod group;
mod link;
mod media;
mod offline;
#[path = "../api/receiver.rs"]
#[allow(dead_code, reason = "the API's tests use the rest")]
mod receiver;
mod restart;
mod text;
mod webhook;
#[path = "../api/world.rs"]
#[allow(dead_code, reason = "the API's tests use the rest")]
mod world;
