//! Placement on a single node: it owns every slot, for as long as it runs.

use roost_domain::Epoch;
use roost_domain::slot::{Place, Placement, Slot};
use roost_domain::store::{Store, StoreError};

/// Every slot is here, under the epoch of this life of the node.
#[derive(Debug, Clone)]
pub struct LocalPlacement {
    node: String,
    epoch: Epoch,
}

impl LocalPlacement {
    /// Begins a new life of the node: takes an epoch that fences every earlier one.
    pub async fn start(store: &dyn Store, node: impl Into<String>) -> Result<Self, StoreError> {
        Ok(Self {
            node: node.into(),
            epoch: store.next_epoch().await?,
        })
    }

    /// Epoch of this life.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }
}

impl Placement for LocalPlacement {
    fn node(&self) -> &str {
        &self.node
    }

    fn place(&self, _slot: Slot) -> Place {
        Place::Here(self.epoch)
    }

    /// SQLite's file is locked for the life of the process, so nobody else can take over. On PostgreSQL
    /// a later process can; then the epoch in every write fences this one.
    fn holds_lease(&self) -> bool {
        true
    }
}
