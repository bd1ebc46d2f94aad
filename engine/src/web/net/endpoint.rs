//! Where a link connects to, and whether this build may go there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

/// Why an address cannot be connected to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is not a WebSocket address.
    #[error("the WhatsApp endpoint {0:?} is not a ws:// or wss:// address with a host")]
    Form(String),
    /// A build that accepts the sandbox's certificates must never talk to anything else.
    #[error(
        "{0} is not a loopback address: this build has the feature `sandbox`, which accepts the sandbox's \
         certificates, and refuses everything else; use a build without it"
    )]
    NotLoopback(String),
}

/// A parsed WebSocket address.
#[derive(Debug, Clone)]
pub(in crate::web) struct Endpoint {
    pub(super) url: Url,
    pub(super) host: String,
    pub(super) port: u16,
}

impl Endpoint {
    pub(in crate::web) fn parse(text: &str) -> Result<Self, EndpointError> {
        let form = || EndpointError::Form(text.to_owned());
        let url = Url::parse(text).map_err(|_| form())?;
        if !matches!(url.scheme(), "ws" | "wss") || !url.username().is_empty() || url.password().is_some() {
            return Err(form());
        }
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or_else(form)?
            .to_owned();
        let port = url.port_or_known_default().ok_or_else(form)?;
        check_host(&host)?;
        Ok(Self { url, host, port })
    }
}

/// Refuses a host that this build may not talk to.
pub(super) fn check_host(host: &str) -> Result<(), EndpointError> {
    if cfg!(feature = "sandbox") && loopback_ips(host).is_empty() {
        return Err(EndpointError::NotLoopback(host.to_owned()));
    }
    Ok(())
}

/// The loopback addresses that a host names literally; none when it is not one. `localhost` is not
/// looked up: what a resolver says about it is not proof.
pub(super) fn loopback_ips(host: &str) -> Vec<IpAddr> {
    match Host::parse(host) {
        Ok(Host::Domain(name)) if name.eq_ignore_ascii_case("localhost") => {
            vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
        }
        Ok(Host::Ipv4(ip)) if ip.is_loopback() => vec![IpAddr::V4(ip)],
        Ok(Host::Ipv6(ip)) if ip.is_loopback() => vec![IpAddr::V6(ip)],
        _ => Vec::new(),
    }
}

/// The socket addresses to try for a host, in order.
pub(super) async fn resolve(host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    let loopback = loopback_ips(host);
    if !loopback.is_empty() {
        return Ok(loopback.into_iter().map(|ip| SocketAddr::new(ip, port)).collect());
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    Ok(tokio::net::lookup_host((bare, port))
        .await?
        .take(ADDRESSES_MAX)
        .collect())
}

/// Addresses of a name that are tried at most.
const ADDRESSES_MAX: usize = 4;
