//! Stanzas as they are kept: in the encoding of the wire.

use bytes::Bytes;
use serde_bytes::ByteBuf;

use crate::wire::node::{Limits, Node, NodeError, decode, encode_to_vec};

/// What was written here had passed the limits of the wire when it arrived.
const LIMITS: Limits = Limits {
    depth_max: 256,
    items_max: usize::MAX,
    inflated_bytes_max: 0,
};

pub(in crate::server) fn pack(node: &Node) -> ByteBuf {
    match encode_to_vec(node) {
        Ok(bytes) => ByteBuf::from(Vec::from(bytes)),
        Err(error) => {
            tracing::error!(tag = %node.tag, %error, "a stanza is too long to be kept");
            ByteBuf::new()
        }
    }
}

pub(in crate::server) fn unpack(bytes: ByteBuf) -> Result<Node, NodeError> {
    decode(Bytes::from(bytes.into_vec()), LIMITS)
}
