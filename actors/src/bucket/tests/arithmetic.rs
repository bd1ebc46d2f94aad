//! B1: whatever becomes of leases, a bucket grants what GCRA grants.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use governor::{Quota as Gcra, RateLimiter};
use proptest::prelude::*;
use roost_domain::limit::{Quota, Taken};

use crate::bucket::machine::{Bucket, Terms, nanos};

const SECOND: u64 = 1_000_000_000;
const TERMS: Terms = Terms {
    lease_max: 256,
    lease_life: Duration::from_secs(1),
};

fn n(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

fn quota(count: u32, per: Duration) -> Quota {
    Quota { count: n(count), per }
}

/// A bucket as callers see it: the lease first, then the actor.
struct Leased(Option<Bucket>);

impl Leased {
    fn take(&mut self, now: u64, quota: Quota, n: NonZeroU32) -> Taken {
        let bucket = self.0.get_or_insert_with(|| Bucket::new(quota));
        let leased = Some(&mut *bucket)
            .filter(|bucket| bucket.quota() == quota)
            .and_then(|bucket| bucket.take(now, n));
        leased.unwrap_or_else(|| bucket.serve(now, quota, n, &TERMS))
    }

    /// What a sweep does: the lease flows back, and a bucket that is full leaves memory.
    fn sweep(&mut self, now: u64) {
        if let Some(bucket) = &mut self.0 {
            bucket.end_lease_if_over(now);
            if bucket.is_full(now) {
                self.0 = None;
            }
        }
    }
}

/// GCRA without leases, as plain as it can be.
struct Plain {
    each: u128,
    count: u128,
    full_at: u128,
}

impl Plain {
    fn new(quota: Quota) -> Self {
        let count = u128::from(quota.count.get());
        Self {
            each: quota
                .per
                .min(Duration::from_secs(366 * 24 * 3600))
                .as_nanos()
                .div_ceil(count)
                .max(1),
            count,
            full_at: 0,
        }
    }

    fn take(&mut self, now: u64, n: NonZeroU32) -> bool {
        let (now, price) = (u128::from(now), u128::from(n.get()) * self.each);
        let after = self.full_at.max(now) + price;
        let granted = after <= now + self.count * self.each;
        if granted {
            self.full_at = after;
        }
        granted
    }

    fn give_back(&mut self, now: u64, n: NonZeroU32) {
        let used = self.full_at.saturating_sub(u128::from(now));
        self.full_at -= used.min(u128::from(n.get()) * self.each);
    }

    fn change(&mut self, now: u64, quota: Quota) {
        let used = self.full_at.saturating_sub(u128::from(now));
        let whole = self.count * self.each;
        *self = Self::new(quota);
        self.full_at = u128::from(now) + (used * self.count * self.each).div_ceil(whole);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Take(u32),
    GiveBack(u32),
    Wait(u64),
    Sweep,
    Change(Quota),
    /// The actor broke: it begins full, which is said.
    Restart,
}

fn quotas() -> impl Strategy<Value = Quota> {
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
    prop::sample::select(vec![
        quota(1, second),
        quota(7, second),
        quota(100, second),
        quota(60, 60 * second),
        quota(1_000, 900 * second),
        quota(1_000, hour),
        quota(100_000, hour),
        quota(1_000_000, second),
        quota(3, Duration::from_nanos(10)),
        quota(u32::MAX, Duration::MAX),
    ])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => prop_oneof![Just(1), 1..20_u32, 1..2_000_u32].prop_map(Step::Take),
        2 => (1..30_u32).prop_map(Step::GiveBack),
        6 => prop_oneof![0..5_000_000_u64, 0..3 * SECOND, 0..4_000 * SECOND].prop_map(Step::Wait),
        2 => Just(Step::Sweep),
        1 => quotas().prop_map(Step::Change),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn leases_grant_what_gcra_without_leases_grants(mut quota in quotas(), steps in steps()) {
        let (mut leased, mut plain, mut now) = (Leased(None), Plain::new(quota), 0);
        for step in steps {
            match step {
                Step::Take(count) => {
                    let granted = matches!(leased.take(now, quota, n(count)), Taken::Granted(_));
                    prop_assert_eq!(granted, plain.take(now, n(count)));
                }
                Step::GiveBack(count) => {
                    if let Some(bucket) = &mut leased.0 {
                        bucket.give_back(now, n(count));
                    }
                    plain.give_back(now, n(count));
                }
                Step::Wait(time) => now += time,
                Step::Sweep => leased.sweep(now),
                // The next call brings the new quota; the share that is used is that of this moment.
                Step::Change(other) => {
                    if let Some(bucket) = &mut leased.0 {
                        bucket.serve(now, other, n(other.count.get()), &TERMS);
                    }
                    if other != quota {
                        plain.change(now, other);
                    }
                    if leased.0.is_some() {
                        plain.take(now, other.count);
                    }
                    quota = other;
                }
                Step::Restart => (leased, plain) = (Leased(None), Plain::new(quota)),
            }
            if let Some(bucket) = &leased.0 && bucket.quota() == quota {
                let standing = bucket.standing(now);
                let used = plain.full_at.saturating_sub(u128::from(now));
                prop_assert_eq!(standing.full_in.as_nanos(), used);
                prop_assert_eq!(u128::from(standing.remaining), plain.count - used.div_ceil(plain.each));
            }
        }
    }

    #[test]
    fn leases_grant_what_governor_grants_by_itself(waits in prop::collection::vec(0..2 * SECOND, 1..400)) {
        let clock = FakeRelativeClock::default();
        let limiter = RateLimiter::direct_with_clock(Gcra::per_second(n(50)), clock.clone());
        let (mut leased, mut now) = (Leased(None), 0);
        for (turn, wait) in waits.into_iter().enumerate() {
            // Mostly bursts.
            let wait = if turn % 60 == 0 { wait } else { wait / 1_000 };
            now += wait;
            clock.advance(Duration::from_nanos(wait));
            let granted = matches!(leased.take(now, quota(50, Duration::from_secs(1)), n(1)), Taken::Granted(_));
            prop_assert_eq!(granted, limiter.check().is_ok());
        }
    }

    #[test]
    fn no_time_sees_more_than_the_quota(quota in quotas(), waits in prop::collection::vec(0..SECOND, 1..300)) {
        let (mut leased, mut now, mut grants) = (Leased(None), 0, Vec::new());
        for wait in waits {
            now += wait / 50;
            if matches!(leased.take(now, quota, n(1)), Taken::Granted(_)) {
                grants.push(now);
            }
        }
        for (first, from) in grants.iter().enumerate() {
            for (last, to) in grants.iter().enumerate().skip(first) {
                let count = u128::from(quota.count.get());
                let back = u128::from(to - from) * count / quota.per.as_nanos();
                prop_assert!((last - first + 1) as u128 <= count + back);
            }
        }
    }
}

#[test]
fn a_refusal_says_when_it_would_be_granted() {
    let quota = quota(10, Duration::from_secs(10));
    let mut bucket = Leased(None);
    for _ in 0..10 {
        assert!(matches!(bucket.take(0, quota, n(1)), Taken::Granted(_)));
    }
    let half = SECOND / 2;
    let Taken::Refused {
        standing,
        retry_after,
    } = bucket.take(half, quota, n(3))
    else {
        panic!("nothing is left");
    };
    assert_eq!(retry_after, Duration::from_millis(2_500));
    assert_eq!(
        (standing.remaining, standing.full_in),
        (0, Duration::from_millis(9_500))
    );
    assert!(matches!(
        bucket.take(half + nanos(retry_after) - 1, quota, n(3)),
        Taken::Refused { .. }
    ));
    assert!(matches!(
        bucket.take(half + nanos(retry_after), quota, n(3)),
        Taken::Granted(_)
    ));
}

#[test]
fn more_than_the_quota_is_never_granted() {
    let quota = quota(10, Duration::from_secs(10));
    let taken = Leased(None).take(0, quota, n(11));
    let Taken::Refused {
        standing,
        retry_after,
    } = taken
    else {
        panic!("{taken:?}");
    };
    assert_eq!((standing.remaining, retry_after), (10, quota.per));
    assert!(matches!(
        Leased(None).take(0, quota, NonZeroU32::MAX),
        Taken::Refused { .. }
    ));
}

#[test]
fn a_lease_is_a_hundredth_of_the_quota_or_a_tenth_of_a_second_and_bounded() {
    let lease = |count, per| {
        let mut bucket = Bucket::new(quota(count, per));
        bucket.serve(0, quota(count, per), n(1), &TERMS);
        // What a caller gets without asking.
        let mut leased = 0;
        while bucket
            .take(0, n(1))
            .is_some_and(|taken| matches!(taken, Taken::Granted(_)))
        {
            leased += 1;
        }
        leased
    };
    let second = Duration::from_secs(1);
    assert_eq!(lease(60, 60 * second), 1);
    assert_eq!(lease(1_000, 900 * second), 10);
    assert_eq!(lease(100, second), 10);
    assert_eq!(lease(1_000_000, second), 256);
    assert_eq!(lease(1, second), 0);
}
