//! TCP to a host, directly or through the instance's proxy. With a proxy it fails closed: there is no
//! way from here around it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use super::endpoint::resolve;
use super::proxy::{Proxy, ProxyKind};

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
pub(in crate::web) enum DialError {
    #[error("could not connect to {host}:{port}: {source}")]
    Connect {
        host: String,
        port: u16,
        source: io::Error,
    },
    #[error("the proxy {0:?} refused or failed: {1}")]
    Proxy(Proxy, String),
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    #[error("{0:?} is not a host")]
    Host(String),
}

/// Makes the TCP connections of one link.
#[derive(Debug, Clone)]
pub(in crate::web) struct Dialer {
    pub(in crate::web) proxy: Option<Proxy>,
    pub(in crate::web) timeout: Duration,
}

impl Dialer {
    pub(super) async fn dial(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let connect = async {
            match &self.proxy {
                None => tcp(host, port).await,
                Some(proxy) => through(proxy, host, port).await,
            }
        };
        let stream = tokio::time::timeout(self.timeout, connect)
            .await
            .map_err(|_| DialError::Timeout(self.timeout))??;
        // Small stanzas must not wait for each other's acknowledgement.
        stream.set_nodelay(true).map_err(|source| DialError::Connect {
            host: host.to_owned(),
            port,
            source,
        })?;
        Ok(stream)
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let fail = |source| DialError::Connect {
        host: host.to_owned(),
        port,
        source,
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in resolve(host, port).await.map_err(fail)? {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(fail(last))
}

async fn through(proxy: &Proxy, host: &str, port: u16) -> Result<TcpStream, DialError> {
    let target: Uri = format!("tcp://{host}:{port}")
        .parse()
        .map_err(|_| DialError::Host(format!("{host}:{port}")))?;
    let here: Uri = format!("tcp://{}:{}", proxy.host, proxy.port)
        .parse()
        .map_err(|_| DialError::Host(proxy.host.clone()))?;
    let refused = |error: String| DialError::Proxy(proxy.clone(), error);
    let stream = match proxy.kind {
        ProxyKind::Socks5 => {
            let mut socks = SocksV5::new(here, Tcp).local_dns(false);
            if let Some((user, password)) = &proxy.credentials {
                socks = socks.with_auth(user.clone(), password.clone());
            }
            socks
                .call(target)
                .await
                .map_err(|error| refused(error.to_string()))?
        }
        ProxyKind::Http => {
            let mut tunnel = Tunnel::new(here, Tcp);
            if let Some((user, password)) = &proxy.credentials {
                let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
                let value = HeaderValue::from_str(&value).map_err(|error| refused(error.to_string()))?;
                tunnel = tunnel.with_auth(value);
            }
            tunnel
                .call(target)
                .await
                .map_err(|error| refused(error.to_string()))?
        }
    };
    Ok(stream.into_inner())
}

/// The plain connector under a proxy's handshake.
#[derive(Clone)]
struct Tcp;

impl Service<Uri> for Tcp {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        Box::pin(async move {
            let (Some(host), Some(port)) = (to.host(), to.port_u16()) else {
                return Err(DialError::Host(to.to_string()));
            };
            tcp(host, port).await.map(TokioIo::new)
        })
    }
}
