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

use super::route::{self, Desk as _};
use super::{News, resting};
use crate::Streams;
use crate::bucket::Buckets;
use crate::instance::Instances;
use crate::node::NodeContext;
use crate::operator::Local;
use crate::residents::Residents;
use crate::webhook::Webhooks;

/// See the module.
pub(crate) struct Exchange {
    pub node: Arc<NodeContext>,
    pub instances: Instances,
    pub residents: Arc<Residents>,
    pub streams: Streams,
    pub operator: Arc<Local>,
    pub webhooks: Webhooks,
    pub buckets: Buckets,
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
            Instances::KIND => route::serve(&self.instances, from, &body, deadline).await,
            Buckets::KIND => route::serve(&self.buckets, from, &body, deadline).await,
            Webhooks::KIND => route::serve(&self.webhooks, from, &body, deadline).await,
            Kind::OPERATOR => self.operator.serve(&body).await,
            Kind::REST => resting::obey(&self.residents, &body).await,
            Kind(number) => {
                let node = self.node.placement.node();
                tracing::debug!(%from, kind = number, node, "a call of an unknown kind");
                Err(WireError::UnknownKind)
            }
        }
    }

    fn told(&self, from: &NodeName, note: Note) {
        match News::read(&note) {
            Some(News::Committed { tenant, seq, at }) => {
                self.node.store.not_before(at);
                self.streams.told(tenant, seq);
            }
            Some(news) => self.node.hear(news),
            None => tracing::debug!(%from, kind = note.kind.0, "a note that this release does not know"),
        }
    }
}
