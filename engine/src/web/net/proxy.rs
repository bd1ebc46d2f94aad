//! The proxy of an instance: `socks5://` or `http://`, with or without credentials.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::Url;

use super::endpoint::{EndpointError, check_host};

/// How to speak to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProxyKind {
    /// SOCKS 5; names are resolved by the proxy.
    Socks5,
    /// HTTP/1.1 with `CONNECT`.
    Http,
}

/// A proxy that a link goes through.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::web) struct Proxy {
    pub(super) kind: ProxyKind,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) credentials: Option<(String, String)>,
    /// As configured, for the HTTP client.
    pub(super) url: Url,
}

impl Proxy {
    /// Parses an address; the error says what is wrong with it and never shows credentials.
    pub(in crate::web) fn parse(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|error| error.to_string())?;
        let kind = match url.scheme() {
            "socks5" | "socks5h" => ProxyKind::Socks5,
            "http" => ProxyKind::Http,
            other => return Err(format!("the scheme {other:?} is not socks5 or http")),
        };
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or("it has no host")?
            .to_owned();
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("it has something after the port".to_owned());
        }
        let port = url.port().unwrap_or(match kind {
            ProxyKind::Socks5 => 1080,
            ProxyKind::Http => 80,
        });
        let credentials = credentials(&url)?;
        if kind == ProxyKind::Socks5 {
            // With "h" the proxy resolves names: looking them up here would tell where we go.
            url = Url::parse(&text.replacen("socks5://", "socks5h://", 1))
                .map_err(|error| error.to_string())?;
        }
        Ok(Self {
            kind,
            host,
            port,
            credentials,
            url,
        })
    }
}

impl Proxy {
    /// A build that may only talk to the sandbox may not go there by a detour either.
    pub(in crate::web) fn check(&self) -> Result<(), EndpointError> {
        check_host(&self.host)
    }
}

fn credentials(url: &Url) -> Result<Option<(String, String)>, String> {
    let decoded = |part: &str| {
        percent_decode_str(part)
            .decode_utf8()
            .map(|text| text.into_owned())
            .map_err(|_| "its credentials are not UTF-8".to_owned())
    };
    let password = decoded(url.password().unwrap_or_default())?;
    let user = decoded(url.username())?;
    if user.is_empty() && password.is_empty() {
        return Ok(None);
    }
    // RFC 1929 gives each one length byte.
    if user.is_empty() || user.len() > 255 || password.len() > 255 {
        return Err("a user name has 1 to 255 bytes and a password at most 255".to_owned());
    }
    Ok(Some((user, password)))
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}:{}", self.kind, self.host, self.port)
    }
}
