//! The time that buckets count in: that of the runtime since the start of the node.

#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use super::machine::nanos;

/// See the module.
#[derive(Debug)]
pub(crate) struct Uptime {
    start: Instant,
    /// By how much a test has set it forward.
    #[cfg(test)]
    ahead: AtomicU64,
}

impl Uptime {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            #[cfg(test)]
            ahead: AtomicU64::new(0),
        }
    }

    pub fn nanos(&self) -> u64 {
        let nanos = nanos(self.start.elapsed());
        #[cfg(test)]
        let nanos = nanos + self.ahead.load(Ordering::SeqCst);
        nanos
    }

    #[cfg(test)]
    pub fn advance(&self, by: std::time::Duration) {
        self.ahead.fetch_add(nanos(by), Ordering::SeqCst);
    }
}
