//! The port of the outgoing call: one POST to a stranger's endpoint.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// Why an address is not posted to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is not an absolute `https` (or, if allowed, `http`) URL that can be posted to.
    #[error("{0}")]
    Invalid(String),
    /// Policy forbids the host, the port, or an address that the host's name resolves to.
    #[error("{0}")]
    Forbidden(String),
    /// The host's name does not resolve now.
    #[error("{0}")]
    Unresolvable(String),
}

/// One POST.
#[derive(Debug, Clone)]
pub struct OutgoingCall {
    /// Where to.
    pub url: Arc<str>,
    /// Headers beside those that every call has. Names are lower case.
    pub headers: Vec<(Arc<str>, String)>,
    /// The body, JSON.
    pub body: Bytes,
    /// Covers name resolution, connect, TLS, head and body.
    pub timeout: Duration,
}

/// What the endpoint said. Its status alone decides whether it took the event: a body that stays
/// incomplete takes nothing back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallAnswer {
    /// Status of the answer.
    pub status: u16,
    /// What `Retry-After` asks for.
    pub retry_after: Option<Duration>,
    /// The beginning of the body, at most 4 KiB.
    pub body: Bytes,
}

/// Why there was no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// The address may not be posted to: nothing was sent.
    #[error("{0}")]
    Forbidden(String),
    /// The host's name does not resolve.
    #[error("{0}")]
    Dns(String),
    /// No connection.
    #[error("{0}")]
    Connect(String),
    /// The certificate or the TLS handshake is bad.
    #[error("{0}")]
    Tls(String),
    /// The head of an answer did not come in time.
    #[error("{0}")]
    Timeout(String),
    /// The connection ended before the head was complete.
    #[error("{0}")]
    Closed(String),
    /// What came is not HTTP.
    #[error("{0}")]
    Protocol(String),
}

impl CallFailure {
    /// Its code in the API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Forbidden(_) => "forbidden_address",
            Self::Dns(_) => "dns",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Timeout(_) => "timeout",
            Self::Closed(_) => "closed",
            Self::Protocol(_) => "protocol",
        }
    }
}

/// Posts to strangers. Safe against what a URL or its name may lead to: the policy is applied to the
/// address that is connected to, at each connect.
#[async_trait]
pub trait WebhookClient: Send + Sync {
    /// Whether an endpoint may be added: its URL, and each address that its name resolves to now.
    async fn check(&self, url: &str) -> Result<(), TargetError>;

    /// What calls to one server have in common: its host and port, in normal form.
    fn host(&self, url: &str) -> Result<Arc<str>, TargetError>;

    /// Posts once.
    async fn post(&self, call: OutgoingCall) -> Result<CallAnswer, CallFailure>;
}
