//! Places for open connections: a limited number in all, and fewer for clients that have not logged
//! in, so that strangers who connect and wait cannot keep the companions out for long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::service::Service;

/// How many connections there are.
#[derive(Debug, Default)]
pub(super) struct Places {
    open: AtomicU64,
    strangers: AtomicU64,
}

impl Places {
    pub(super) fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }
}

/// One connection's place, given back when it is dropped.
pub(super) struct Place {
    service: Arc<Service>,
    is_stranger: bool,
}

impl Place {
    /// `None` when all are taken.
    pub(super) fn take(service: &Arc<Service>) -> Option<Self> {
        let (places, config) = (&service.places, &service.config);
        if !take_one(&places.open, config.links_max) {
            return None;
        }
        if !take_one(&places.strangers, config.unauthenticated_links_max) {
            places.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Self {
            service: service.clone(),
            is_stranger: true,
        })
    }

    /// The client has logged in: it no longer counts among the strangers.
    pub(super) fn logged_in(&mut self) {
        if std::mem::take(&mut self.is_stranger) {
            self.service.places.strangers.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.logged_in();
        self.service.places.open.fetch_sub(1, Ordering::Relaxed);
    }
}

fn take_one(taken: &AtomicU64, max: usize) -> bool {
    let more = |taken: u64| (taken < max as u64).then(|| taken + 1);
    taken
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        .is_ok()
}
