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

use crate::node::NodeContext;
use crate::operator::Local;

/// See the module.
pub(crate) struct Exchange {
    pub node: Arc<NodeContext>,
    pub operator: Arc<Local>,
}

#[async_trait]
impl Service for Exchange {
    async fn serve(
        &self,
        from: &NodeName,
        kind: Kind,
        body: Bytes,
        _deadline: Instant,
    ) -> Result<Bytes, WireError> {
        match kind {
            Kind::OPERATOR => self.operator.serve(&body).await,
            Kind(number) => {
                let node = self.node.placement.node();
                tracing::debug!(%from, kind = number, node, "a call of an unknown kind");
                Err(WireError::UnknownKind)
            }
        }
    }

    fn told(&self, from: &NodeName, note: Note) {
        tracing::debug!(%from, kind = note.kind.0, "a note of an unknown kind");
    }
}
