//! The byte level of the wire: frames, the Noise handshake, binary nodes and JIDs.
//!
//! Everything here is pure: bytes in, values out, no clock and no socket. The server feeds it what
//! arrives on a WebSocket; tests drive the client side of the same codecs. Every decoder is safe on
//! hostile input: it answers an error, and what it allocates is bounded by what it was given.

pub mod frame;
pub mod jid;
pub mod node;
pub mod noise;
pub mod proto;
pub mod token;
pub mod websocket;

#[cfg(test)]
mod tests;
