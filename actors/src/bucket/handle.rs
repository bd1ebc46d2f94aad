//! What callers hold: the buckets of everybody.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use roost_domain::cluster::NodeName;
use roost_domain::limit::{BucketKey, Quota, Standing, Taken};
use roost_domain::peer::Kind;
use roost_domain::slot::{Place, Slot};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::ask::{BucketAsk, Lent, TakeAsk};
use super::branch::{Branch, Branches};
use super::kind::{BucketKind, LiveBucket};
use super::message::{BucketMessage, TakeCall};
use super::{BucketNode, BucketNumbers};
use crate::CallError;
use crate::cluster::route::{self, Routes};
use crate::node::NodeContext;
use crate::registry::{Children, Slots};

/// Buckets being started at the same time; the calls of others wait.
const STARTS_MAX: usize = 256;
/// Buckets looked at in one step of the sweep, and given back in one call to their owner.
const SWEEP_STEP: usize = 1_000;
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
    pub(super) branches: Branches,
    starts: Arc<Semaphore>,
}

/// Who counts.
enum Way<'a> {
    /// The bucket's actor on this node.
    Here,
    /// That on another node.
    Away(&'a Routes),
}

impl BucketsParts {
    pub fn new(node: Arc<NodeContext>, shared: Arc<BucketNode>, children: Arc<Children<BucketKind>>) -> Self {
        let branches = Branches::new(Arc::clone(&shared.uptime));
        Self {
            node,
            shared,
            children,
            branches,
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
        let shared = &self.parts.shared;
        let taken = match self.way(key) {
            Way::Here => match self.live(key).and_then(|bucket| bucket.cell.take(quota, n)) {
                Some(taken) => taken,
                None => {
                    let asked = Box::pin(self.ask(key, quota, n));
                    match timeout(shared.settings.deadline, asked).await {
                        Ok(Some(taken)) => taken,
                        Ok(None) | Err(_) => {
                            shared.counters.let_through(key);
                            return full(quota);
                        }
                    }
                }
            },
            Way::Away(routes) => {
                let branch = self.parts.branches.get_or_make(key);
                match branch.take(quota, n) {
                    Some(taken) => taken,
                    None => Box::pin(self.take_away(routes, &branch, key, quota, n)).await,
                }
            }
        };
        shared.counters.count(key, &taken);
        taken
    }

    /// Takes from a bucket that another node owns.
    async fn take_away(
        &self,
        routes: &Routes,
        branch: &Branch,
        key: BucketKey,
        quota: Quota,
        n: NonZeroU32,
    ) -> Taken {
        let settings = &self.parts.shared.settings;
        let deadline = Instant::now() + settings.owner_deadline;
        let asked = async {
            // Never closed.
            let _turn = branch.turn.acquire().await.ok();
            // Whoever had the turn before may have been lent something, or have had no answer.
            if let Some(taken) = branch.take(quota, n) {
                return Ok(taken);
            }
            let wish = branch.wish(n, settings.lease_max);
            let ask = TakeAsk {
                key,
                quota,
                count: n,
                want: wish.want,
                back: wish.back,
            };
            let Lent { taken, lent } = route::once(routes, self, ask, deadline).await?;
            let (Taken::Granted(standing) | Taken::Refused { standing, .. }) = &taken;
            branch.answered(wish, standing, lent, settings.lease_life);
            Ok(taken)
        };
        let answer = timeout_at(deadline, asked)
            .await
            .unwrap_or(Err(CallError::Timeout));
        answer.unwrap_or_else(|error| {
            let silent = error == CallError::Timeout;
            branch.alone(quota, n, routes.nodes(), silent)
        })
    }

    /// Takes from a bucket that lives here. `None` when it cannot run.
    pub(super) async fn take_here(&self, key: BucketKey, quota: Quota, n: NonZeroU32) -> Option<Taken> {
        match self.live(key).and_then(|bucket| bucket.cell.take(quota, n)) {
            Some(taken) => Some(taken),
            None => self.ask(key, quota, n).await,
        }
    }

    /// What would come of taking one now. Asks nobody, and takes nothing: calls that look at the same time
    /// can all see the same last one.
    pub fn look(&self, key: BucketKey, quota: Quota) -> Taken {
        let known = match self.way(key) {
            Way::Here => self.live(key).and_then(|bucket| bucket.cell.look(quota, ONE)),
            Way::Away(_) => {
                let branch = self.parts.branches.get(key);
                branch.and_then(|branch| branch.look(quota, ONE))
            }
        };
        known.unwrap_or_else(|| full(quota))
    }

    /// Gives back what was taken for a call that does not count after all.
    pub fn give_back(&self, key: BucketKey, n: NonZeroU32) {
        match self.way(key) {
            Way::Here => self.give_back_here(key, n),
            // One that has left memory was full.
            Way::Away(_) => {
                if let Some(branch) = self.parts.branches.get(key) {
                    branch.give_back(n);
                }
            }
        }
    }

    pub(super) fn give_back_here(&self, key: BucketKey, n: NonZeroU32) {
        // One that has left memory was full.
        if let Some(bucket) = self.live(key) {
            bucket.cell.give_back(n);
        }
    }

    fn way(&self, key: BucketKey) -> Way<'_> {
        let node = &self.parts.node;
        let Some(routes) = node.routes() else {
            return Way::Here;
        };
        let place = self
            .parts
            .children
            .slot(key)
            .map(|slot| node.placement.place(slot));
        match place {
            None | Some(Place::Here(_)) => Way::Here,
            Some(Place::Node(_) | Place::Nowhere { .. }) => Way::Away(routes),
        }
    }

    /// Numbers for operators.
    pub fn numbers(&self) -> BucketNumbers {
        BucketNumbers {
            live: self.live_count(),
            limits: self.parts.shared.counters.numbers(),
        }
    }

    /// Takes back leases that are over, and has idle buckets leave memory.
    pub(crate) async fn sweep(&self) {
        let after = self.parts.shared.settings.passivate_after;
        for keys in self.parts.children.keys_in(&Slots::All).chunks(SWEEP_STEP) {
            for bucket in keys.iter().filter_map(|&key| self.live(key)) {
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
        if let Some(routes) = self.parts.node.routes() {
            self.sweep_branches(routes).await;
        }
    }

    /// Gives back what is left of what other nodes have lent, and forgets what nobody uses.
    async fn sweep_branches(&self, routes: &Routes) {
        let parts = &self.parts;
        let mut left: HashMap<NodeName, Vec<(BucketKey, NonZeroU32)>> = HashMap::new();
        for keys in parts.branches.keys().chunks(SWEEP_STEP) {
            for &key in keys {
                let Some(count) = parts.branches.get(key).and_then(|branch| branch.left_over()) else {
                    continue;
                };
                match parts.node.placement.place(Slot::of_bucket(key)) {
                    Place::Here(_) => self.give_back_here(key, count),
                    Place::Node(owner) => left.entry(owner).or_default().push((key, count)),
                    Place::Nowhere { .. } => {}
                }
            }
            parts
                .branches
                .forget_idle(keys, parts.shared.settings.passivate_after);
            tokio::task::yield_now().await;
        }
        for (owner, left) in left {
            for left in left.chunks(SWEEP_STEP) {
                let Ok(body) = rmp_serde::to_vec_named(&BucketAsk::Back(left.to_vec())) else {
                    continue;
                };
                let deadline = Instant::now() + parts.shared.settings.owner_deadline;
                let told = routes
                    .peers
                    .call(&owner, Kind::BUCKET, body.into(), deadline.into_std());
                // What does not come back is counted as used.
                if told.await.is_err() {
                    break;
                }
            }
        }
    }

    /// The bucket that lives here, without asking anybody.
    fn live(&self, key: BucketKey) -> Option<Arc<LiveBucket>> {
        self.parts.children.handle(key)
    }

    fn live_count(&self) -> usize {
        self.parts.children.count() + self.parts.branches.count()
    }

    fn is_at_max(&self) -> bool {
        self.live_count() >= self.parts.shared.settings.max
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
