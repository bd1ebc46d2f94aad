//! How the web engine is set up.

use std::time::Duration;

use super::net::{EndpointError, TlsError};

/// Settings of the web engine. The defaults suit the real WhatsApp.
#[derive(Debug, Clone)]
pub struct WebEngineConfig {
    /// WebSocket address of WhatsApp, `wss://…` or `ws://…`.
    pub endpoint: String,
    /// Version of WhatsApp Web that links claim to be. WhatsApp refuses versions that are too old
    /// with [`roost_domain::engine::LinkEnd::Outdated`].
    pub client_version: (u32, u32, u32),
    /// Name of the device in the phone's list of linked devices.
    pub device_name: String,
    /// Certificates in PEM that are trusted beside the public roots.
    pub extra_roots_pem: String,
    /// For a TCP connection, its proxy included.
    pub connect_timeout: Duration,
    /// For the WebSocket handshake, TLS included.
    pub handshake_timeout: Duration,
    /// For one write to get into the socket.
    pub write_timeout: Duration,
    /// From dialling, or from pairing, until the link is proven to be connected. A device that was just
    /// paired takes the account's settings over first.
    pub login_timeout: Duration,
    /// For a phone to use one of the QR codes or the pairing code.
    pub pairing_timeout: Duration,
    /// How often a silent link is asked for a sign of life.
    pub probe_interval: Duration,
    /// For the answer to that.
    pub probe_timeout: Duration,
    /// For one message to be encrypted and written.
    pub send_timeout: Duration,
    /// One-time prekeys generated per upload; WhatsApp Web makes 812.
    pub prekeys: usize,
    /// Blocking jobs of all links together at a time: generating prekeys, decrypting media.
    pub blocking_jobs_max: usize,
    /// Longest WebSocket message that is taken.
    pub message_bytes_max: usize,
    /// Longest HTTP body that is taken.
    pub http_body_bytes_max: u64,
}

impl Default for WebEngineConfig {
    fn default() -> Self {
        Self {
            endpoint: "wss://web.whatsapp.com/ws/chat".to_owned(),
            client_version: DEFAULT_CLIENT_VERSION,
            device_name: "Roost".to_owned(),
            extra_roots_pem: String::new(),
            connect_timeout: Duration::from_secs(10),
            handshake_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(20),
            login_timeout: Duration::from_secs(200),
            pairing_timeout: Duration::from_secs(300),
            probe_interval: Duration::from_secs(45),
            probe_timeout: Duration::from_secs(20),
            send_timeout: Duration::from_secs(30),
            prekeys: 812,
            blocking_jobs_max: 4,
            message_bytes_max: 17 * 1024 * 1024,
            http_body_bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// The newest version that the protocol library was made for.
pub const DEFAULT_CLIENT_VERSION: (u32, u32, u32) = (2, 3000, 1_042_742_319);

/// Why the web engine cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The trust roots.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A number that makes no sense.
    #[error("{0} must not be zero")]
    Zero(&'static str),
}

impl WebEngineConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let durations = [
            ("connect_timeout", self.connect_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("write_timeout", self.write_timeout),
            ("login_timeout", self.login_timeout),
            ("pairing_timeout", self.pairing_timeout),
            ("probe_interval", self.probe_interval),
            ("probe_timeout", self.probe_timeout),
            ("send_timeout", self.send_timeout),
        ];
        if let Some((name, _)) = durations.into_iter().find(|(_, duration)| duration.is_zero()) {
            return Err(ConfigError::Zero(name));
        }
        if self.blocking_jobs_max == 0 {
            return Err(ConfigError::Zero("blocking_jobs_max"));
        }
        if self.message_bytes_max == 0 {
            return Err(ConfigError::Zero("message_bytes_max"));
        }
        Ok(())
    }
}
