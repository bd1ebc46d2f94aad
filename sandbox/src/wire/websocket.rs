//! WebSocket frames after the upgrade (RFC 6455, no extensions), for both sides.
//!
//! Messages carry a byte stream here and their borders mean nothing, so a reader hands out what it
//! is given piece by piece and never gathers a message: an idle connection keeps a few dozen bytes,
//! and a message in a million fragments costs no more than one in a single frame.

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;

/// Room in front of a message for its header; see [`begin`].
pub const HEADROOM: usize = 14;
/// The longest payload of a ping, pong or close frame.
pub const CONTROL_BYTES_MAX: usize = 125;

const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

mod opcode {
    pub const CONTINUATION: u8 = 0;
    pub const TEXT: u8 = 1;
    pub const BINARY: u8 = 2;
    pub const CLOSE: u8 = 8;
    pub const PING: u8 = 9;
    pub const PONG: u8 = 10;
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum WebSocketError {
    #[error("a frame uses reserved bits")]
    ReservedBits,
    #[error("a frame has the unknown opcode {0}")]
    UnknownOpcode(u8),
    #[error("a text message where only bytes are expected")]
    Text,
    #[error("a client's frame is not masked")]
    NotMasked,
    #[error("a server's frame is masked")]
    Masked,
    #[error("a length is not written in the shortest form")]
    LengthForm,
    #[error("a control frame is fragmented or too long")]
    BadControl,
    #[error("a close frame is malformed")]
    BadClose,
    #[error("a continuation without a message, or a message inside another")]
    BadFragment,
    #[error("a message of {bytes} bytes is over the limit of {max}")]
    TooLong { bytes: u64, max: u64 },
}

/// Which end of the connection this is: clients mask what they write, servers do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Server,
    Client,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// The next bytes of the stream inside the messages.
    Data(&'a [u8]),
    /// To be answered with a pong of the same payload.
    Ping(Vec<u8>),
    Pong,
    /// Nothing follows. The code, if the other side gave one.
    Close(Option<u16>),
}

/// Reads what the other side writes.
#[derive(Debug)]
pub struct Reader {
    side: Side,
    message_bytes_max: u64,
    /// A message is under way, with this many bytes so far.
    message: Option<u64>,
    state: State,
}

#[derive(Debug)]
enum State {
    Header {
        bytes: [u8; HEADROOM],
        length: u8,
    },
    Data(Payload),
    Control {
        opcode: u8,
        payload: Payload,
        bytes: Vec<u8>,
    },
    Closed,
}

/// The part of a frame's payload that has not arrived.
#[derive(Debug, Clone, Copy)]
struct Payload {
    left: u64,
    /// Turned so that its first byte is for the next one of the payload.
    mask: [u8; 4],
}

impl Payload {
    /// Takes what has arrived of it, unmasked.
    fn take<'a>(&mut self, input: &mut &'a mut [u8]) -> &'a [u8] {
        let length = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        let (bytes, rest) = std::mem::take(input).split_at_mut(length);
        *input = rest;
        mask_with(self.mask, bytes);
        self.mask.rotate_left(length % 4);
        self.left -= length as u64;
        bytes
    }
}

impl State {
    const START: Self = Self::Header {
        bytes: [0; HEADROOM],
        length: 0,
    };
}

/// A header that was read.
struct Header {
    is_final: bool,
    opcode: u8,
    payload: Payload,
}

impl Reader {
    /// The reader of one side. Messages over `message_bytes_max` are refused as soon as their length is
    /// known.
    pub fn new(side: Side, message_bytes_max: u64) -> Self {
        Self {
            side,
            message_bytes_max,
            message: None,
            state: State::START,
        }
    }

    /// The next item in `input`, whose bytes are unmasked in place and taken off; `None` when more are
    /// needed. After an error or a close frame there is nothing more to read.
    pub fn next<'a>(&mut self, input: &mut &'a mut [u8]) -> Result<Option<Item<'a>>, WebSocketError> {
        loop {
            match &mut self.state {
                State::Closed => return Ok(None),
                State::Header { bytes, length } => {
                    let Some(header) = fill_header(self.side, bytes, length, input)? else {
                        return Ok(None);
                    };
                    self.state = self.begin(header)?;
                }
                State::Data(payload) => {
                    if payload.left > 0 && input.is_empty() {
                        return Ok(None);
                    }
                    let data = payload.take(input);
                    if payload.left == 0 {
                        self.state = State::START;
                    }
                    if !data.is_empty() {
                        return Ok(Some(Item::Data(data)));
                    }
                }
                State::Control {
                    opcode,
                    payload,
                    bytes,
                } => {
                    bytes.extend_from_slice(payload.take(input));
                    if payload.left > 0 {
                        return Ok(None);
                    }
                    let (opcode, bytes) = (*opcode, std::mem::take(bytes));
                    self.state = State::START;
                    return self.control(opcode, bytes).map(Some);
                }
            }
        }
    }

    fn begin(&mut self, header: Header) -> Result<State, WebSocketError> {
        let Header {
            is_final,
            opcode,
            payload,
        } = header;
        let so_far = match (opcode, self.message) {
            (opcode::TEXT, _) => return Err(WebSocketError::Text),
            (opcode::BINARY, None) => 0,
            (opcode::CONTINUATION, Some(bytes)) => bytes,
            (opcode::BINARY | opcode::CONTINUATION, _) => return Err(WebSocketError::BadFragment),
            (opcode::CLOSE | opcode::PING | opcode::PONG, _) => {
                if !is_final || payload.left > CONTROL_BYTES_MAX as u64 {
                    return Err(WebSocketError::BadControl);
                }
                return Ok(State::Control {
                    opcode,
                    payload,
                    bytes: Vec::new(),
                });
            }
            (other, _) => return Err(WebSocketError::UnknownOpcode(other)),
        };
        let bytes = payload.left.saturating_add(so_far);
        if bytes > self.message_bytes_max {
            let max = self.message_bytes_max;
            return Err(WebSocketError::TooLong { bytes, max });
        }
        self.message = (!is_final).then_some(bytes);
        Ok(State::Data(payload))
    }

    fn control(&mut self, opcode: u8, bytes: Vec<u8>) -> Result<Item<'static>, WebSocketError> {
        match opcode {
            opcode::PING => Ok(Item::Ping(bytes)),
            opcode::PONG => Ok(Item::Pong),
            _ => {
                self.state = State::Closed;
                let Some((code, reason)) = bytes.split_first_chunk::<2>() else {
                    return if bytes.is_empty() {
                        Ok(Item::Close(None))
                    } else {
                        Err(WebSocketError::BadClose)
                    };
                };
                let code = u16::from_be_bytes(*code);
                if !is_close_code(code) || std::str::from_utf8(reason).is_err() {
                    return Err(WebSocketError::BadClose);
                }
                Ok(Item::Close(Some(code)))
            }
        }
    }
}

/// Whether an endpoint may send this code.
fn is_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Adds to a header what has arrived of it; the header once it is complete.
fn fill_header(
    side: Side,
    bytes: &mut [u8; HEADROOM],
    length: &mut u8,
    input: &mut &mut [u8],
) -> Result<Option<Header>, WebSocketError> {
    loop {
        let known = &bytes[..usize::from(*length)];
        if let Some(header) = read_header(side, known)? {
            return Ok(Some(header));
        }
        let Some((byte, rest)) = std::mem::take(input).split_first_mut() else {
            return Ok(None);
        };
        // A header of HEADROOM bytes is complete, so there is room for one more.
        bytes[usize::from(*length)] = *byte;
        *length += 1;
        *input = rest;
    }
}

fn read_header(side: Side, bytes: &[u8]) -> Result<Option<Header>, WebSocketError> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    if first & RESERVED != 0 {
        return Err(WebSocketError::ReservedBits);
    }
    let is_masked = second & MASKED != 0;
    match side {
        Side::Server if !is_masked => return Err(WebSocketError::NotMasked),
        Side::Client if is_masked => return Err(WebSocketError::Masked),
        _ => {}
    }
    let short = second & !MASKED;
    let (length, rest) = match short {
        LENGTH_16 => {
            let Some((length, rest)) = rest.split_first_chunk::<2>() else {
                return Ok(None);
            };
            (u64::from(u16::from_be_bytes(*length)), rest)
        }
        LENGTH_64 => {
            let Some((length, rest)) = rest.split_first_chunk::<8>() else {
                return Ok(None);
            };
            (u64::from_be_bytes(*length), rest)
        }
        length => (u64::from(length), rest),
    };
    let is_shortest = match short {
        LENGTH_16 => length >= u64::from(LENGTH_16),
        LENGTH_64 => length > u64::from(u16::MAX) && length >> 63 == 0,
        _ => true,
    };
    if !is_shortest {
        return Err(WebSocketError::LengthForm);
    }
    let mask = match rest.first_chunk::<4>() {
        Some(mask) if is_masked => *mask,
        None if is_masked => return Ok(None),
        _ => [0; 4],
    };
    Ok(Some(Header {
        is_final: first & FINAL != 0,
        opcode: first & 0x0F,
        payload: Payload { left: length, mask },
    }))
}

fn mask_with(mask: [u8; 4], bytes: &mut [u8]) {
    if mask == [0; 4] {
        return;
    }
    let mut words = bytes.chunks_exact_mut(4);
    for word in &mut words {
        for (byte, key) in word.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(mask) {
        *byte ^= key;
    }
}

/// An empty message to append to, with room in front for its header.
pub fn begin(bytes: usize) -> BytesMut {
    let mut message = BytesMut::with_capacity(HEADROOM + bytes);
    message.put_bytes(0, HEADROOM);
    message
}

/// What was appended to a message since [`begin`].
pub fn length(message: &BytesMut) -> usize {
    message.len().saturating_sub(HEADROOM)
}

/// Completes a message with its header. A client masks it with `mask`, a server has none.
pub fn finish(message: BytesMut, mask: Option<[u8; 4]>) -> BytesMut {
    frame(FINAL | opcode::BINARY, message, mask)
}

/// A pong that answers a ping.
pub fn pong(payload: &[u8], mask: Option<[u8; 4]>) -> BytesMut {
    control(opcode::PONG, payload, mask)
}

/// A ping.
pub fn ping(payload: &[u8], mask: Option<[u8; 4]>) -> BytesMut {
    control(opcode::PING, payload, mask)
}

/// A close frame; a reason that is too long is cut.
pub fn close(code: u16, reason: &'static str, mask: Option<[u8; 4]>) -> BytesMut {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(reason.as_bytes());
    control(opcode::CLOSE, &payload, mask)
}

fn control(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> BytesMut {
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
    let mut message = begin(payload.len());
    message.put_slice(payload);
    frame(FINAL | opcode, message, mask)
}

/// Writes the header of a frame right in front of its payload.
fn frame(first: u8, mut message: BytesMut, mask: Option<[u8; 4]>) -> BytesMut {
    let payload = message.len() - HEADROOM;
    let mut header = [0; HEADROOM];
    header[0] = first;
    let mask_bit = if mask.is_some() { MASKED } else { 0 };
    let mut used = match payload {
        0..126 => {
            header[1] = mask_bit | payload as u8;
            2
        }
        126..=0xFFFF => {
            header[1] = mask_bit | LENGTH_16;
            header[2..4].copy_from_slice(&(payload as u16).to_be_bytes());
            4
        }
        _ => {
            header[1] = mask_bit | LENGTH_64;
            header[2..10].copy_from_slice(&(payload as u64).to_be_bytes());
            10
        }
    };
    if let Some(mask) = mask {
        header[used..used + 4].copy_from_slice(&mask);
        used += 4;
        mask_with(mask, &mut message[HEADROOM..]);
    }
    message[HEADROOM - used..HEADROOM].copy_from_slice(&header[..used]);
    message.advance(HEADROOM - used);
    message
}

#[cfg(test)]
mod tests;
