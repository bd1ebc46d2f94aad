//! The lease of this node, as it stands in memory: until when the node may act.
//!
//! Read before every side effect: one load and one reading of the clock. Only the keeper writes it. The
//! clock counts the time that the host was asleep, so that a node that wakes up finds its lease gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roost_domain::cluster::Lease;
use rustix::time::{ClockId, clock_gettime};

use super::ClusterSettings;

/// A clock that only goes forward, also while the host is asleep.
pub trait UpTime: Send + Sync {
    /// Time since some moment in the past, the same one for the life of the process. Never zero.
    fn now(&self) -> Duration;
}

/// The time since the host was booted.
#[derive(Debug, Clone, Copy, Default)]
pub struct BootTime;

impl BootTime {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::Boottime;
    // Elsewhere the monotonic clock counts sleep, or there is no clock that does.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::Monotonic;
}

impl UpTime for BootTime {
    fn now(&self) -> Duration {
        let time = clock_gettime(Self::CLOCK);
        // A time since the boot is not negative, and nanoseconds are below a second.
        let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
        Duration::from_secs(seconds) + Duration::from_nanos(nanos)
    }
}

/// No lease.
const NONE: u64 = 0;

/// See the module.
pub struct HeldLease {
    clock: Arc<dyn UpTime>,
    /// Nanoseconds on the clock at which the node stops to act.
    until: AtomicU64,
    /// How many lives have begun; raised before `until` is set.
    lives: AtomicU64,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// When a node stops to act whose lease was asked for at `sent`: the database counts from later on.
fn end_of(sent: Duration, settings: &ClusterSettings) -> u64 {
    nanos((sent + settings.ttl).saturating_sub(settings.margin))
}

impl HeldLease {
    /// No lease yet.
    pub fn new(clock: Arc<dyn UpTime>) -> Self {
        Self {
            clock,
            until: AtomicU64::new(NONE),
            lives: AtomicU64::new(0),
        }
    }

    /// Now, on the clock of the lease.
    pub(super) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// A life has begun, by a registration sent at `sent`. `false` when it is over already.
    pub(super) fn begin(&self, sent: Duration, settings: &ClusterSettings) -> bool {
        let until = end_of(sent, settings);
        let begins = nanos(self.now()) < until;
        if begins {
            self.lives.fetch_add(1, Ordering::AcqRel);
            self.until.store(until, Ordering::Release);
        }
        begins
    }

    /// A renewal sent at `sent` was carried out. `false` when it came too late: what has ended by this
    /// clock is never revived.
    pub(super) fn extend(&self, sent: Duration, settings: &ClusterSettings) -> bool {
        let until = end_of(sent, settings);
        let now = nanos(self.now());
        let extend = |old| (now < old && now < until).then_some(until.max(old));
        self.until
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, extend)
            .is_ok()
    }

    /// Nothing may be done any more.
    pub(super) fn end(&self) {
        self.until.store(NONE, Ordering::Release);
    }

    /// For how long the node may still act.
    pub fn left(&self) -> Duration {
        let until = self.until.load(Ordering::Acquire);
        Duration::from_nanos(until.saturating_sub(nanos(self.now())))
    }
}

impl Lease for HeldLease {
    fn holds(&self) -> bool {
        // The clock last: a thread that is frozen between the two then says no.
        let until = self.until.load(Ordering::Acquire);
        nanos(self.clock.now()) < until
    }

    fn life(&self) -> Option<u64> {
        let until = self.until.load(Ordering::Acquire);
        // Whoever sees the end of a life's lease sees its number.
        let life = self.lives.load(Ordering::Acquire);
        (nanos(self.clock.now()) < until).then_some(life)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Hand(AtomicU64);

    impl UpTime for Hand {
        fn now(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::SeqCst))
        }
    }

    fn held() -> (Arc<Hand>, HeldLease, ClusterSettings) {
        let clock = Arc::new(Hand(AtomicU64::new(1)));
        let settings = ClusterSettings {
            ttl: Duration::from_secs(4),
            ..ClusterSettings::default()
        };
        (Arc::clone(&clock), HeldLease::new(clock), settings)
    }

    #[test]
    fn the_clock_of_the_host_goes_forward() {
        let before = BootTime.now();
        assert!(!before.is_zero());
        assert!(BootTime.now() >= before);
    }

    #[test]
    fn a_lease_ends_a_margin_before_the_database_says_so() {
        let (clock, lease, settings) = held();
        assert!(!lease.holds());
        assert!(lease.begin(lease.now(), &settings));
        clock.0.store(3_500, Ordering::SeqCst);
        assert!(lease.holds());
        clock.0.store(3_501, Ordering::SeqCst);
        assert!(!lease.holds());
        assert!(lease.left().is_zero());
    }

    #[test]
    fn an_answer_that_came_late_revives_nothing() {
        let (clock, lease, settings) = held();
        assert!(lease.begin(lease.now(), &settings));
        clock.0.store(3_000, Ordering::SeqCst);
        let sent = lease.now();
        clock.0.store(3_600, Ordering::SeqCst);
        assert!(!lease.extend(sent, &settings));
        assert!(!lease.holds());
        lease.end();
        assert!(!lease.extend(lease.now(), &settings));
    }

    #[test]
    fn a_registration_that_took_longer_than_its_lease_begins_nothing() {
        let (clock, lease, settings) = held();
        let sent = lease.now();
        clock.0.store(60_000, Ordering::SeqCst);
        assert!(!lease.begin(sent, &settings));
        assert!(!lease.holds());
    }

    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// Time passes: a pause, a slow machine or a host that is asleep.
        Wait(u64),
        /// A renewal: on its way there, on its way back, and whether its answer arrives.
        Renew { there: u64, back: u64, arrives: bool },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let wait = (0_u64..3_000).prop_map(Step::Wait);
        let renew = (0_u64..2_000, 0_u64..2_000, any::<bool>())
            .prop_map(|(there, back, arrives)| Step::Renew { there, back, arrives });
        proptest::collection::vec(prop_oneof![wait, renew], 1..40)
    }

    proptest! {
        #[test]
        fn who_acts_has_a_lease_that_the_database_knows(steps in steps()) {
            let (clock, lease, settings) = held();
            let margin = 500;
            let pass = |millis| clock.0.fetch_add(millis, Ordering::SeqCst) + millis;
            assert!(lease.begin(lease.now(), &settings));
            // When the database lets others take over.
            let mut expires = 1 + 4_000;
            let mut ended = false;
            for step in steps {
                let now = match step {
                    Step::Wait(millis) => pass(millis),
                    Step::Renew { there, back, arrives } => {
                        let sent = lease.now();
                        let at = pass(there);
                        let done = at < expires;
                        if done {
                            expires = at + 4_000;
                        }
                        let now = pass(back);
                        ended |= !lease.holds();
                        if done && arrives {
                            prop_assert_eq!(lease.extend(sent, &settings), !ended);
                        }
                        now
                    }
                };
                ended |= !lease.holds();
                prop_assert_eq!(lease.holds(), !ended, "what has ended stays so");
                prop_assert!(ended || now + margin <= expires, "acts at {} of {}", now, expires);
            }
        }
    }
}
