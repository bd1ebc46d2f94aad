//! `/v1/instances`: WhatsApp numbers, and what can be done with their sessions.

pub mod connect;
pub mod create;
pub mod delete;
pub(in crate::http::v1) mod exist;
pub mod get;
pub mod history;
pub mod list;
pub mod pacing;
pub mod pairing_code;
pub mod patch;
pub mod qr;
pub mod stop;

use axum::Json;
use roost_domain::Timestamp;
use roost_domain::instance::Instance;
use serde::Serialize;
use url::Url;
use utoipa::ToSchema;

use crate::http::problem::{Answer, Problem};

/// A code to be shown to the person with the phone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PairingCode)]
pub struct CodeBody {
    /// The code: of a QR code the text that it holds.
    #[schema(example = "YWKTGKVB")]
    code: String,
    /// From when on another code is valid.
    expires_at: Timestamp,
}

type InstanceBody = Json<Instance>;

/// A proxy that could never be used is refused when it is set, not when the link is dialled.
fn check_proxy(proxy: Option<&str>) -> Answer<()> {
    let Some(text) = proxy else { return Ok(()) };
    let usable = Url::parse(text).is_ok_and(|url| {
        ["socks5", "http"].contains(&url.scheme())
            && url.host_str().is_some_and(|host| !host.is_empty())
            // The default port of http is left out by the parser.
            && (url.port().is_some() || url.scheme() == "http")
            && ["", "/"].contains(&url.path())
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if usable {
        Ok(())
    } else {
        let detail = "expected socks5://[user:password@]host:port or http://[user:password@]host:port";
        Err(Problem::field("/proxy", "invalid", detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_scheme_a_host_and_a_port() {
        for good in [
            "socks5://127.0.0.1:1080",
            "socks5://user:p%40ss@proxy.example:1080",
            "http://[::1]:3128",
            "http://proxy:80",
        ] {
            assert!(check_proxy(Some(good)).is_ok(), "{good}");
        }
        for bad in [
            "",
            "nonsense",
            "socks5://",
            "socks5://host",
            "socks4://host:1",
            "https://host:1",
            "http://host:1/path",
            "http://host:1?x",
            "http://host:99999",
            "socks5://:1080",
        ] {
            assert!(check_proxy(Some(bad)).is_err(), "{bad}");
        }
    }
}
