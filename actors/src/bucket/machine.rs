//! The arithmetic of a bucket: pure, with the time in nanoseconds since the node's start.
//!
//! A bucket is one number, the time at which it is full again if nothing more is taken. What is leased
//! counts as taken there, and is granted without asking the bucket's actor. Invariant, kept by
//! [`Bucket::age`] before anything else happens: what is free and what is leased are together never more
//! than the quota. So a lease that lies unused does not let the bucket fill up behind it, and
//!
//! - **B1: never more is granted than GCRA grants without leases**, whatever becomes of the leases.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota as Gcra, RateLimiter};
use roost_domain::limit::{Quota, Standing, Taken};

/// Longest time that a quota can be spread over; longer ones count as this.
const PER_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// Share of the quota, and of the rate, that a lease has: the larger of the two.
const LEASE_SHARE: u32 = 100;
const LEASE_WORTH: Duration = Duration::from_millis(100);

/// The same for what another node is lent: larger, as it takes a call over the network to get more.
const LENT_SHARE: u32 = 50;
/// Never more than this share of the quota.
const LENT_SHARE_MAX: u32 = 10;

/// How leases are given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// Largest lease.
    pub lease_max: u32,
    /// How long one may be used.
    pub lease_life: Duration,
}

/// A quota as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    quota: Quota,
    /// In which time one comes back. Rounded up, so that no time sees more than the quota.
    each: u64,
    /// In which time an empty bucket is full.
    whole: u64,
}

impl Rate {
    fn new(quota: Quota) -> Self {
        let count = u64::from(quota.count.get());
        let each = nanos(quota.per.min(PER_MAX)).div_ceil(count).max(1);
        Self {
            quota,
            each,
            whole: each * count,
        }
    }

    fn price(&self, n: u32) -> u64 {
        u64::from(n).saturating_mul(self.each)
    }

    /// How many a lease has at most.
    fn lease(&self, max: u32) -> u32 {
        (self.quota.count.get() / LEASE_SHARE)
            .max(self.worth())
            .clamp(1, max.max(1))
    }

    fn worth(&self) -> u32 {
        u32::try_from(nanos(LEASE_WORTH) / self.each).unwrap_or(u32::MAX)
    }
}

/// How many another node is lent at most beside what it asks for. A small quota is counted exactly.
pub(super) fn lent_max(quota: Quota, max: u32) -> u32 {
    let count = quota.count.get();
    let lent = (count / LENT_SHARE).max(Rate::new(quota).worth());
    lent.min(count / LENT_SHARE_MAX).min(max)
}

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    rate: Rate,
    /// When it is full again; what is leased counts as taken.
    full_at: u64,
    leased: u32,
    lease_until: u64,
}

impl Bucket {
    /// A full one.
    pub fn new(quota: Quota) -> Self {
        Self {
            rate: Rate::new(quota),
            full_at: 0,
            leased: 0,
            lease_until: 0,
        }
    }

    pub fn quota(&self) -> Quota {
        self.rate.quota
    }

    /// Lets nothing come back beyond what has room beside the lease.
    fn age(&mut self, now: u64) {
        self.full_at = self.full_at.max(now + self.rate.price(self.leased));
    }

    /// What was granted and has not come back, in time.
    fn used(&self, now: u64) -> u64 {
        let leased = self.rate.price(self.leased);
        self.full_at.saturating_sub(now).saturating_sub(leased)
    }

    /// Takes from the lease. `None` when the bucket itself has to be asked.
    pub fn take(&mut self, now: u64, n: NonZeroU32) -> Option<Taken> {
        self.age(now);
        if n.get() <= self.leased && now < self.lease_until {
            self.leased -= n.get();
            return Some(Taken::Granted(self.standing(now)));
        }
        match self.look(now, n) {
            Taken::Granted(_) => None,
            refused @ Taken::Refused { .. } => Some(refused),
        }
    }

    /// What would come of taking now.
    pub fn look(&self, now: u64, n: NonZeroU32) -> Taken {
        let standing = self.standing(now);
        let free = self.rate.whole - self.used(now);
        let price = self.rate.price(n.get());
        if price <= free {
            Taken::Granted(standing)
        } else if n > self.rate.quota.count {
            // Never granted; asking sooner is in vain in any case.
            let retry_after = self.rate.quota.per;
            Taken::Refused {
                standing,
                retry_after,
            }
        } else {
            let retry_after = Duration::from_nanos(price - free);
            Taken::Refused {
                standing,
                retry_after,
            }
        }
    }

    /// Takes from the bucket itself, which gets back what is left of the lease and gives another.
    pub fn serve(&mut self, now: u64, quota: Quota, n: NonZeroU32, terms: &Terms) -> Taken {
        self.end_lease(now);
        if quota != self.rate.quota {
            self.change(now, Rate::new(quota));
        }
        let used = self.full_at - now;
        let Some(used) = gcra(&self.rate, used, n) else {
            return self.look(now, n);
        };
        self.full_at = now + used;
        let left = u32::try_from((self.rate.whole - used) / self.rate.each).unwrap_or(u32::MAX);
        let lease = NonZeroU32::new(left.min(self.rate.lease(terms.lease_max)));
        if let Some((lease, used)) = lease.and_then(|lease| Some((lease, gcra(&self.rate, used, lease)?))) {
            self.full_at = now + used;
            self.leased = lease.get();
            self.lease_until = now + nanos(terms.lease_life);
        }
        Taken::Granted(self.standing(now))
    }

    /// As the owner of the bucket says that it stands, who has lent some of it: they count as taken there.
    pub fn adopt(&mut self, now: u64, standing: &Standing, lent: u32, until: u64) {
        self.rate = Rate::new(standing.quota);
        let used = nanos(standing.full_in).min(self.rate.whole);
        self.full_at = now + used;
        self.leased = lent;
        self.lease_until = until;
        self.age(now);
    }

    /// What is left of what was lent goes back to the owner.
    pub fn return_lent(&mut self, now: u64) -> u32 {
        let left = self.leased;
        self.end_lease(now);
        left
    }

    /// Takes back what did not count after all, for whoever is next here.
    pub fn take_back(&mut self, n: NonZeroU32) {
        self.leased = self
            .leased
            .saturating_add(n.get())
            .min(self.rate.quota.count.get());
    }

    /// Whether what was lent may be used no longer.
    pub fn is_lease_over(&self, now: u64) -> bool {
        now >= self.lease_until
    }

    /// How much of the lease is left.
    pub fn leased(&self) -> u32 {
        self.leased
    }

    /// What is left of the lease flows back.
    pub fn end_lease(&mut self, now: u64) {
        self.age(now);
        self.full_at -= self.rate.price(self.leased);
        self.leased = 0;
    }

    /// The same, once its time is over.
    pub fn end_lease_if_over(&mut self, now: u64) {
        if now >= self.lease_until {
            self.end_lease(now);
        }
    }

    /// Takes back what did not count after all.
    pub fn give_back(&mut self, now: u64, n: NonZeroU32) {
        self.age(now);
        self.full_at -= self.rate.price(n.get()).min(self.used(now));
    }

    /// The same share of another quota is used.
    fn change(&mut self, now: u64, rate: Rate) {
        let (used, before, after) = (
            u128::from(self.used(now)),
            u128::from(self.rate.whole),
            u128::from(rate.whole),
        );
        // Not more than the whole, as what is used is not.
        let used = u64::try_from((used * after).div_ceil(before)).unwrap_or(rate.whole);
        self.rate = rate;
        self.full_at = now + used.min(rate.whole);
    }

    pub fn is_full(&self, now: u64) -> bool {
        self.used(now) == 0
    }

    pub fn standing(&self, now: u64) -> Standing {
        let used = self.used(now);
        let remaining = (self.rate.whole - used) / self.rate.each;
        Standing {
            quota: self.rate.quota,
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            full_in: Duration::from_nanos(used),
        }
    }
}

/// Nanoseconds, as many as fit.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What is used after `n` more were taken, `None` if there are not so many.
fn gcra(rate: &Rate, used: u64, n: NonZeroU32) -> Option<u64> {
    if n > rate.quota.count {
        return None;
    }
    let quota = Gcra::with_period(Duration::from_nanos(rate.each))?.allow_burst(rate.quota.count);
    let limiter =
        RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(quota, Used(Cell::new(used)), Standstill);
    let granted = matches!(limiter.check_n(n), Ok(Ok(())));
    granted.then(|| limiter.into_state_store().0.get())
}

/// A limiter's state: what is used, in time, at a clock that stands still.
struct Used(Cell<u64>);

impl StateStore for Used {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, used) = decide(Some(Nanos::new(self.0.get())))?;
        self.0.set(used.as_u64());
        Ok(outcome)
    }
}

struct Standstill;

impl Clock for Standstill {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::default()
    }
}
