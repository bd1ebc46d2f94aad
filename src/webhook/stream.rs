//! A connection to an endpoint, with what is counted about it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use hyper_util::client::legacy::connect::{Connected, Connection};
use roost_domain::cluster::Lease;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_rustls::client::TlsStream;

/// The endpoint sent more than an answer can have: for example interim answers without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the endpoint sent far more than one answer")]
pub(super) struct Flood;

/// What a connection has read, for those who wait for an answer on it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    before_write: AtomicU64,
    since_write: AtomicU64,
}

impl Meter {
    /// Whether it answered earlier calls and has said nothing to this one: the endpoint closed it for
    /// having been idle.
    pub(super) fn is_stale(&self) -> bool {
        self.before_write.load(Ordering::Relaxed) > 0 && self.since_write.load(Ordering::Relaxed) == 0
    }

    fn read(&self, bytes: u64) {
        self.since_write.fetch_add(bytes, Ordering::Relaxed);
    }

    fn writes(&self) {
        let read = self.since_write.swap(0, Ordering::Relaxed);
        self.before_write.fetch_add(read, Ordering::Relaxed);
    }
}

/// Bytes over TCP, with or without TLS.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that the pool may keep while it holds a place; without one it serves a single call.
pub(super) struct Stream {
    pub(super) transport: Transport,
    pub(super) meter: Arc<Meter>,
    pub(super) place: Option<OwnedSemaphorePermit>,
    /// HTTP/2 was agreed on.
    pub(super) h2: bool,
    /// HTTP/1.1: bytes at most in answer to what was written.
    pub(super) answer_bytes_max: u64,
    /// Bytes read since something was written.
    pub(super) unasked: u64,
    /// What has to hold while something is written.
    pub(super) lease: Option<Arc<dyn Lease>>,
}

impl Stream {
    /// Asked right before the write: a process can be stopped, and woken up much later, at any place
    /// between an earlier question and here.
    fn begin_write(&self) -> io::Result<()> {
        if self.lease.as_ref().is_some_and(|lease| !lease.holds()) {
            return Err(io::Error::other("another node may own the webhook by now"));
        }
        self.meter.writes();
        Ok(())
    }

    fn wrote(&mut self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(outcome, Poll::Ready(Ok(bytes)) if bytes > 0) {
            self.unasked = 0;
        }
        outcome
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        let connected = Connected::new().extra(Arc::clone(&self.meter));
        if self.place.is_none() {
            connected.poison();
        }
        if self.h2 {
            connected.negotiated_h2()
        } else {
            connected
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        })?;
        let read = (buffer.filled().len() - before) as u64;
        this.meter.read(read);
        this.unasked += read;
        // In HTTP/2 one call writes while others wait, so that this count means nothing; its streams
        // have windows of their own.
        if !this.h2 && this.unasked > this.answer_bytes_max {
            return Poll::Ready(Err(io::Error::other(Flood)));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.begin_write()?;
        let outcome = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        };
        this.wrote(outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.begin_write()?;
        let outcome = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(context, slices),
        };
        this.wrote(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
        }
    }
}
