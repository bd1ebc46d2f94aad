//! A WebSocket that carries frames, with the Noise transport once there is one.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::config::SandboxConfig;
use crate::wire::frame::{FrameError, FrameReader, Input};

/// Small, because thousands of idle connections each keep one.
const READ_BUFFER_BYTES: usize = 4 << 10;
/// How long a closing handshake may take; the other side may be gone.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Error)]
pub(super) enum SocketError {
    #[error("the client closed the connection")]
    Closed,
    #[error("the client sent text where only bytes are expected")]
    Text,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the websocket failed")]
    WebSocket(#[source] Box<tungstenite::Error>),
    #[error("the client does not read")]
    WriteTimeout,
}

impl SocketError {
    /// Whether the client broke the protocol, rather than just went away.
    pub(super) fn is_violation(&self) -> bool {
        match self {
            Self::Text | Self::Frame(_) => true,
            Self::WebSocket(error) => {
                matches!(
                    **error,
                    tungstenite::Error::Capacity(_) | tungstenite::Error::Protocol(_)
                )
            }
            Self::Closed | Self::WriteTimeout => false,
        }
    }
}

pub(super) struct Socket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
    reader: FrameReader,
    write_timeout: Duration,
}

impl Socket {
    pub(super) async fn new(io: Upgraded, config: &SandboxConfig) -> Self {
        let limits = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            // A message may hold a frame of the largest size and its length.
            .max_message_size(Some(config.frame_bytes_max + 16))
            .max_frame_size(Some(config.frame_bytes_max + 16));
        let stream = WebSocketStream::from_raw_socket(TokioIo::new(io), Role::Server, Some(limits)).await;
        Self {
            stream,
            reader: FrameReader::server(config.handshake_frame_bytes_max),
            write_timeout: config.write_timeout,
        }
    }

    pub(super) fn set_frame_bytes_max(&mut self, bytes: usize) {
        self.reader.set_payload_bytes_max(bytes);
    }

    /// The header or the next frame. Cancelling loses nothing.
    pub(super) async fn read(&mut self) -> Result<Input, SocketError> {
        loop {
            if let Some(input) = self.reader.next_input()? {
                return Ok(input);
            }
            let message = self.stream.next().await;
            self.take_message(message)?;
        }
    }

    /// A frame that has arrived already, without waiting for one.
    pub(super) fn read_ready(&mut self) -> Result<Option<Input>, SocketError> {
        loop {
            if let Some(input) = self.reader.next_input()? {
                return Ok(Some(input));
            }
            match self.stream.next().now_or_never() {
                Some(message) => self.take_message(message)?,
                None => return Ok(None),
            }
        }
    }

    fn take_message(
        &mut self,
        message: Option<Result<Message, tungstenite::Error>>,
    ) -> Result<(), SocketError> {
        match message {
            Some(Ok(Message::Binary(bytes))) => self.reader.push(&bytes),
            Some(Ok(Message::Text(_))) => return Err(SocketError::Text),
            Some(Ok(Message::Close(_))) | None => return Err(SocketError::Closed),
            // Pings are answered by the library.
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(SocketError::WebSocket(Box::new(error))),
        }
        Ok(())
    }

    /// Writes bytes as one message.
    pub(super) async fn write(&mut self, bytes: BytesMut) -> Result<(), SocketError> {
        let bytes: Bytes = bytes.freeze();
        match tokio::time::timeout(self.write_timeout, self.stream.send(Message::Binary(bytes))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(SocketError::WebSocket(Box::new(error))),
            Err(_) => Err(SocketError::WriteTimeout),
        }
    }

    pub(super) async fn close(mut self, violation: Option<&'static str>) {
        let frame = match violation {
            Some(reason) => CloseFrame {
                code: CloseCode::Protocol,
                reason: Utf8Bytes::from_static(reason),
            },
            None => CloseFrame {
                code: CloseCode::Normal,
                reason: Utf8Bytes::from_static(""),
            },
        };
        // Reading on until the other side is gone keeps the kernel from resetting the connection,
        // which would take the last stanza with it. The outcome does not matter.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, async {
            let _ = self.stream.close(Some(frame)).await;
            while let Some(Ok(_)) = self.stream.next().await {}
        })
        .await;
    }
}
