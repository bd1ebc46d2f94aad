//! What a node's link is told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use roost_domain::cluster::NodeName;

use crate::error::LinkError;

/// Shortest cookie, in bytes.
pub const COOKIE_BYTES_MIN: usize = 16;

/// Secret that all nodes of a cluster share. It does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie(Vec<u8>);

/// A cookie is too short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a cluster's cookie has at least {COOKIE_BYTES_MIN} bytes")]
pub struct CookieError;

impl Cookie {
    /// A cookie of these bytes.
    pub fn new(secret: impl Into<Vec<u8>>) -> Result<Self, CookieError> {
        let secret = secret.into();
        if secret.len() < COOKIE_BYTES_MIN {
            return Err(CookieError);
        }
        Ok(Self(secret))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Cookie {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookie")
    }
}

/// Where this node's certificate is, and the authority that vouches for all nodes. All are PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities.
    pub authority: PathBuf,
    /// This node's certificate, and those between it and the authority. It has to name the node as a
    /// DNS name, and to be good for servers and clients.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What a link may use. The defaults suit clusters of up to some dozen nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Calls to one peer that may be under way, and calls of one peer that may be served.
    pub calls_in_flight_max: usize,
    /// Bytes of the bodies of calls to one peer that may be under way.
    pub bytes_in_flight_max: usize,
    /// Largest body of a call or an answer.
    pub body_bytes_max: usize,
    /// Sockets whose peer is not known yet.
    pub strangers_max: usize,
    /// Time for connecting, TLS and the greeting.
    pub greeting_timeout: Duration,
    /// Pause between two attempts to dial; up to half of it is added by chance.
    pub redial_pause: Duration,
    /// Pause between two pings, and time for an answer.
    pub ping_interval: Duration,
    /// Pings without any byte from the peer after which the link is cut.
    pub pings_missed_max: u32,
    /// Notes to one peer that may wait.
    pub notes_max: usize,
    /// Shortest time between two batches of notes to one peer.
    pub notes_interval: Duration,
    /// How often the files of the certificates are looked at.
    pub certificates_check: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_in_flight_max: 512,
            bytes_in_flight_max: 16 << 20,
            body_bytes_max: 1 << 20,
            strangers_max: 256,
            greeting_timeout: Duration::from_secs(5),
            redial_pause: Duration::from_secs(1),
            ping_interval: Duration::from_millis(500),
            pings_missed_max: 3,
            notes_max: 8_192,
            notes_interval: Duration::from_millis(5),
            certificates_check: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Largest frame that is read: a full body with its head.
    pub(crate) fn frame_bytes_max(&self) -> u64 {
        // A head is far below this; so are the synchronisation messages of `ractor_cluster`.
        self.body_bytes_max as u64 + 65_536
    }

    fn check(&self) -> Result<(), LinkError> {
        let positive = [
            ("calls_in_flight_max", self.calls_in_flight_max),
            ("body_bytes_max", self.body_bytes_max),
            ("strangers_max", self.strangers_max),
            ("notes_max", self.notes_max),
            ("pings_missed_max", self.pings_missed_max as usize),
            ("ping_interval", self.ping_interval.as_millis() as usize),
            ("redial_pause", self.redial_pause.as_millis() as usize),
            ("greeting_timeout", self.greeting_timeout.as_millis() as usize),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(LinkError::Config(format!("{name} must be more than 0")));
        }
        if self.bytes_in_flight_max < self.body_bytes_max {
            return Err(LinkError::Config(
                "bytes_in_flight_max must not be less than body_bytes_max".to_owned(),
            ));
        }
        if self.bytes_in_flight_max > 1 << 30 {
            return Err(LinkError::Config(
                "bytes_in_flight_max is at most 1 GiB".to_owned(),
            ));
        }
        Ok(())
    }
}

/// Everything a node's link is told.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// This node.
    pub node: NodeName,
    /// Release that it runs, for others to show.
    pub release: String,
    /// Where it listens. Port 0 takes any.
    pub listen: SocketAddr,
    /// The cluster's secret.
    pub cookie: Cookie,
    /// Its certificate. Without one, nodes only speak to nodes on the same host.
    pub tls: Option<TlsFiles>,
    /// What it may use.
    pub limits: Limits,
}

impl LinkConfig {
    pub(crate) fn check(&self) -> Result<(), LinkError> {
        self.limits.check()?;
        if self.tls.is_none() && !self.listen.ip().is_loopback() {
            return Err(LinkError::PlainAddress(self.listen));
        }
        Ok(())
    }
}
