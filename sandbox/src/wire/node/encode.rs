//! Writing binary nodes. What is written reads back as the same node.

use bytes::{BufMut, BytesMut};

use super::{Content, Node, NodeError, mark};
use crate::wire::jid::Domain;
use crate::wire::token::{self, Token};

/// Texts longer than this are neither tokens nor addresses.
const LOOKUP_BYTES_MAX: usize = 127;

/// Appends a stanza: an uncompressed flags byte, then the node.
pub fn encode(node: &Node, out: &mut BytesMut) -> Result<(), NodeError> {
    out.put_u8(0);
    write_node(node, out)
}

/// A stanza in a buffer of its own.
pub fn encode_to_vec(node: &Node) -> Result<BytesMut, NodeError> {
    let mut out = BytesMut::with_capacity(256);
    encode(node, &mut out)?;
    Ok(out)
}

fn write_node(node: &Node, out: &mut BytesMut) -> Result<(), NodeError> {
    let has_content = !matches!(node.content, Content::Empty);
    write_list(1 + 2 * node.attrs.len() + usize::from(has_content), out)?;
    write_text(&node.tag, out)?;
    for (key, value) in &node.attrs {
        write_text(key, out)?;
        write_text(value, out)?;
    }
    match &node.content {
        Content::Empty => Ok(()),
        Content::Text(text) => write_text(text, out),
        Content::Bytes(bytes) => write_binary(bytes, out),
        Content::Nodes(nodes) => {
            write_list(nodes.len(), out)?;
            nodes.iter().try_for_each(|child| write_node(child, out))
        }
    }
}

fn write_list(size: usize, out: &mut BytesMut) -> Result<(), NodeError> {
    match size {
        0 => out.put_u8(mark::LIST_EMPTY),
        1..=0xFF => {
            out.put_u8(mark::LIST_8);
            out.put_u8(size as u8);
        }
        0x100..=0xFFFF => {
            out.put_u8(mark::LIST_16);
            out.put_u16(size as u16);
        }
        _ => return Err(NodeError::TooLong),
    }
    Ok(())
}

fn write_text(text: &str, out: &mut BytesMut) -> Result<(), NodeError> {
    if !text.is_empty() && text.len() <= LOOKUP_BYTES_MAX {
        match token::find(text) {
            Some(Token::Single(index)) => {
                out.put_u8(index);
                return Ok(());
            }
            Some(Token::Double(dictionary, index)) => {
                out.put_u8(mark::DOUBLE_FIRST + dictionary);
                out.put_u8(index);
                return Ok(());
            }
            None => {}
        }
        if write_jid(text, out)? || write_packed(text, out) {
            return Ok(());
        }
    }
    write_binary(text.as_bytes(), out)
}

fn write_binary(bytes: &[u8], out: &mut BytesMut) -> Result<(), NodeError> {
    let length = bytes.len();
    if length <= 0xFF {
        out.put_u8(mark::BINARY_8);
        out.put_u8(length as u8);
    } else if length <= 0xF_FFFF {
        out.put_u8(mark::BINARY_20);
        out.put_uint(length as u64, 3);
    } else {
        out.put_u8(mark::BINARY_32);
        out.put_u32(u32::try_from(length).map_err(|_| NodeError::TooLong)?);
    }
    out.put_slice(bytes);
    Ok(())
}

/// Writes `text` as an address if that reads back as the very same text.
fn write_jid(text: &str, out: &mut BytesMut) -> Result<bool, NodeError> {
    let Some((user, server)) = text.split_once('@') else {
        return Ok(false);
    };
    let Some(domain) = Domain::parse(server).filter(|_| !user.is_empty()) else {
        return Ok(false);
    };
    if let Some((name, device)) = user.rsplit_once(':')
        && let Some(form) = domain.device_form()
        && let Ok(number) = device.parse::<u8>()
        && number != 0
        && !device.starts_with(['0', '+'])
        && !name.is_empty()
    {
        out.put_u8(mark::DEVICE_JID);
        out.put_u8(form);
        out.put_u8(number);
        write_text(name, out)?;
        return Ok(true);
    }
    out.put_u8(mark::JID_PAIR);
    write_text(user, out)?;
    write_text(domain.as_str(), out)?;
    Ok(true)
}

/// The half byte a character packs to.
type Pack = fn(u8) -> Option<u8>;

/// Writes digits packed two to a byte, if all characters allow it.
fn write_packed(text: &str, out: &mut BytesMut) -> bool {
    if text.len().div_ceil(2) > mark::PACKED_BYTES_MAX {
        return false;
    }
    let fits = |pack: Pack| text.bytes().all(|byte| pack(byte).is_some());
    let packings: [(u8, Pack); 2] = [(mark::NIBBLE, pack_nibble), (mark::HEX, pack_hex)];
    let Some((mark, pack)) = packings.into_iter().find(|(_, pack)| fits(*pack)) else {
        return false;
    };
    let odd = text.len() % 2 == 1;
    out.put_u8(mark);
    out.put_u8((text.len().div_ceil(2) as u8) | if odd { 0x80 } else { 0 });
    for pair in text.as_bytes().chunks(2) {
        let high = pack(pair[0]).unwrap_or(0x0F);
        let low = pair.get(1).and_then(|byte| pack(*byte)).unwrap_or(0x0F);
        out.put_u8(high << 4 | low);
    }
    true
}

fn pack_nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'-' => Some(10),
        b'.' => Some(11),
        _ => None,
    }
}

fn pack_hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
