//! Binary nodes: the tree of tags, attributes and content that every stanza is.
//!
//! Attribute values arrive as tokens, packed digits, JIDs or raw text and are all read as text;
//! content is read by its tag, never by how it was encoded, so [`Node::data`] gives the bytes of
//! either form.

mod decode;
mod encode;

use std::borrow::Cow;

use bytes::Bytes;
use thiserror::Error;

pub use decode::{Limits, decode};
pub use encode::{encode, encode_to_vec};

/// Text that is either a dictionary token or owned.
pub type Text = Cow<'static, str>;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum NodeError {
    #[error("node ends too early")]
    Truncated,
    #[error("bytes follow the node")]
    TrailingBytes,
    #[error("byte {0:#04x} starts no value")]
    UnknownTag(u8),
    #[error("a list was expected, found byte {0:#04x}")]
    NotAList(u8),
    #[error("the node list is empty or malformed")]
    MalformedNode,
    #[error("text is not UTF-8")]
    NotUtf8,
    #[error("packed text holds an unknown digit")]
    BadPacking,
    #[error("address is malformed")]
    BadJid,
    #[error("nodes are nested deeper than {0}")]
    TooDeep(usize),
    #[error("stanza has more than {0} nodes and attributes")]
    TooMany(usize),
    #[error("compressed stanza is malformed or over {0} bytes")]
    BadCompression(usize),
    #[error("a list or text is too long to be written")]
    TooLong,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub tag: Text,
    pub attrs: Vec<(Text, Text)>,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Content {
    #[default]
    Empty,
    Text(Text),
    Bytes(Bytes),
    Nodes(Vec<Node>),
}

impl Node {
    pub fn new(tag: impl Into<Text>) -> Self {
        Self {
            tag: tag.into(),
            attrs: Vec::new(),
            content: Content::Empty,
        }
    }

    #[must_use]
    pub fn attr(mut self, key: impl Into<Text>, value: impl Into<Text>) -> Self {
        self.attrs.push((key.into(), value.into()));
        self
    }

    #[must_use]
    pub fn attr_opt(self, key: impl Into<Text>, value: Option<impl Into<Text>>) -> Self {
        match value {
            Some(value) => self.attr(key, value),
            None => self,
        }
    }

    /// Copies attributes of another node, those it has.
    #[must_use]
    pub fn attrs_from(mut self, other: &Node, keys: &[&'static str]) -> Self {
        for key in keys {
            if let Some((_, value)) = other.attrs.iter().find(|(name, _)| name == key) {
                self.attrs.push((Cow::Borrowed(key), value.clone()));
            }
        }
        self
    }

    #[must_use]
    pub fn bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        self.content = Content::Bytes(bytes.into());
        self
    }

    #[must_use]
    pub fn child(mut self, child: Node) -> Self {
        match &mut self.content {
            Content::Nodes(nodes) => nodes.push(child),
            other => *other = Content::Nodes(vec![child]),
        }
        self
    }

    #[must_use]
    pub fn child_opt(self, child: Option<Node>) -> Self {
        match child {
            Some(child) => self.child(child),
            None => self,
        }
    }

    /// Sets the children; none at all leaves the node without content.
    #[must_use]
    pub fn with_children(mut self, children: Vec<Node>) -> Self {
        self.content = if children.is_empty() {
            Content::Empty
        } else {
            Content::Nodes(children)
        };
        self
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.attrs
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_ref())
    }

    pub fn is(&self, key: &str, value: &str) -> bool {
        self.get(key) == Some(value)
    }

    pub fn children(&self) -> &[Node] {
        match &self.content {
            Content::Nodes(nodes) => nodes,
            _ => &[],
        }
    }

    pub fn find(&self, tag: &str) -> Option<&Node> {
        self.children().iter().find(|node| node.tag == tag)
    }

    pub fn find_all<'a>(&'a self, tag: &'a str) -> impl Iterator<Item = &'a Node> {
        self.children().iter().filter(move |node| node.tag == tag)
    }

    /// The content as bytes, however it was encoded; `None` for children and for no content.
    pub fn data(&self) -> Option<&[u8]> {
        match &self.content {
            Content::Bytes(bytes) => Some(bytes),
            Content::Text(text) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// As [`Self::data`], sharing the buffer where possible.
    pub fn data_bytes(&self) -> Option<Bytes> {
        match &self.content {
            Content::Bytes(bytes) => Some(bytes.clone()),
            Content::Text(Cow::Borrowed(text)) => Some(Bytes::from_static(text.as_bytes())),
            Content::Text(Cow::Owned(text)) => Some(Bytes::copy_from_slice(text.as_bytes())),
            _ => None,
        }
    }

    /// Roughly the memory the node takes.
    pub fn weight(&self) -> usize {
        let attrs: usize = self
            .attrs
            .iter()
            .map(|(key, value)| 48 + key.len() + value.len())
            .sum();
        let content = match &self.content {
            Content::Empty => 0,
            Content::Text(text) => text.len(),
            Content::Bytes(bytes) => bytes.len(),
            Content::Nodes(nodes) => nodes.iter().map(Self::weight).sum(),
        };
        size_of::<Self>() + attrs + content
    }

    /// The content as an array of exactly `N` bytes.
    pub fn data_array<const N: usize>(&self) -> Option<[u8; N]> {
        self.data()?.try_into().ok()
    }
}

/// First bytes of the values that are not tokens.
mod mark {
    pub const LIST_EMPTY: u8 = 0;
    pub const SINGLE_MAX: u8 = 235;
    pub const DOUBLE_FIRST: u8 = 236;
    pub const DOUBLE_LAST: u8 = 239;
    pub const INTEROP_JID: u8 = 245;
    pub const MESSENGER_JID: u8 = 246;
    pub const DEVICE_JID: u8 = 247;
    pub const LIST_8: u8 = 248;
    pub const LIST_16: u8 = 249;
    pub const JID_PAIR: u8 = 250;
    pub const HEX: u8 = 251;
    pub const BINARY_8: u8 = 252;
    pub const BINARY_20: u8 = 253;
    pub const BINARY_32: u8 = 254;
    pub const NIBBLE: u8 = 255;
    /// Most packed bytes, two characters each.
    pub const PACKED_BYTES_MAX: usize = 127;
    /// Flag of the first byte: the rest is deflated.
    pub const COMPRESSED: u8 = 2;
}
