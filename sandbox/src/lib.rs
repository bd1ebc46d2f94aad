//! A simulated WhatsApp on the real wire.
//!
//! `wire` is the byte level (frames, Noise, binary nodes), `signal` the end-to-end cryptography of
//! the virtual phones, `server` the simulated service and its control API.

#[cfg(feature = "server")]
pub mod server;
pub mod signal;
pub mod wire;
