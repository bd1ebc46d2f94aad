//! How this node stands in its cluster, in numbers, for metrics.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use roost_domain::cluster::ClusterView;
use tokio::time::Instant;

/// How this node stands in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterNumbers {
    /// For how long it may still act; zero without a lease.
    pub lease_left: Duration,
    /// Leases that it has lost since it started.
    pub leases_lost: u64,
    /// Slots that it owns.
    pub slots: usize,
    /// Slots that no live node owned, when the rows were last read.
    pub slots_unowned: usize,
    /// Live nodes, itself among them, when the rows were last read.
    pub nodes: usize,
    /// How long ago the rows were last read.
    pub view_age: Duration,
    /// Nodes that it has a working link to.
    pub links: usize,
}

/// What the steward and the keeper note for it.
pub(crate) struct Notebook {
    lost: AtomicU64,
    unowned: AtomicUsize,
    nodes: AtomicUsize,
    seen: Mutex<Instant>,
}

impl Notebook {
    pub fn new() -> Self {
        Self {
            lost: AtomicU64::new(0),
            unowned: AtomicUsize::new(0),
            nodes: AtomicUsize::new(0),
            seen: Mutex::new(Instant::now()),
        }
    }

    pub fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub fn saw(&self, view: &ClusterView) {
        let live = view.nodes.values().filter(|lease| lease.is_live()).count();
        self.nodes.store(live, Ordering::Relaxed);
        self.unowned
            .store(super::plan::free(view).len(), Ordering::Relaxed);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub fn numbers(&self, lease_left: Duration, slots: usize, links: usize) -> ClusterNumbers {
        ClusterNumbers {
            lease_left,
            leases_lost: self.lost.load(Ordering::Relaxed),
            slots,
            slots_unowned: self.unowned.load(Ordering::Relaxed),
            nodes: self.nodes.load(Ordering::Relaxed),
            view_age: self.seen.lock().unwrap_or_else(PoisonError::into_inner).elapsed(),
            links,
        }
    }
}
