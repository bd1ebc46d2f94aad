//! From a TCP connection to a WebSocket: TLS, then the upgrade, and not a byte more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use anyhow::Context as _;
use http::HeaderValue;
use http::header::ORIGIN;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::endpoint::Endpoint;

const WHATSAPP_ORIGIN: &str = "https://web.whatsapp.com";
/// Read at a time while the answer to the upgrade comes.
const CHUNK_BYTES: usize = 512;
/// What ends the answer to the upgrade.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A connection under frames.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// An open WebSocket, and what the server sent after its answer.
pub(super) struct Upgraded {
    pub(super) socket: Box<dyn Duplex>,
    pub(super) rest: Vec<u8>,
}

pub(super) async fn upgrade(
    stream: impl Duplex + 'static,
    endpoint: &Endpoint,
    tls: &Arc<ClientConfig>,
) -> anyhow::Result<Upgraded> {
    let mut socket: Box<dyn Duplex> = if endpoint.url.scheme() == "wss" {
        let host = endpoint.host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned()).context("malformed endpoint")?;
        let connector = TlsConnector::from(Arc::clone(tls));
        Box::new(connector.connect(name, stream).await?)
    } else {
        Box::new(stream)
    };
    let mut request = endpoint
        .url
        .as_str()
        .into_client_request()
        .context("malformed endpoint")?;
    request
        .headers_mut()
        .insert(ORIGIN, HeaderValue::from_static(WHATSAPP_ORIGIN));
    let mut rest = Vec::new();
    let head = Head {
        socket: &mut socket,
        matched: 0,
        rest: &mut rest,
    };
    client_async(request, head).await?;
    Ok(Upgraded { socket, rest })
}

/// Shows the answer to the upgrade and keeps what follows it.
struct Head<'a, S> {
    socket: &'a mut S,
    /// How much of the end of the head was seen.
    matched: usize,
    rest: &'a mut Vec<u8>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Head<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [0; CHUNK_BYTES];
        let room = buffer.remaining().min(CHUNK_BYTES);
        let mut read = ReadBuf::new(&mut chunk[..room]);
        ready!(Pin::new(&mut *self.socket).poll_read(context, &mut read))?;
        let read = read.filled();
        let mut shown = 0;
        while shown < read.len() && self.matched < HEAD_END.len() {
            let byte = read[shown];
            self.matched = if byte == HEAD_END[self.matched] {
                self.matched + 1
            } else {
                usize::from(byte == HEAD_END[0])
            };
            shown += 1;
        }
        buffer.put_slice(&read[..shown]);
        self.rest.extend_from_slice(&read[shown..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Head<'_, S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket).poll_shutdown(context)
    }
}
