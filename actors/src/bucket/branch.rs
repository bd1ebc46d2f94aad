//! Buckets that other nodes own, as this node knows them.
//!
//! ```text
//! calls ──▶ Branch ── lent by the owner, spent here ── one lock, no message
//!             └── turn ── ask the owner, and be lent as much as was needed lately ──▶ its actor
//!             └── the owner does not answer: this node's share of the quota, for a moment
//! ```
//! What is lent counts as taken with the owner, so that all nodes together grant at most what the bucket
//! has, and over any time at most what they were lent beside it. What is left goes back: with the next
//! question, or with the sweep. A node that crashes takes with it what it was lent.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use roost_domain::limit::{BucketKey, Quota, Standing, Taken};
use tokio::sync::Semaphore;

use super::clock::Uptime;
use super::machine::{Bucket, Terms, nanos};

/// How long this node counts for itself after the owner did not answer.
const ALONE: Duration = Duration::from_secs(1);
/// What is counted here is granted here: there is nobody to lease to.
const NO_LEASE: Terms = Terms {
    lease_max: 1,
    lease_life: Duration::ZERO,
};

/// See the module.
pub(super) struct Branch {
    uptime: Arc<Uptime>,
    inner: Mutex<Inner>,
    /// One caller at a time asks the owner; the others mostly find what it was lent.
    pub turn: Semaphore,
}

struct Inner {
    /// As the owner said that it stands.
    lent: Option<Bucket>,
    /// What is counted without the owner.
    alone: Option<Bucket>,
    /// Until when the owner is not asked.
    alone_until: u64,
    /// Among how many nodes the quota is shared meanwhile.
    nodes: u32,
    /// How many to ask for beside what a call needs.
    want: u32,
    /// How many were taken since the owner was asked.
    spent: u32,
    used_at: u64,
}

/// What the owner of a bucket is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    /// How many beside what the call needs.
    pub want: u32,
    /// How many of what was lent before come back.
    pub back: u32,
    /// When it was asked: what is lent may be used from then on.
    at: u64,
}

impl Branch {
    fn new(uptime: Arc<Uptime>) -> Self {
        let inner = Inner {
            lent: None,
            alone: None,
            alone_until: 0,
            nodes: 1,
            want: 0,
            spent: 0,
            used_at: uptime.nanos(),
        };
        Self {
            uptime,
            inner: Mutex::new(inner),
            turn: Semaphore::new(1),
        }
    }

    /// The time and the state. The time is read under the lock, so that it never goes back.
    fn inner(&self) -> (u64, MutexGuard<'_, Inner>) {
        // Nothing that runs under the lock can panic half-way.
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        (self.uptime.nanos(), inner)
    }

    /// Takes from what was lent, or refuses as the owner would. `None` when the owner has to be asked.
    pub fn take(&self, quota: Quota, n: NonZeroU32) -> Option<Taken> {
        let (now, mut inner) = self.inner();
        inner.used_at = now;
        if now < inner.alone_until {
            return Some(inner.count(now, quota, n));
        }
        let lent = inner.lent.as_mut().filter(|lent| lent.quota() == quota)?;
        let taken = lent.take(now, n)?;
        if matches!(taken, Taken::Granted(_)) {
            inner.spent = inner.spent.saturating_add(n.get());
        }
        Some(taken)
    }

    /// Before the owner is asked: what was lent ends.
    pub fn wish(&self, n: NonZeroU32, lease_max: u32) -> Wish {
        let (now, mut inner) = self.inner();
        let (over, back) = match &mut inner.lent {
            Some(lent) => (lent.is_lease_over(now), lent.return_lent(now)),
            None => (true, 0),
        };
        inner.want = if over {
            inner.want.min(inner.spent)
        } else {
            // It was used up before its time.
            inner.want.saturating_mul(2).clamp(1, lease_max)
        };
        inner.spent = n.get();
        Wish {
            want: inner.want,
            back,
            at: now,
        }
    }

    /// The owner has answered.
    pub fn answered(&self, wish: Wish, standing: &Standing, lent: u32, life: Duration) {
        let (now, mut inner) = self.inner();
        let quota = standing.quota;
        let bucket = inner.lent.get_or_insert_with(|| Bucket::new(quota));
        bucket.adopt(now, standing, lent, wish.at.saturating_add(nanos(life)));
        inner.alone_until = 0;
    }

    /// The owner has not answered: this node's share of the quota is what counts. With `rests` the owner is
    /// not asked again for a moment.
    pub fn alone(&self, quota: Quota, n: NonZeroU32, nodes: usize, rests: bool) -> Taken {
        let (now, mut inner) = self.inner();
        inner.nodes = u32::try_from(nodes).unwrap_or(u32::MAX).max(1);
        if rests {
            inner.alone_until = now.saturating_add(nanos(ALONE));
        }
        inner.count(now, quota, n)
    }

    /// What would come of taking now; `None` when that is not known.
    pub fn look(&self, quota: Quota, n: NonZeroU32) -> Option<Taken> {
        let (now, inner) = self.inner();
        let alone = now < inner.alone_until || inner.lent.is_none();
        let (bucket, known) = if alone {
            (inner.alone?, share(quota, inner.nodes))
        } else {
            (inner.lent?, quota)
        };
        (bucket.quota() == known).then(|| of(quota, bucket.look(now, n)))
    }

    /// Takes back what did not count after all.
    pub fn give_back(&self, n: NonZeroU32) {
        let (now, mut inner) = self.inner();
        let alone = now < inner.alone_until || inner.lent.is_none();
        match (&mut inner.alone, alone) {
            (Some(bucket), true) => bucket.give_back(now, n),
            (None, true) => {}
            (_, false) => {
                inner.spent = inner.spent.saturating_sub(n.get());
                if let Some(lent) = &mut inner.lent {
                    lent.take_back(n);
                }
            }
        }
    }

    /// What is left of what was lent, when it may be used no longer: to be given back.
    pub fn left_over(&self) -> Option<NonZeroU32> {
        let (now, mut inner) = self.inner();
        let lent = inner.lent.as_mut().filter(|lent| lent.is_lease_over(now))?;
        NonZeroU32::new(lent.return_lent(now))
    }

    /// Whether nobody has used it for so long, and it is as good as a new one.
    fn is_idle(&self, after: Duration) -> bool {
        let (now, inner) = self.inner();
        let full =
            |bucket: &Option<Bucket>| bucket.is_none_or(|bucket| bucket.leased() == 0 && bucket.is_full(now));
        now.saturating_sub(inner.used_at) >= nanos(after) && full(&inner.lent) && full(&inner.alone)
    }
}

impl Inner {
    fn count(&mut self, now: u64, quota: Quota, n: NonZeroU32) -> Taken {
        let share = share(quota, self.nodes);
        self.used_at = now;
        let bucket = self.alone.get_or_insert_with(|| Bucket::new(share));
        let taken = bucket.serve(now, share, n, &NO_LEASE);
        bucket.end_lease(now);
        of(quota, taken)
    }
}

/// What one of several nodes grants when it cannot ask.
fn share(quota: Quota, nodes: u32) -> Quota {
    let count = NonZeroU32::new(quota.count.get() / nodes.max(1)).unwrap_or(NonZeroU32::MIN);
    Quota { count, ..quota }
}

/// An answer as one of the whole quota.
fn of(quota: Quota, taken: Taken) -> Taken {
    match taken {
        Taken::Granted(standing) => Taken::Granted(Standing { quota, ..standing }),
        Taken::Refused {
            standing,
            retry_after,
        } => Taken::Refused {
            standing: Standing { quota, ..standing },
            retry_after,
        },
    }
}

/// The branches of a node.
pub(super) struct Branches {
    uptime: Arc<Uptime>,
    branches: RwLock<HashMap<BucketKey, Arc<Branch>>>,
}

impl Branches {
    pub fn new(uptime: Arc<Uptime>) -> Self {
        Self {
            uptime,
            branches: RwLock::default(),
        }
    }

    pub fn get(&self, key: BucketKey) -> Option<Arc<Branch>> {
        let branches = self.branches.read().unwrap_or_else(PoisonError::into_inner);
        branches.get(&key).cloned()
    }

    pub fn get_or_make(&self, key: BucketKey) -> Arc<Branch> {
        if let Some(branch) = self.get(key) {
            return branch;
        }
        let mut branches = self.branches.write().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(Branch::new(Arc::clone(&self.uptime)));
        Arc::clone(branches.entry(key).or_insert_with(make))
    }

    pub fn count(&self) -> usize {
        self.branches.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn keys(&self) -> Vec<BucketKey> {
        let branches = self.branches.read().unwrap_or_else(PoisonError::into_inner);
        branches.keys().copied().collect()
    }

    /// Forgets those that nobody needs.
    pub fn forget_idle(&self, keys: &[BucketKey], after: Duration) {
        let mut branches = self.branches.write().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            // One that somebody holds is being used.
            let idle = |branch: &Arc<Branch>| Arc::strong_count(branch) == 1 && branch.is_idle(after);
            if branches.get(key).is_some_and(idle) {
                branches.remove(key);
            }
        }
    }
}
