//! What callers hold: the buckets of everybody.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use roost_domain::limit::{BucketKey, Quota, Standing, Taken};
use roost_domain::slot::Slot;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout};

use super::kind::{BucketKind, LiveBucket};
use super::message::{BucketMessage, TakeCall};
use super::{BucketNode, BucketNumbers};
use crate::node::NodeContext;
use crate::registry::{Children, Slots};

/// Buckets being started at the same time; the calls of others wait.
const STARTS_MAX: usize = 256;
const ONE: NonZeroU32 = NonZeroU32::MIN;

/// The buckets of everybody. Cheap to clone.
///
/// Never fails: a bucket that does not answer in time lets the call through, and that is counted.
#[derive(Clone)]
pub struct Buckets {
    pub(super) parts: Arc<BucketsParts>,
}

pub(crate) struct BucketsParts {
    pub node: Arc<NodeContext>,
    pub shared: Arc<BucketNode>,
    pub children: Arc<Children<BucketKind>>,
    starts: Arc<Semaphore>,
}

impl BucketsParts {
    pub fn new(node: Arc<NodeContext>, shared: Arc<BucketNode>, children: Arc<Children<BucketKind>>) -> Self {
        Self {
            node,
            shared,
            children,
            starts: Arc::new(Semaphore::new(STARTS_MAX)),
        }
    }
}

impl Buckets {
    pub(crate) fn new(parts: BucketsParts) -> Self {
        Self {
            parts: Arc::new(parts),
        }
    }

    /// The bucket of an address: its own, or that of all others when there are too many. What is taken,
    /// looked at and given back for one call is of one bucket, so this is asked once per call.
    pub fn address(&self, address: IpAddr) -> BucketKey {
        let own = BucketKey::of_address(address);
        if self.live(own).is_none() && self.is_at_max() {
            BucketKey::OtherAddresses
        } else {
            own
        }
    }

    /// Takes `n`, all or none. The quota is the one that holds now: when it is another than before, the
    /// same share of it is used. More than the quota is never granted.
    pub async fn take(&self, key: BucketKey, quota: Quota, n: NonZeroU32) -> Taken {
        let counters = &self.parts.shared.counters;
        let leased = self.live(key).and_then(|bucket| bucket.cell.take(quota, n));
        let taken = match leased {
            Some(taken) => taken,
            None => {
                let asked = Box::pin(self.ask(key, quota, n));
                match timeout(self.parts.shared.settings.deadline, asked).await {
                    Ok(Some(taken)) => taken,
                    Ok(None) | Err(_) => {
                        counters.let_through(key);
                        return full(quota);
                    }
                }
            }
        };
        counters.count(key, &taken);
        taken
    }

    /// What would come of taking one now. Asks nobody, and takes nothing: calls that look at the same time
    /// can all see the same last one.
    pub fn look(&self, key: BucketKey, quota: Quota) -> Taken {
        let known = self.live(key).and_then(|bucket| bucket.cell.look(quota, ONE));
        known.unwrap_or_else(|| full(quota))
    }

    /// Gives back what was taken for a call that does not count after all.
    pub fn give_back(&self, key: BucketKey, n: NonZeroU32) {
        // One that has left memory was full.
        if let Some(bucket) = self.live(key) {
            bucket.cell.give_back(n);
        }
    }

    /// Numbers for operators.
    pub fn numbers(&self) -> BucketNumbers {
        BucketNumbers {
            live: self.parts.children.count(),
            limits: self.parts.shared.counters.numbers(),
        }
    }

    /// Takes back leases that are over, and has idle buckets leave memory.
    pub(crate) async fn sweep(&self) {
        let after = self.parts.shared.settings.passivate_after;
        for slot in Slot::all() {
            for bucket in self.parts.children.handles(&Slots::These([slot].into())) {
                if !bucket.cell.is_idle(after) {
                    continue;
                }
                // Somebody who asks at this moment uses it.
                if let Ok(turn) = Arc::clone(&bucket.turn).try_acquire_owned() {
                    // One that is gone is as idle as can be.
                    let _ = bucket.post.cast(BucketMessage::IdleDue(turn));
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// The bucket that lives here, without asking anybody. Calls for other nodes leave from here once
    /// nodes can call each other.
    fn live(&self, key: BucketKey) -> Option<Arc<LiveBucket>> {
        self.parts.children.handle(key)
    }

    fn is_at_max(&self) -> bool {
        self.parts.children.count() >= self.parts.shared.settings.max
    }

    /// Asks the bucket's actor. `None` when it cannot run.
    async fn ask(&self, key: BucketKey, quota: Quota, n: NonZeroU32) -> Option<Taken> {
        let mut key = key;
        loop {
            if matches!(key, BucketKey::Address(_)) && self.live(key).is_none() && self.is_at_max() {
                key = BucketKey::OtherAddresses;
            }
            let bucket = self.bucket(key).await?;
            // Never closed.
            let turn = Arc::clone(&bucket.turn).acquire_owned().await.ok()?;
            // Whoever had the turn before may have left a lease.
            if let Some(taken) = bucket.cell.take(quota, n) {
                return Some(taken);
            }
            let (reply, answer) = oneshot::channel();
            let count = n;
            let call = TakeCall {
                quota,
                count,
                turn,
                reply,
            };
            if !bucket.cell.is_retired()
                && bucket.post.cast(BucketMessage::Take(call)).is_ok()
                && let Ok(taken) = answer.await
            {
                return Some(taken);
            }
            // It has ended, and took nothing: a successor does.
            let another = |live: &Arc<LiveBucket>| !Arc::ptr_eq(live, &bucket);
            self.parts.children.turned_over(key, another).await;
        }
    }

    /// A bucket, started if it does not live.
    async fn bucket(&self, key: BucketKey) -> Option<Arc<LiveBucket>> {
        if let Some(bucket) = self.live(key) {
            return Some(bucket);
        }
        let start = Arc::clone(&self.parts.starts).acquire_owned().await.ok()?;
        let (parts, wait) = (Arc::clone(&self.parts), self.parts.node.settings.control_timeout);
        // The order lies in the registry's mailbox even when the caller has gone: so does what bounds it.
        let started = self.parts.node.tasks.spawn(async move {
            let started = parts.children.try_ensure(key, (), Instant::now() + wait).await;
            drop(start);
            started
        });
        match started.await {
            Ok(Ok(Ok(bucket))) => Some(bucket),
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => None,
        }
    }
}

/// The answer where no bucket counts.
fn full(quota: Quota) -> Taken {
    Taken::Granted(Standing {
        quota,
        remaining: quota.count.get(),
        full_in: Duration::ZERO,
    })
}
