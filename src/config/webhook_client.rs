//! `[webhooks.client]`: how webhook endpoints are reached. `config/default.toml` says what each key means.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::value::{duration, networks, optional, size};

/// `[webhooks.client]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookClient {
    /// Whether URLs without TLS are taken.
    pub allow_http: bool,
    /// Networks that are posted to although they are not public.
    #[serde(with = "networks")]
    pub allowed_networks: Vec<IpNet>,
    /// Ports that are posted to; none is the built-in choice.
    pub ports: Vec<Ports>,
    /// Certificates to trust beside the usual roots.
    #[serde(with = "optional")]
    pub extra_roots_file: Option<PathBuf>,
    /// Time for name resolution, connection and TLS.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
    /// Names being resolved.
    pub lookups_max: usize,
    /// How long the addresses of a name are good for.
    #[serde(with = "duration")]
    pub lookup_ttl: Duration,
    /// Connections that are kept for further calls.
    pub pool_max: usize,
    /// Idle connections to one host and port.
    pub idle_per_host_max: usize,
    /// How long a connection may be idle.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Largest head of an answer.
    #[serde(with = "size")]
    pub head_bytes_max: usize,
    /// What is read of an answer's body.
    #[serde(with = "size")]
    pub body_bytes_max: usize,
}

/// Ports, written as `443` or `8000-8999`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ports(RangeInclusive<u16>);

impl Ports {
    /// Whether the port is one of them.
    pub fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if 0 < first && first <= last => Ok(Self(first..=last)),
            _ => Err(format!(
                "expected a port such as \"443\" or ports such as \"8000-8999\", not {text:?}"
            )),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.start() == self.0.end() {
            write!(f, "{}", self.0.start())
        } else {
            write!(f, "{}-{}", self.0.start(), self.0.end())
        }
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
