//! Dialling: a connection to a peer's listener, mutual TLS and the greeting. The caller has the deadline.

use std::net::SocketAddr;

use roost_domain::peer::PeerAddress;
use tokio::net::TcpStream;

use crate::greeting::{self, Channel, GreetingError};
use crate::peer::Greeted;
use crate::shared::Shared;
use crate::stream::Io;
use crate::{socket, tls};

/// What the keying material of a channel is for (RFC 5705).
const EXPORTER: &[u8] = b"EXPERIMENTAL roost link greeting";

/// Why a peer could not be linked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("its address {0} has no IP address")]
    NoAddress(String),
    #[error("its address {0} is not on this host, and there are no certificates")]
    NotLoopback(SocketAddr),
    #[error("{0}")]
    Name(String),
    #[error("connecting to {address} failed: {source}")]
    Connect { address: String, source: std::io::Error },
    #[error("TLS failed: {0}")]
    Tls(std::io::Error),
    #[error(transparent)]
    Greeting(#[from] GreetingError),
}

/// Dials a peer and greets it.
pub(crate) async fn dial(shared: &Shared, to: &PeerAddress) -> Result<Greeted, DialError> {
    let tls = shared.tls();
    let failed = |source| DialError::Connect {
        address: to.address.clone(),
        source,
    };
    let mut addresses: Vec<SocketAddr> = tokio::net::lookup_host(&to.address)
        .await
        .map_err(failed)?
        .collect();
    let other = addresses.iter().find(|address| !address.ip().is_loopback());
    if let (None, Some(other)) = (&tls, other) {
        return Err(DialError::NotLoopback(*other));
    }
    // A name may stand for many; a node has one or two.
    addresses.truncate(4);
    if addresses.is_empty() {
        return Err(DialError::NoAddress(to.address.clone()));
    }
    let stream = TcpStream::connect(&addresses[..]).await.map_err(failed)?;
    socket::prepare(&stream).map_err(failed)?;
    let (mut io, channel): (Box<dyn Io>, Channel) = match tls {
        Some(tls) => {
            let name = tls::server_name(&to.node).map_err(DialError::Name)?;
            let stream = tls
                .connector
                .connect(name, stream)
                .await
                .map_err(DialError::Tls)?;
            let channel = stream
                .get_ref()
                .1
                .export_keying_material([0; 32], EXPORTER, None)
                .map_err(|error| DialError::Tls(std::io::Error::other(error)))?;
            (Box::new(stream), channel)
        }
        None => (Box::new(stream), [0; 32]),
    };
    let me = shared.me(channel);
    let may = |hello: &greeting::Hello| shared.may_enter(hello);
    let hello = greeting::dial(&mut *io, &me, &to.node, may).await?;
    Ok(Greeted {
        io,
        hello,
        is_server: false,
    })
}

/// What a server exports from its side of the channel.
pub(crate) fn channel(connection: &rustls::ServerConnection) -> Result<Channel, rustls::Error> {
    connection.export_keying_material([0; 32], EXPORTER, None)
}
