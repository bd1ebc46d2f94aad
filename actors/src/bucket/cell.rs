//! Where a bucket's state lies: shared by its actor and its callers. Callers may spend what is leased;
//! only the actor takes from the bucket itself.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roost_domain::limit::{Quota, Taken};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::clock::Uptime;
use super::machine::{Bucket, Terms, nanos};

/// A live bucket, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BucketView {
    /// How many the quota allows.
    pub quota: u32,
    /// In which time, in milliseconds.
    pub per_ms: u64,
    /// How many more would be granted now.
    pub remaining: u32,
    /// When it is full, in milliseconds.
    pub full_in_ms: u64,
    /// How many it has granted in this life of its actor.
    pub granted: u64,
    /// How many calls it has refused.
    pub refused: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct BucketCell {
    uptime: Arc<Uptime>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// None until it is first asked: full, under a quota that is not known yet.
    bucket: Option<Bucket>,
    retired: bool,
    used_at: u64,
    granted: u64,
    refused: u64,
}

impl Inner {
    fn count(&mut self, now: u64, n: NonZeroU32, taken: &Taken) {
        self.used_at = now;
        match taken {
            Taken::Granted(_) => self.granted += u64::from(n.get()),
            Taken::Refused { .. } => self.refused += 1,
        }
    }
}

impl BucketCell {
    pub fn new(uptime: Arc<Uptime>) -> Self {
        let inner = Inner {
            bucket: None,
            retired: false,
            used_at: uptime.nanos(),
            granted: 0,
            refused: 0,
        };
        Self {
            uptime,
            inner: Mutex::new(inner),
        }
    }

    /// The time and the state. The time is read under the lock, so that it never goes back.
    fn inner(&self) -> (u64, MutexGuard<'_, Inner>) {
        // Nothing that runs under the lock can panic half-way.
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (self.uptime.nanos(), inner)
    }

    /// Takes from what is leased. `None` when the actor has to be asked.
    pub fn take(&self, quota: Quota, n: NonZeroU32) -> Option<Taken> {
        let (now, mut inner) = self.inner();
        if inner.retired {
            return None;
        }
        let bucket = inner.bucket.as_mut().filter(|bucket| bucket.quota() == quota)?;
        let taken = bucket.take(now, n)?;
        inner.count(now, n, &taken);
        Some(taken)
    }

    /// Takes from the bucket itself: the actor's.
    pub(super) fn serve(&self, quota: Quota, n: NonZeroU32, terms: &Terms) -> Taken {
        let (now, mut inner) = self.inner();
        let bucket = inner.bucket.get_or_insert_with(|| Bucket::new(quota));
        let taken = bucket.serve(now, quota, n, terms);
        inner.count(now, n, &taken);
        taken
    }

    /// What would come of taking now; `None` when that is not known.
    pub fn look(&self, quota: Quota, n: NonZeroU32) -> Option<Taken> {
        let (now, inner) = self.inner();
        let bucket = inner.bucket.filter(|bucket| bucket.quota() == quota)?;
        Some(bucket.look(now, n))
    }

    /// Takes back what did not count after all.
    pub fn give_back(&self, n: NonZeroU32) {
        let (now, mut inner) = self.inner();
        if let Some(bucket) = &mut inner.bucket {
            bucket.give_back(now, n);
            inner.granted = inner.granted.saturating_sub(u64::from(n.get()));
        }
    }

    /// Takes back a lease whose time is over; `true` when nobody has used the bucket for so long and it is
    /// full: then it is as good as a new one.
    pub fn is_idle(&self, after: Duration) -> bool {
        let (now, mut inner) = self.inner();
        inner.is_idle(now, after)
    }

    /// Grants nothing any more, unless it has been used.
    pub fn retire_if_idle(&self, after: Duration) -> bool {
        let (now, mut inner) = self.inner();
        inner.retired |= inner.is_idle(now, after);
        inner.retired
    }

    /// Grants nothing any more.
    pub fn retire(&self) {
        self.inner().1.retired = true;
    }

    pub fn is_retired(&self) -> bool {
        self.inner().1.retired
    }

    /// What operators see. `None` before it was first asked.
    pub fn view(&self) -> Option<BucketView> {
        let (now, inner) = self.inner();
        let standing = inner.bucket?.standing(now);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Some(BucketView {
            quota: standing.quota.count.get(),
            per_ms: millis(standing.quota.per),
            remaining: standing.remaining,
            full_in_ms: millis(standing.full_in),
            granted: inner.granted,
            refused: inner.refused,
        })
    }
}

impl Inner {
    fn is_idle(&mut self, now: u64, after: Duration) -> bool {
        let full = self.bucket.as_mut().is_none_or(|bucket| {
            bucket.end_lease_if_over(now);
            bucket.is_full(now)
        });
        full && now.saturating_sub(self.used_at) >= nanos(after)
    }
}
