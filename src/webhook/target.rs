//! A URL that may be posted to: what is checked of its text, once, before any name is resolved.
//!
//! The text is read by the same rules that browsers have (crate `url`), and what comes out of it is
//! what is connected to: there is no second reading that could see another host.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use hyper::Uri;
use roost_domain::webhook::client::TargetError;
use url::{Host, Url};

use crate::config::Ports;

use super::address::AddressPolicy;

/// Longest URL.
const URL_BYTES_MAX: usize = 2048;
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Names that mean this machine or its network, whatever a resolver says.
const LOCAL_SUFFIXES: &[&str] = &[
    "localhost",
    "localdomain",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "home.arpa",
    "onion",
];

/// Services above 1023 that have no business with webhooks and may take an HTTP request for their own
/// protocol.
const SERVICE_PORTS: &[u16] = &[
    1080, 1433, 1521, 1719, 1720, 1723, 2049, 2181, 2375, 2376, 2379, 2380, 3128, 3306, 3389, 3659, 4045,
    4190, 5060, 5061, 5432, 5433, 5672, 5900, 5984, 6000, 6379, 6380, 6443, 6566, 6665, 6666, 6667, 6668,
    6669, 6697, 7001, 8500, 9042, 9092, 9100, 9200, 9300, 10080, 10250, 10255, 11211, 15672, 26379, 27017,
    27018,
];

/// Decides on URLs.
#[derive(Debug, Clone)]
pub(super) struct TargetPolicy {
    pub(super) allow_http: bool,
    /// None: the built-in choice.
    pub(super) ports: Vec<Ports>,
    pub(super) addresses: Arc<AddressPolicy>,
}

/// A URL that has passed.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// In normal form.
    pub(super) uri: Uri,
    /// Host and port.
    pub(super) host: Arc<str>,
    /// The name to resolve; none for an address.
    pub(super) name: Option<String>,
}

impl TargetPolicy {
    /// Reads and checks a URL.
    pub(super) fn read(&self, text: &str) -> Result<Target, TargetError> {
        let url = parse(text)?;
        let invalid = |problem: &str| Err(TargetError::Invalid(problem.to_owned()));
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return invalid("the URL must begin with https://"),
            _ => return invalid("the URL must be an https:// URL"),
        }
        if !url.username().is_empty() || url.password().is_some() || has_userinfo(text) {
            return invalid("the URL must not hold a user name or a password; use a header");
        }
        if url.fragment().is_some() {
            return invalid("the URL must not have a fragment (#…)");
        }
        let port = url.port_or_known_default().unwrap_or_default();
        self.check_port(port)?;
        let (shown, name) = match url.host() {
            None => return invalid("the URL has no host"),
            Some(Host::Domain(name)) => {
                self.check_name(name)?;
                (name.to_owned(), Some(name.to_owned()))
            }
            Some(Host::Ipv4(address)) => (self.literal(IpAddr::V4(address))?, None),
            Some(Host::Ipv6(address)) => (self.literal(IpAddr::V6(address))?, None),
        };
        let uri = Uri::from_str(url.as_str())
            .map_err(|_| TargetError::Invalid("the URL holds a character that cannot be sent".into()))?;
        Ok(Target {
            uri,
            host: format!("{shown}:{port}").into(),
            name,
        })
    }

    fn literal(&self, address: IpAddr) -> Result<String, TargetError> {
        let shown = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        match self.addresses.check(address) {
            Ok(()) => Ok(shown),
            Err(refused) => Err(TargetError::Forbidden(format!(
                "the address {shown} is {refused}"
            ))),
        }
    }

    fn check_port(&self, port: u16) -> Result<(), TargetError> {
        let allowed = if self.ports.is_empty() {
            matches!(port, 80 | 443) || (port >= 1024 && !SERVICE_PORTS.contains(&port))
        } else {
            self.ports.iter().any(|ports| ports.contains(port))
        };
        if allowed {
            Ok(())
        } else {
            Err(TargetError::Forbidden(format!("port {port} is not allowed")))
        }
    }

    fn check_name(&self, name: &str) -> Result<(), TargetError> {
        let invalid = |problem: &str| Err(TargetError::Invalid(problem.to_owned()));
        if name.ends_with('.') {
            return invalid("the host must not end with a dot");
        }
        let proper = |label: &str| {
            (1..=LABEL_BYTES_MAX).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
        };
        if name.len() > NAME_BYTES_MAX || !name.split('.').all(proper) {
            return invalid("the host is not a name of the domain name system");
        }
        let local = |suffix: &&str| {
            name.strip_suffix(*suffix)
                .is_some_and(|head| head.is_empty() || head.ends_with('.'))
        };
        // With networks of the operator's own, such names lead there, and their addresses decide.
        if LOCAL_SUFFIXES.iter().any(local) && !self.addresses.allows_own_networks() {
            return Err(TargetError::Forbidden(format!("{name} is a local name")));
        }
        Ok(())
    }
}

/// Refuses what the reader would silently repair: a URL that people read differently than programs is
/// a trick.
fn parse(text: &str) -> Result<Url, TargetError> {
    let invalid = |problem: &str| Err(TargetError::Invalid(problem.to_owned()));
    if text.len() > URL_BYTES_MAX {
        return invalid("the URL is longer than 2048 bytes");
    }
    if text
        .chars()
        .any(|c| c.is_control() || c.is_whitespace() || c == '\\')
    {
        return invalid("the URL must not hold spaces, control characters or backslashes");
    }
    let after_scheme = text.split_once("://").map(|(_, rest)| rest);
    if after_scheme.is_none_or(|rest| rest.is_empty() || rest.starts_with('/')) {
        return invalid("the URL must be absolute, such as https://example.com/hook");
    }
    Url::parse(text).map_err(|error| TargetError::Invalid(format!("the URL cannot be read: {error}")))
}

/// Whether there is an `@` before the path: the reader drops an empty user name.
fn has_userinfo(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| {
        rest.split(['/', '?', '#'])
            .next()
            .is_some_and(|authority| authority.contains('@'))
    })
}
