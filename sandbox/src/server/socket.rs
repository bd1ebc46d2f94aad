//! A WebSocket that carries frames, on the TCP stream itself once the upgrade is done.
//!
//! An idle connection keeps no buffer: bytes are read into one that the thread's connections share,
//! and only what does not make a whole frame yet is kept.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures::FutureExt;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::config::SandboxConfig;
use crate::wire::frame::{FrameError, FrameReader, Input};
use crate::wire::websocket::{self, Item, Reader, Side, WebSocketError};

/// What one read takes at most.
const READ_BYTES: usize = 64 << 10;
/// How long a closing handshake may take; the other side may be gone.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// What is read and thrown away of a client that is being closed.
const CLOSE_BYTES_MAX: usize = 1 << 20;
const CLOSE_NORMAL: u16 = 1000;
const CLOSE_PROTOCOL: u16 = 1002;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

#[derive(Debug, Error)]
pub(super) enum SocketError {
    #[error("the client closed the connection")]
    Closed,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    WebSocket(#[from] WebSocketError),
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the client does not read")]
    WriteTimeout,
}

impl SocketError {
    /// Whether the client broke the protocol, rather than just went away.
    pub(super) fn is_violation(&self) -> bool {
        matches!(self, Self::Frame(_) | Self::WebSocket(_))
    }
}

/// What a client sent.
#[derive(Debug)]
pub(super) enum Received {
    Input(Input),
    /// A ping: [`Socket::write_pong`] is due.
    Ping,
}

pub(super) struct Socket {
    stream: TcpStream,
    websocket: Reader,
    frames: FrameReader,
    /// The payload of the latest ping that is not answered.
    ping: Option<Vec<u8>>,
    closed: bool,
    write_timeout: Duration,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, config: &SandboxConfig) -> Self {
        // A message may hold a frame of the largest size and its length.
        let message_bytes_max = config.frame_bytes_max as u64 + 16;
        Self {
            stream,
            websocket: Reader::new(Side::Server, message_bytes_max),
            frames: FrameReader::server(config.handshake_frame_bytes_max),
            ping: None,
            closed: false,
            write_timeout: config.write_timeout,
        }
    }

    pub(super) fn set_frame_bytes_max(&mut self, bytes: usize) {
        self.frames.set_payload_bytes_max(bytes);
    }

    /// The header, the next frame or a ping. Cancelling loses nothing.
    pub(super) async fn read(&mut self) -> Result<Received, SocketError> {
        std::future::poll_fn(|context| self.poll_read(context)).await
    }

    /// As [`Self::read`], of what has arrived already, without waiting.
    pub(super) fn read_ready(&mut self) -> Result<Option<Received>, SocketError> {
        self.read().now_or_never().transpose()
    }

    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Result<Received, SocketError>> {
        loop {
            if let Some(input) = self.frames.next_input()? {
                return Poll::Ready(Ok(Received::Input(input)));
            }
            if self.closed {
                return Poll::Ready(Err(SocketError::Closed));
            }
            let had_ping = self.ping.is_some();
            let read = SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                std::task::ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
                let read = buffer.filled_mut();
                if read.is_empty() {
                    return Poll::Ready(Err(SocketError::Closed));
                }
                Poll::Ready(self.take(read))
            });
            std::task::ready!(read)?;
            if self.ping.is_some() && !had_ping {
                return Poll::Ready(Ok(Received::Ping));
            }
        }
    }

    /// Hands received bytes on to the frames.
    pub(super) fn take(&mut self, mut bytes: &mut [u8]) -> Result<(), SocketError> {
        while let Some(item) = self.websocket.next(&mut bytes)? {
            match item {
                Item::Data(data) => self.frames.push(data),
                // Only the latest of several pings has to be answered.
                Item::Ping(payload) => self.ping = Some(payload),
                Item::Pong => {}
                Item::Close(_) => self.closed = true,
            }
        }
        Ok(())
    }

    /// Answers the latest ping, if there was one.
    pub(super) async fn write_pong(&mut self) -> Result<(), SocketError> {
        match self.ping.take() {
            Some(payload) => self.write_raw(&websocket::pong(&payload, None)).await,
            None => Ok(()),
        }
    }

    /// Writes a message that was begun with [`websocket::begin`].
    pub(super) async fn write(&mut self, message: BytesMut) -> Result<(), SocketError> {
        self.write_raw(&websocket::finish(message, None)).await
    }

    async fn write_raw(&mut self, bytes: &[u8]) -> Result<(), SocketError> {
        match tokio::time::timeout(self.write_timeout, self.stream.write_all(bytes)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(SocketError::WriteTimeout),
        }
    }

    pub(super) async fn close(mut self, violation: Option<&'static str>) {
        let (code, reason) = match violation {
            Some(reason) => (CLOSE_PROTOCOL, reason),
            None => (CLOSE_NORMAL, ""),
        };
        let frame = websocket::close(code, reason, None);
        // Reading on until the other side is gone keeps the kernel from resetting the connection,
        // which would take the last stanza with it. The outcome does not matter.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, async {
            self.stream.write_all(&frame).await?;
            self.stream.shutdown().await?;
            self.drain().await
        })
        .await;
    }

    async fn drain(&mut self) -> io::Result<()> {
        let mut left = CLOSE_BYTES_MAX;
        while left > 0 {
            let read = std::future::poll_fn(|context| {
                SCRATCH.with_borrow_mut(|scratch| {
                    let mut buffer = ReadBuf::new(scratch);
                    std::task::ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
                    Poll::Ready(io::Result::Ok(buffer.filled().len()))
                })
            })
            .await?;
            if read == 0 {
                break;
            }
            left = left.saturating_sub(read);
        }
        Ok(())
    }
}
