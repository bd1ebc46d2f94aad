//! The byte stream inside the WebSocket messages: an optional edge-routing intro, the four-byte
//! connection header, then frames of a three-byte length and a payload.
//!
//! Message borders carry no meaning: frames may be split or joined in any way.

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;

/// The longest payload the length prefix can express.
pub const PAYLOAD_BYTES_MAX: usize = (1 << 24) - 1;
/// The longest edge-routing intro accepted; real ones are tens of bytes.
const ROUTING_BYTES_MAX: usize = 4096;
const HEADER: [u8; 3] = [b'W', b'A', 6];
const ROUTING: [u8; 4] = [b'E', b'D', 0, 1];
const LENGTH_BYTES: usize = 3;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    #[error("the stream does not start with a connection header")]
    NoHeader,
    #[error("edge-routing intro of {bytes} bytes is too long")]
    RoutingTooLong { bytes: usize },
    #[error("frame of {bytes} bytes is over the limit of {max}")]
    TooLong { bytes: usize, max: usize },
    #[error("frame is empty")]
    Empty,
}

/// What a reader finds next in the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// The connection header; its last byte is the dictionary version.
    Header([u8; 4]),
    Frame(BytesMut),
}

/// Cuts a byte stream into its header and frames.
#[derive(Debug)]
pub struct FrameReader {
    buffer: BytesMut,
    expect_header: bool,
    payload_bytes_max: usize,
}

impl FrameReader {
    /// The server's side: the stream begins with a header.
    pub fn server(payload_bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            expect_header: true,
            payload_bytes_max,
        }
    }

    /// The client's side: the server never sends a header.
    pub fn client(payload_bytes_max: usize) -> Self {
        Self {
            expect_header: false,
            ..Self::server(payload_bytes_max)
        }
    }

    pub fn set_payload_bytes_max(&mut self, bytes: usize) {
        self.payload_bytes_max = bytes;
    }

    /// Adds received bytes. Call [`Self::next_input`] until it is empty before adding more: then the
    /// buffer never holds more than one unfinished frame and one message.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete item, or `None` when more bytes are needed.
    pub fn next_input(&mut self) -> Result<Option<Input>, FrameError> {
        let input = if self.expect_header {
            self.next_header()?
        } else {
            self.next_frame()?
        };
        if input.is_none() && self.buffer.is_empty() {
            // An idle connection keeps no buffer.
            self.buffer = BytesMut::new();
        }
        Ok(input)
    }

    fn next_header(&mut self) -> Result<Option<Input>, FrameError> {
        let known = self.buffer.len().min(ROUTING.len());
        if known > 0 && self.buffer[..known] == ROUTING[..known] {
            let Some(length) = self.length_at(ROUTING.len()) else {
                return Ok(None);
            };
            if length > ROUTING_BYTES_MAX {
                return Err(FrameError::RoutingTooLong { bytes: length });
            }
            let intro = ROUTING.len() + LENGTH_BYTES + length;
            if self.buffer.len() < intro {
                return Ok(None);
            }
            self.buffer.advance(intro);
            return self.next_header();
        }
        let known = self.buffer.len().min(HEADER.len());
        if self.buffer[..known] != HEADER[..known] {
            return Err(FrameError::NoHeader);
        }
        let Some(header) = self.buffer.first_chunk::<4>().copied() else {
            return Ok(None);
        };
        self.buffer.advance(header.len());
        self.expect_header = false;
        Ok(Some(Input::Header(header)))
    }

    fn next_frame(&mut self) -> Result<Option<Input>, FrameError> {
        let Some(length) = self.length_at(0) else {
            return Ok(None);
        };
        if length > self.payload_bytes_max {
            return Err(FrameError::TooLong {
                bytes: length,
                max: self.payload_bytes_max,
            });
        }
        if length == 0 {
            return Err(FrameError::Empty);
        }
        if self.buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_BYTES);
        Ok(Some(Input::Frame(self.buffer.split_to(length))))
    }

    fn length_at(&self, offset: usize) -> Option<usize> {
        let bytes = self.buffer.get(offset..offset + LENGTH_BYTES)?;
        Some(
            bytes
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte)),
        )
    }
}

/// Appends a frame's length prefix.
pub fn write_length(out: &mut BytesMut, payload_bytes: usize) -> Result<(), FrameError> {
    if payload_bytes > PAYLOAD_BYTES_MAX {
        return Err(FrameError::TooLong {
            bytes: payload_bytes,
            max: PAYLOAD_BYTES_MAX,
        });
    }
    out.put_uint(payload_bytes as u64, LENGTH_BYTES);
    Ok(())
}

/// Appends a whole frame.
pub fn write_frame(out: &mut BytesMut, payload: &[u8]) -> Result<(), FrameError> {
    write_length(out, payload.len())?;
    out.put_slice(payload);
    Ok(())
}

/// The bytes a client sends first.
pub fn client_header(version: u8) -> [u8; 4] {
    [HEADER[0], HEADER[1], HEADER[2], version]
}
