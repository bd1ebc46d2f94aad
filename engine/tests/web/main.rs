//! The web engine against the sandbox, on the real wire.

#[path = "../support/mod.rs"]
mod support;

mod life;
mod messages;
mod pairing;
mod timing;
mod world;
