//! Which network address a request comes from.
//!
//! The peer's, unless the peer is one of the operator's own proxies: then the last address in the
//! proxy's header that is not a proxy's. Entries are read from the right, where the proxies wrote;
//! what a client puts there itself stands to the left of them and is never believed.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;

use super::problem::{Answer, Problem};
use crate::config::{self, ClientAddressHeader};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Entries that are looked at: no honest chain of proxies is longer.
const ENTRIES_MAX: usize = 32;

/// The address of the client. The listener puts it into every request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

/// How the address is found.
#[derive(Debug, Clone)]
pub struct Resolver {
    trusted: Vec<IpNet>,
    header: ClientAddressHeader,
}

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Answer<Self> {
        parts
            .extensions
            .get::<Self>()
            .copied()
            .ok_or_else(|| Problem::internal("a request without the address of its client"))
    }
}

impl Resolver {
    /// As configured.
    pub fn new(config: &config::Http) -> Self {
        Self {
            trusted: config.trusted_proxies.clone(),
            header: config.client_address_header,
        }
    }

    /// The address of who sent a request with these headers over a connection from `peer`.
    pub fn resolve(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let mut client = peer.to_canonical();
        if !self.trusts(client) {
            return ClientAddress(client);
        }
        let (name, read): (_, fn(&str) -> Option<IpAddr>) = match self.header {
            ClientAddressHeader::XForwardedFor => (X_FORWARDED_FOR, node),
            ClientAddressHeader::Forwarded => (header::FORWARDED, forwarded),
        };
        let lines: Vec<&[u8]> = headers.get_all(name).iter().map(|line| line.as_bytes()).collect();
        let entries = lines
            .iter()
            .rev()
            .flat_map(|line| line.rsplit(|byte| *byte == b','));
        for entry in entries.take(ENTRIES_MAX) {
            // What cannot be read hides everything to its left: the last proxy that could be is the
            // nearest known to the client.
            let Some(address) = str::from_utf8(entry).ok().and_then(read) else {
                break;
            };
            client = address.to_canonical();
            if !self.trusts(client) {
                break;
            }
        }
        ClientAddress(client)
    }

    /// Whether the address is one of a proxy.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&address))
    }
}

/// An address with or without a port, an IPv6 one with or without brackets.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    if let Ok(address) = IpAddr::from_str(text) {
        return Some(address);
    }
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => SocketAddr::from_str(text).ok().map(|address| address.ip()),
    }
}

/// The `for` of one element of `Forwarded` (RFC 7239). The element has to be well-formed as a whole:
/// commas inside of quotes cut elements apart here, and what such a cut leaves must not be believed.
fn forwarded(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.trim_matches([' ', '\t']).split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"').filter(|inner| is_plain(inner))?,
            None => Some(value).filter(|value| is_token(value))?,
        };
        if !is_token(name) {
            return None;
        }
        if name.eq_ignore_ascii_case("for") && found.replace(node(value)?).is_some() {
            return None;
        }
    }
    found
}

fn is_token(text: &str) -> bool {
    let extra = b"!#$%&'*+-.^_`|~";
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || extra.contains(&byte))
}

/// Text between quotes that escapes nothing.
fn is_plain(text: &str) -> bool {
    !text
        .bytes()
        .any(|byte| matches!(byte, b'"' | b'\\' | 0..0x20 | 0x7f))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn resolved(header: ClientAddressHeader, peer: &str, lines: &[&[u8]]) -> String {
        let resolver = Resolver {
            trusted: vec!["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()],
            header,
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line).unwrap();
            headers.append(X_FORWARDED_FOR, value.clone());
            headers.append(header::FORWARDED, value);
        }
        resolver.resolve(peer.parse().unwrap(), &headers).0.to_string()
    }

    #[test]
    fn a_stranger_cannot_choose_the_address() {
        let of = |peer, lines: &[&[u8]]| resolved(ClientAddressHeader::XForwardedFor, peer, lines);
        for (peer, lines, client) in [
            ("198.51.100.7", &[&b"6.6.6.6"[..]][..], "198.51.100.7"),
            ("::ffff:198.51.100.7", &[b"6.6.6.6"], "198.51.100.7"),
            (PROXY, &[], PROXY),
            (PROXY, &[b"198.51.100.7"], "198.51.100.7"),
            ("::ffff:10.0.0.1", &[b"::ffff:198.51.100.7"], "198.51.100.7"),
            (PROXY, &[b"6.6.6.6, 198.51.100.7"], "198.51.100.7"),
            (PROXY, &[b"6.6.6.6", b"198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            (
                PROXY,
                &[b"6.6.6.6,10.0.0.9,198.51.100.7 ,\t10.0.0.2"],
                "198.51.100.7",
            ),
            (PROXY, &[b"198.51.100.7:4711"], "198.51.100.7"),
            (PROXY, &[b"[2001:db8::7]:4711, fd00::2"], "2001:db8::7"),
            (PROXY, &[b"[2001:db8::7]"], "2001:db8::7"),
            (PROXY, &[b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // What cannot be read, and what is left of it, is nobody's word.
            (PROXY, &[b"6.6.6.6, unknown"], PROXY),
            (PROXY, &[b"6.6.6.6, \xff, 10.0.0.2"], "10.0.0.2"),
            (PROXY, &[b""], PROXY),
            (PROXY, &[b",,,"], PROXY),
            (PROXY, &[b"6.6.6.6 7.7.7.7"], PROXY),
            (PROXY, &[b"[6.6.6.6]"], PROXY),
            (PROXY, &[b"0x06.6.6.6"], PROXY),
            (PROXY, &[b"fe80::1%eth0"], PROXY),
        ] {
            assert_eq!(of(peer, lines), client, "{peer} {lines:?}");
        }
        let endless = ["10.0.0.2"; 5000].join(",");
        assert_eq!(of(PROXY, &[format!("6.6.6.6,{endless}").as_bytes()]), "10.0.0.2");
    }

    #[test]
    fn the_standard_header_is_read_with_the_same_care() {
        let of = |line: &[u8]| resolved(ClientAddressHeader::Forwarded, PROXY, &[line]);
        for (line, client) in [
            (&b"for=198.51.100.7"[..], "198.51.100.7"),
            (
                b"For=\"198.51.100.7:4711\";proto=https;by=10.0.0.1",
                "198.51.100.7",
            ),
            (b"for=6.6.6.6, for=\"[2001:db8::7]:4711\"", "2001:db8::7"),
            (
                b"for=6.6.6.6, proto=https ; for=198.51.100.7, for=10.0.0.2",
                "198.51.100.7",
            ),
            (b"for=unknown", PROXY),
            (b"for=_hidden", PROXY),
            (b"proto=https", PROXY),
            (b"for=6.6.6.6;for=7.7.7.7", PROXY),
            (b"6.6.6.6", PROXY),
            // Quotes that a client leaves open, or that hide a comma.
            (b"for=\"6.6.6.6, for=198.51.100.7", "198.51.100.7"),
            (b"for=198.51.100.7;host=\"a,for=6.6.6.6;x=\\\"b\"", PROXY),
            (b"for=198.51.100.7;host=\"a,for=6.6.6.6\"", PROXY),
            (b"for=\"6.6.6.6\\\"\"", PROXY),
        ] {
            assert_eq!(of(line), client, "{}", line.escape_ascii());
        }
    }
}
