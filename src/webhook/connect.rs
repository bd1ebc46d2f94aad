//! The connect step: name, addresses, filter, TCP, TLS.
//!
//! Every connection of the client is made here, and a socket is opened to nothing but an address that
//! has just passed the filter. So it does not matter what a name resolved to before, when the endpoint
//! was added or checked. Proxies of the environment are not asked.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use hyper::Uri;
use hyper_util::rt::TokioIo;
use roost_domain::cluster::Lease;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tower::Service;

use super::address::AddressPolicy;
use super::lookup::{Lookup, LookupError};
use super::stream::{Stream, Transport};
use super::tls::Tls;

/// How long an address may be silent before the next one of the name is tried beside it.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(300);
/// Addresses of one name that are tried.
const ADDRESSES_TRIED_MAX: usize = 6;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("{0}")]
    Forbidden(String),
    #[error("{name} cannot be resolved: {source}")]
    Dns {
        name: String,
        #[source]
        source: LookupError,
    },
    #[error("no connection to {host}: {problem}")]
    Tcp { host: String, problem: String },
    #[error("TLS with {host} failed: {problem}")]
    Tls { host: String, problem: String },
    #[error("no connection to {host} within {limit:?}")]
    Slow { host: String, limit: Duration },
}

/// Addresses that have passed the filter: only these are connected to.
pub(super) struct Passed(Vec<IpAddr>);

/// Makes connections for the pool.
#[derive(Clone)]
pub(super) struct Connector(pub(super) Arc<ConnectStep>);

/// What the connect step works with.
pub(super) struct ConnectStep {
    pub(super) addresses: Arc<AddressPolicy>,
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) tls: Tls,
    /// For everything together.
    pub(super) limit: Duration,
    /// Places of connections that may outlive their call.
    pub(super) places: Arc<Semaphore>,
    pub(super) answer_bytes_max: u64,
    pub(super) lease: Option<Arc<dyn Lease>>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let step = Arc::clone(&self.0);
        // A connect can outlive the call it was made for, so it has a limit of its own.
        Box::pin(async move {
            match timeout(step.limit, step.connect(&target)).await {
                Ok(outcome) => outcome.map(TokioIo::new),
                Err(_) => Err(ConnectError::Slow {
                    host: target.authority().map(ToString::to_string).unwrap_or_default(),
                    limit: step.limit,
                }),
            }
        })
    }
}

impl ConnectStep {
    async fn connect(&self, target: &Uri) -> Result<Stream, ConnectError> {
        let secure = target.scheme() == Some(&hyper::http::uri::Scheme::HTTPS);
        let host = target.host().unwrap_or_default();
        let port = target.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let host = host
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'))
            .unwrap_or(host);
        let addresses = match host.parse() {
            Ok(address) => self.pass(host, vec![address])?,
            Err(_) => self.resolve(host).await?,
        };
        let tcp = self.dial(host, &addresses, port).await?;
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let (transport, h2) = if secure {
            self.secure(host, tcp, place.is_some()).await?
        } else {
            (Transport::Plain(tcp), false)
        };
        Ok(Stream {
            transport,
            meter: Arc::default(),
            place,
            h2,
            answer_bytes_max: self.answer_bytes_max,
            unasked: 0,
            lease: self.lease.clone(),
        })
    }

    /// The addresses of a name, if all of them may be connected to: a name with one that may not is
    /// not a public endpoint's.
    pub(super) async fn resolve(&self, name: &str) -> Result<Passed, ConnectError> {
        let dns = |source| ConnectError::Dns {
            name: name.to_owned(),
            source,
        };
        let addresses = self.lookup.lookup(name).await.map_err(dns)?;
        if addresses.is_empty() {
            return Err(dns(LookupError("it has no addresses".into())));
        }
        self.pass(name, addresses)
    }

    /// The refusal does not tell which address it was: names of inner networks stay unknown outside.
    fn pass(&self, host: &str, addresses: Vec<IpAddr>) -> Result<Passed, ConnectError> {
        for address in &addresses {
            if let Err(refused) = self.addresses.check(*address) {
                return Err(ConnectError::Forbidden(format!(
                    "{host} has an address that is {refused}"
                )));
            }
        }
        Ok(Passed(addresses))
    }

    /// Connects to the first address that answers, starting one more whenever one fails or is slow.
    async fn dial(&self, host: &str, addresses: &Passed, port: u16) -> Result<TcpStream, ConnectError> {
        let mut left = addresses.0.iter().take(ADDRESSES_TRIED_MAX);
        let mut dials = FuturesUnordered::new();
        let mut failed = None;
        loop {
            if let Some(address) = left.next() {
                dials.push(open(SocketAddr::new(*address, port)));
            }
            tokio::select! {
                Some(outcome) = dials.next() => match outcome {
                    Ok(stream) => return Ok(stream),
                    Err(error) => failed = Some(error),
                },
                () = sleep(NEXT_ADDRESS_AFTER), if left.len() > 0 => continue,
                else => {}
            }
            if dials.is_empty() && left.len() == 0 {
                return Err(ConnectError::Tcp {
                    host: host.to_owned(),
                    problem: failed.map_or_else(|| "no address".into(), |error| error.to_string()),
                });
            }
        }
    }

    async fn secure(
        &self,
        host: &str,
        tcp: TcpStream,
        keep: bool,
    ) -> Result<(Transport, bool), ConnectError> {
        let failed = |problem: String| ConnectError::Tls {
            host: host.to_owned(),
            problem,
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|error| failed(error.to_string()))?;
        // An HTTP/2 connection is in the pool as soon as it is there: one that must not be kept is
        // HTTP/1.1.
        let connector = if keep { &self.tls.any } else { &self.tls.http1 };
        let stream = connector
            .connect(name, tcp)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Transport::Tls(Box::new(stream)), h2))
    }
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Cannot differ; but if a kernel or a sandbox redirects, nothing is sent there.
    if stream.peer_addr()?.ip().to_canonical() != address.ip().to_canonical() {
        return Err(io::Error::other("connected to another address"));
    }
    // A call is one small write: it must not wait for more. If the option cannot be set the call works.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}
