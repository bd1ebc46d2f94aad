//! The handle of one live connection, shared by its task and everyone who writes to it.

use super::config::SandboxConfig;
use super::outbox::Outbox;
use crate::wire::node::Node;

#[derive(Debug)]
pub(super) struct Link {
    pub id: u64,
    pub outbox: Outbox,
}

impl Link {
    pub(super) fn new(id: u64, config: &SandboxConfig) -> Self {
        Self {
            id,
            outbox: Outbox::new(config.outbox_frames_max, config.outbox_bytes_max),
        }
    }

    pub(super) fn send(&self, node: &Node) {
        self.outbox.push(node);
    }

    /// Sends a last stanza and ends the connection.
    pub(super) fn end_with(&self, node: &Node) {
        self.outbox.push(node);
        self.outbox.finish();
    }
}

/// `<stream:error>` with a code, and the conflict that explains it.
pub(super) fn stream_error(code: Option<&'static str>, conflict: Option<&'static str>) -> Node {
    Node::new("stream:error")
        .attr_opt("code", code)
        .child_opt(conflict.map(|kind| Node::new("conflict").attr("type", kind)))
}
