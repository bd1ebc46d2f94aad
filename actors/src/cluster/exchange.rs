//! What this node does for others: the way in from the mesh, sorted by kind.
//!
//! Who asks has looked into the same rows as this node, a moment earlier or later, so that it may be wrong
//! about who owns what: then it is told so, and looks again.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use roost_domain::cluster::NodeName;
use roost_domain::peer::{Kind, Note, Service, WireError};

use crate::instance::Instances;
use crate::node::NodeContext;

/// See the module.
pub(crate) struct Exchange {
    pub node: Arc<NodeContext>,
    pub instances: Instances,
}

#[async_trait]
impl Service for Exchange {
    async fn serve(
        &self,
        from: &NodeName,
        kind: Kind,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, WireError> {
        match kind {
            Kind::INSTANCE => self.instances.serve(from, &body, deadline).await,
            _ => {
                tracing::debug!(%from, kind = kind.0, node = self.node.placement.node(), "a call of an unknown kind");
                Err(WireError::UnknownKind)
            }
        }
    }

    fn told(&self, from: &NodeName, note: Note) {
        tracing::debug!(%from, kind = note.kind.0, "a note of an unknown kind");
    }
}
