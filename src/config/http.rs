//! `[http]`: the API's listener. `config/default.toml` says what each key means.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use axum::http::HeaderValue;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Config;
use super::value::{duration, networks, size};

/// `[http]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address of the API.
    pub listen: SocketAddr,
    /// Networks of the proxies that are believed about the address of a client.
    #[serde(with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// The header in which they tell it.
    pub client_address_header: ClientAddressHeader,
    /// Open connections.
    pub connections_max: usize,
    /// Open connections of one address.
    pub connections_per_address_max: usize,
    /// Requests at once on one HTTP/2 connection.
    pub http2_streams_max: u32,
    /// Requests being worked on.
    pub requests_max: usize,
    /// Requests whose body is being waited for.
    pub uploads_max: usize,
    /// Time for the head of a request.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// Largest head of a request.
    #[serde(with = "size")]
    pub header_bytes_max: usize,
    /// Largest body of a request.
    #[serde(with = "size")]
    pub body_bytes_max: usize,
    /// Time for a body beside what its pace allows.
    #[serde(with = "duration")]
    pub body_grace: Duration,
    /// The slowest pace of a body.
    #[serde(with = "size")]
    pub body_bytes_per_second_min: usize,
    /// How long an answer may go unread.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// Time for a request in all.
    #[serde(with = "duration")]
    pub request_timeout: Duration,
    /// Longest wait that a client may ask for.
    #[serde(with = "duration")]
    pub wait_max: Duration,
    /// How long answers to idempotent requests are kept.
    #[serde(with = "duration")]
    pub idempotency_ttl: Duration,
    /// Open streams of one tenant.
    pub streams_per_tenant_max: usize,
    /// How often a quiet stream says that it is alive.
    #[serde(with = "duration")]
    pub stream_keep_alive: Duration,
    /// How long a stream may go unread.
    #[serde(with = "duration")]
    pub stream_stall_timeout: Duration,
    /// Whether `/openapi.json` and `/docs` are served.
    pub docs: bool,
    /// Whether answers are compressed.
    pub compression: bool,
    /// The smallest answer that is.
    #[serde(with = "size")]
    pub compression_bytes_min: usize,
    /// Pages of other origins.
    pub cors: Cors,
}

/// `[http.cors]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Origins whose pages may call.
    pub allowed_origins: Vec<Origin>,
    /// How long a browser may remember that.
    #[serde(with = "duration")]
    pub max_age: Duration,
}

/// The header in which a proxy tells the address of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAddressHeader {
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

/// An origin as browsers write it, or any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `*`
    Any,
    /// `https://app.example.com`
    Of(HeaderValue),
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let wrong =
            || format!("expected an origin such as \"https://app.example.com\", or \"*\", not {text:?}");
        let url = url::Url::parse(text).map_err(|_| wrong())?;
        let origin = url.origin().ascii_serialization();
        // A path, a default port or an upper-case letter would never match what a browser sends.
        if origin != text || !url.origin().is_tuple() {
            return Err(wrong());
        }
        HeaderValue::from_str(text).map(Self::Of).map_err(|_| wrong())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            // It was made from a text.
            Self::Of(value) => f.write_str(value.to_str().unwrap_or_default()),
        }
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What has to hold between keys of this section and others.
pub(super) fn relations(config: &Config, mut need: impl FnMut(bool, &str, &str)) {
    let Config { http, session, .. } = config;
    let second = Duration::from_secs(1);
    need(
        http.wait_max + 10 * second <= http.request_timeout,
        "http.request_timeout",
        "must exceed http.wait_max by at least 10s",
    );
    for (key, timeout) in [
        ("session.send_timeout", session.send_timeout),
        ("session.query_timeout", session.query_timeout),
        ("session.control_timeout", session.control_timeout),
    ] {
        need(
            timeout < http.request_timeout,
            key,
            "must be shorter than http.request_timeout",
        );
    }
    need(
        http.connections_max >= 1 && http.requests_max >= 1 && http.uploads_max >= 1,
        "http.requests_max",
        "this, http.uploads_max and http.connections_max must be at least 1",
    );
    need(
        http.connections_per_address_max >= 1 && http.http2_streams_max >= 1,
        "http.connections_per_address_max",
        "this and http.http2_streams_max must be at least 1",
    );
    need(
        http.body_bytes_max >= 1024,
        "http.body_bytes_max",
        "must be at least 1KiB",
    );
    need(
        http.body_bytes_per_second_min >= 1,
        "http.body_bytes_per_second_min",
        "must be at least 1B",
    );
    need(
        (8192..=1 << 20).contains(&http.header_bytes_max),
        "http.header_bytes_max",
        "must be 8KiB to 1MiB",
    );
    for (key, timeout) in [
        ("http.header_timeout", http.header_timeout),
        ("http.body_grace", http.body_grace),
        ("http.write_timeout", http.write_timeout),
        ("http.stream_keep_alive", http.stream_keep_alive),
        ("http.stream_stall_timeout", http.stream_stall_timeout),
    ] {
        need(timeout >= second, key, "must be at least 1s");
    }
}
