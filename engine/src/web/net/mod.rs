//! The network under a link: where it may go, the way there, the WebSocket and HTTP on top.
//!
//! Everything here is a dumb pipe with limits and deadlines. Encryption to WhatsApp's servers is the
//! library's Noise layer above the WebSocket.

mod dial;
mod endpoint;
mod frame;
mod guard;
mod handshake;
mod http;
mod proxy;
mod tls;
mod transport;

pub(super) use dial::Dialer;
pub(super) use endpoint::Endpoint;
pub use endpoint::EndpointError;
pub(super) use http::{HttpLimits, LinkHttp, SharedHttp};
pub(super) use proxy::Proxy;
pub use tls::TlsError;
pub(super) use tls::client_config;
pub(super) use transport::{Transports, WireLimits};

#[cfg(test)]
mod tests;
