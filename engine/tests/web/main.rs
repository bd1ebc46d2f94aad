//! The web engine against the sandbox, on the real wire.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails where it panics, and runs on real time"
)]

#[path = "../support/mod.rs"]
mod support;

mod life;
mod messages;
mod pairing;
mod proxy;
mod redelivery;
mod store;
mod world;
