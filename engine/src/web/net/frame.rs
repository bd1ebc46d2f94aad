//! Frames of the WebSocket protocol, as a client reads and writes them.
//!
//! `tungstenite` makes the handshake and no more. Its buffers grow to the longest message that ever
//! passed and stay so: one upload of prekeys would cost every idle link 50 KiB. Here each message has
//! memory of its own, and what stays with a connection is one small buffer. Nothing of it survives a
//! crash, nor has to.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

/// Most stanzas fit; a longer message goes past the buffer into its own memory.
const READ_BUFFER_BYTES: usize = 2 * 1024;
/// Of a ping, a pong or a close frame.
const CONTROL_BYTES_MAX: usize = 125;
/// Of a header, its mask included.
const HEADER_BYTES_MAX: usize = 14;

/// Why reading ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the server broke the WebSocket protocol: {0}")]
    Protocol(&'static str),
    #[error("the server sent a message of more than {max} bytes")]
    TooLong { max: usize },
}

/// What the server sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A whole binary message.
    Binary(Bytes),
    /// To be answered with the same bytes.
    Ping(Bytes),
    /// The server is about to hang up.
    Close(Option<CloseFrame>),
}

struct Header {
    is_final: bool,
    opcode: OpCode,
    length: usize,
}

/// A message of which more is to come.
struct Partial {
    is_binary: bool,
    bytes: Vec<u8>,
}

/// Reads messages.
pub(super) struct FrameReader<R> {
    stream: BufReader<R>,
    partial: Option<Partial>,
    message_bytes_max: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R, message_bytes_max: usize) -> Self {
        Self {
            stream: BufReader::with_capacity(READ_BUFFER_BYTES, stream),
            partial: None,
            message_bytes_max,
        }
    }

    /// What comes next; `None` when the server hung up between two frames. After an error, or when
    /// the future was dropped, the connection is of no more use.
    pub(super) async fn next(&mut self) -> Result<Option<Received>, FrameError> {
        loop {
            let Some(header) = self.header().await? else {
                return Ok(None);
            };
            let payload = match header.opcode {
                OpCode::Data(_) => self.payload(header.length).await?,
                OpCode::Control(_) if header.length > CONTROL_BYTES_MAX || !header.is_final => {
                    return Err(FrameError::Protocol("a control frame is too long or in parts"));
                }
                OpCode::Control(_) => self.payload(header.length).await?,
            };
            match header.opcode {
                OpCode::Data(kind) => {
                    if let Some(message) = self.joined(kind, header.is_final, payload)? {
                        return Ok(Some(Received::Binary(message)));
                    }
                }
                OpCode::Control(Control::Ping) => return Ok(Some(Received::Ping(payload.into()))),
                OpCode::Control(Control::Pong) => {}
                OpCode::Control(Control::Close) => return Ok(Some(Received::Close(close_frame(&payload)?))),
                OpCode::Control(Control::Reserved(_)) => {
                    return Err(FrameError::Protocol("a control frame of an unknown kind"));
                }
            }
        }
    }

    async fn header(&mut self) -> Result<Option<Header>, FrameError> {
        if self.stream.fill_buf().await?.is_empty() {
            return Ok(None);
        }
        let (first, second) = (self.stream.read_u8().await?, self.stream.read_u8().await?);
        if first & 0x70 != 0 {
            return Err(FrameError::Protocol("reserved bits are set"));
        }
        if second & 0x80 != 0 {
            return Err(FrameError::Protocol("a frame is masked"));
        }
        let length = match second & 0x7f {
            126 => u64::from(self.stream.read_u16().await?),
            127 => self.stream.read_u64().await?,
            short => u64::from(short),
        };
        let before = self.partial.as_ref().map_or(0, |partial| partial.bytes.len());
        let max = self.message_bytes_max;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= max.saturating_sub(before))
            .ok_or(FrameError::TooLong { max })?;
        Ok(Some(Header {
            is_final: first & 0x80 != 0,
            opcode: OpCode::from(first & 0x0f),
            length,
        }))
    }

    async fn payload(&mut self, length: usize) -> Result<Vec<u8>, FrameError> {
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await?;
        Ok(payload)
    }

    /// The message, when it is whole and binary: text is no part of WhatsApp's protocol.
    fn joined(&mut self, kind: Data, is_final: bool, payload: Vec<u8>) -> Result<Option<Bytes>, FrameError> {
        let partial = match (kind, self.partial.take()) {
            (Data::Binary | Data::Text, None) => Partial {
                is_binary: kind == Data::Binary,
                bytes: payload,
            },
            (Data::Continue, Some(mut partial)) => {
                partial.bytes.extend_from_slice(&payload);
                partial
            }
            (Data::Continue, None) => return Err(FrameError::Protocol("a message begins in the middle")),
            (Data::Binary | Data::Text, Some(_)) => {
                return Err(FrameError::Protocol("a message begins before the last one ended"));
            }
            (Data::Reserved(_), _) => return Err(FrameError::Protocol("a frame of an unknown kind")),
        };
        if is_final {
            return Ok(partial.is_binary.then(|| partial.bytes.into()));
        }
        self.partial = Some(partial);
        Ok(None)
    }
}

fn close_frame(payload: &[u8]) -> Result<Option<CloseFrame>, FrameError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(FrameError::Protocol("a close frame with half a code"))
        };
    };
    let reason = std::str::from_utf8(reason)
        .map_err(|_| FrameError::Protocol("the reason of a close frame is no text"))?;
    Ok(Some(CloseFrame {
        code: CloseCode::from(u16::from_be_bytes(*code)),
        reason: reason.into(),
    }))
}

/// Writes one frame, masked as a client's must be. When the future is dropped before it is done, the
/// connection is of no more use.
pub(super) async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    opcode: OpCode,
    payload: &[u8],
    mask: [u8; 4],
) -> io::Result<()> {
    let header = FrameHeader {
        opcode,
        mask: Some(mask),
        ..FrameHeader::default()
    };
    let mut frame = Vec::with_capacity(HEADER_BYTES_MAX + payload.len());
    header
        .format(payload.len() as u64, &mut frame)
        .map_err(io::Error::other)?;
    let begin = frame.len();
    frame.extend_from_slice(payload);
    for chunk in frame[begin..].chunks_mut(mask.len()) {
        for (byte, mask) in chunk.iter_mut().zip(mask) {
            *byte ^= mask;
        }
    }
    stream.write_all(&frame).await?;
    stream.flush().await
}
