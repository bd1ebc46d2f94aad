//! Reading binary nodes.

use std::borrow::Cow;
use std::io::Read;

use bytes::Bytes;
use flate2::read::ZlibDecoder;

use super::{Content, Node, NodeError, Text, mark};
use crate::wire::jid::{Domain, Jid};
use crate::wire::token;

/// What one stanza may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub depth_max: usize,
    /// Nodes and attributes together.
    pub items_max: usize,
    /// Size after decompression.
    pub inflated_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            depth_max: 32,
            items_max: 65_536,
            inflated_bytes_max: 4 << 20,
        }
    }
}

/// Reads one stanza: a flags byte, then a node that takes up all the rest.
pub fn decode(frame: Bytes, limits: Limits) -> Result<Node, NodeError> {
    let flags = *frame.first().ok_or(NodeError::Truncated)?;
    let body = if flags & mark::COMPRESSED == 0 {
        frame.slice(1..)
    } else {
        inflate(&frame[1..], limits)?
    };
    let mut reader = Reader {
        input: body,
        at: 0,
        items_left: limits.items_max,
        limits,
    };
    let node = reader.node(0)?;
    if reader.at != reader.input.len() {
        return Err(NodeError::TrailingBytes);
    }
    Ok(node)
}

fn inflate(packed: &[u8], limits: Limits) -> Result<Bytes, NodeError> {
    let max = limits.inflated_bytes_max;
    let mut out = Vec::new();
    ZlibDecoder::new(packed)
        .take(max as u64 + 1)
        .read_to_end(&mut out)
        .map_err(|_| NodeError::BadCompression(max))?;
    if out.len() > max {
        return Err(NodeError::BadCompression(max));
    }
    Ok(Bytes::from(out))
}

struct Reader {
    input: Bytes,
    at: usize,
    items_left: usize,
    limits: Limits,
}

impl Reader {
    fn byte(&mut self) -> Result<u8, NodeError> {
        let byte = *self.input.get(self.at).ok_or(NodeError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn number(&mut self, bytes: usize) -> Result<usize, NodeError> {
        let mut number = 0;
        for _ in 0..bytes {
            number = number << 8 | usize::from(self.byte()?);
        }
        Ok(number)
    }

    fn take(&mut self, length: usize) -> Result<Bytes, NodeError> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.input.len());
        let end = end.ok_or(NodeError::Truncated)?;
        let bytes = self.input.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    fn count_item(&mut self) -> Result<(), NodeError> {
        self.items_left = self
            .items_left
            .checked_sub(1)
            .ok_or(NodeError::TooMany(self.limits.items_max))?;
        Ok(())
    }

    fn list_size(&mut self, mark: u8) -> Result<usize, NodeError> {
        match mark {
            mark::LIST_EMPTY => Ok(0),
            mark::LIST_8 => self.number(1),
            mark::LIST_16 => self.number(2),
            other => Err(NodeError::NotAList(other)),
        }
    }

    fn node(&mut self, depth: usize) -> Result<Node, NodeError> {
        if depth >= self.limits.depth_max {
            return Err(NodeError::TooDeep(self.limits.depth_max));
        }
        self.count_item()?;
        let first = self.byte()?;
        let size = self.list_size(first)?;
        let tag = self
            .text()?
            .filter(|tag| size > 0 && !tag.is_empty())
            .ok_or(NodeError::MalformedNode)?;
        let mut attrs = Vec::new();
        for _ in 0..(size - 1) / 2 {
            self.count_item()?;
            let key = self.text()?.ok_or(NodeError::MalformedNode)?;
            let value = self.text()?.unwrap_or_default();
            attrs.push((key, value));
        }
        let content = if size % 2 == 0 {
            self.content(depth)?
        } else {
            Content::Empty
        };
        Ok(Node { tag, attrs, content })
    }

    fn content(&mut self, depth: usize) -> Result<Content, NodeError> {
        let first = self.byte()?;
        match first {
            mark::LIST_EMPTY => Ok(Content::Empty),
            mark::LIST_8 | mark::LIST_16 => {
                let size = self.list_size(first)?;
                let mut nodes = Vec::with_capacity(size.min(64));
                for _ in 0..size {
                    nodes.push(self.node(depth + 1)?);
                }
                Ok(Content::Nodes(nodes))
            }
            mark::BINARY_8 | mark::BINARY_20 | mark::BINARY_32 => {
                let length = self.binary_length(first)?;
                let bytes = self.take(length)?;
                // A few bytes that are kept must not keep a long frame with them.
                Ok(Content::Bytes(if length < self.input.len() / 2 {
                    Bytes::copy_from_slice(&bytes)
                } else {
                    bytes
                }))
            }
            other => Ok(self.text_after(other)?.map_or(Content::Empty, Content::Text)),
        }
    }

    fn binary_length(&mut self, mark: u8) -> Result<usize, NodeError> {
        match mark {
            mark::BINARY_8 => self.number(1),
            mark::BINARY_20 => Ok(self.number(3)? & 0xF_FFFF),
            _ => self.number(4),
        }
    }

    fn text(&mut self) -> Result<Option<Text>, NodeError> {
        let first = self.byte()?;
        self.text_after(first)
    }

    fn text_after(&mut self, first: u8) -> Result<Option<Text>, NodeError> {
        let text = match first {
            mark::LIST_EMPTY => return Ok(None),
            1..=mark::SINGLE_MAX => Cow::Borrowed(token::single(first).ok_or(NodeError::UnknownTag(first))?),
            mark::DOUBLE_FIRST..=mark::DOUBLE_LAST => {
                let index = self.byte()?;
                Cow::Borrowed(
                    token::double(first - mark::DOUBLE_FIRST, index).ok_or(NodeError::UnknownTag(first))?,
                )
            }
            mark::BINARY_8 | mark::BINARY_20 | mark::BINARY_32 => {
                let length = self.binary_length(first)?;
                let bytes = self.take(length)?;
                Cow::Owned(
                    std::str::from_utf8(&bytes)
                        .map_err(|_| NodeError::NotUtf8)?
                        .to_owned(),
                )
            }
            mark::NIBBLE | mark::HEX => Cow::Owned(self.packed(first)?),
            mark::JID_PAIR => self.jid_pair()?.to_string().into(),
            mark::DEVICE_JID => self.device_jid()?.to_string().into(),
            mark::MESSENGER_JID => self.foreign_jid(Domain::Messenger)?.to_string().into(),
            mark::INTEROP_JID => self.foreign_jid(Domain::Interop)?.to_string().into(),
            other => return Err(NodeError::UnknownTag(other)),
        };
        Ok(Some(text))
    }

    /// Text inside an address: a JID inside a JID would recurse, so it is refused.
    fn plain_text(&mut self) -> Result<Option<Text>, NodeError> {
        match self.byte()? {
            mark::JID_PAIR | mark::DEVICE_JID | mark::MESSENGER_JID | mark::INTEROP_JID => {
                Err(NodeError::BadJid)
            }
            first => self.text_after(first),
        }
    }

    fn jid_pair(&mut self) -> Result<Jid, NodeError> {
        let user = self.plain_text()?.unwrap_or_default();
        let server = self.plain_text()?.ok_or(NodeError::BadJid)?;
        Ok(Jid::new(
            user,
            0,
            Domain::parse(&server).ok_or(NodeError::BadJid)?,
        ))
    }

    fn device_jid(&mut self) -> Result<Jid, NodeError> {
        let domain = Domain::from_device_form(self.byte()?).ok_or(NodeError::BadJid)?;
        let device = self.byte()?;
        let user = self.plain_text()?.ok_or(NodeError::BadJid)?;
        Ok(Jid::new(user, device.into(), domain))
    }

    fn foreign_jid(&mut self, domain: Domain) -> Result<Jid, NodeError> {
        let user = self.plain_text()?.ok_or(NodeError::BadJid)?;
        let device = self.number(2)? as u16;
        if domain == Domain::Interop {
            self.number(2)?;
        }
        let server = self.plain_text()?.ok_or(NodeError::BadJid)?;
        if Domain::parse(&server) != Some(domain) {
            return Err(NodeError::BadJid);
        }
        Ok(Jid::new(user, device, domain))
    }

    fn packed(&mut self, mark: u8) -> Result<String, NodeError> {
        let head = self.byte()?;
        let bytes = self.take(usize::from(head & 0x7F))?;
        let odd = head & 0x80 != 0;
        let mut text = String::with_capacity(bytes.len() * 2);
        for (place, byte) in bytes.iter().enumerate() {
            text.push(unpack(mark, byte >> 4)?);
            if !(odd && place + 1 == bytes.len()) {
                text.push(unpack(mark, byte & 0x0F)?);
            }
        }
        Ok(text)
    }
}

fn unpack(mark: u8, digit: u8) -> Result<char, NodeError> {
    match (mark, digit) {
        (_, 0..=9) => Ok(char::from(b'0' + digit)),
        (mark::NIBBLE, 10) => Ok('-'),
        (mark::NIBBLE, 11) => Ok('.'),
        (mark::HEX, 10..=15) => Ok(char::from(b'A' + digit - 10)),
        _ => Err(NodeError::BadPacking),
    }
}
