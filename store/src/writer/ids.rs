//! Ids that the store gives out itself.

use std::sync::{Arc, Mutex, PoisonError};

use roost_domain::time::Entropy;
use roost_domain::{EventId, MessageId, Timestamp};

const RANDOM_BITS: u32 = 80;

/// Makes ids that grow: within a millisecond, and when the clock steps back, each is one more than
/// the one before, so that lists by id keep the order of arrival. Nodes of a cluster pass on how far they are:
/// what one writes after another is behind it in such lists too, although their clocks differ a little.
pub(crate) struct Ids {
    entropy: Arc<dyn Entropy>,
    last: Mutex<u128>,
}

impl Ids {
    pub(crate) fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self {
            entropy,
            last: Mutex::new(0),
        }
    }

    /// Those that come are not of an earlier time than this.
    pub(crate) fn pass(&self, at: Timestamp) {
        let ms = u128::from(u64::try_from(at.unix_ms()).unwrap_or(0));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = (ms << RANDOM_BITS).max(*last);
    }

    pub(crate) fn message(&self, now: Timestamp) -> MessageId {
        let (ms, random) = self.next(now);
        MessageId::from_parts(ms, random)
    }

    /// With the time that it begins with, which never steps back: an event's place in the log is found by
    /// its time, and its end by its id.
    pub(crate) fn event(&self, now: Timestamp) -> (EventId, Timestamp) {
        let (ms, random) = self.next(now);
        // Below 2^48.
        let at = Timestamp::from_unix_ms(ms as i64);
        (EventId::from_parts(ms, random), at)
    }

    fn next(&self, now: Timestamp) -> (u64, u128) {
        let now_ms = u128::from(u64::try_from(now.unix_ms()).unwrap_or(0));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = if now_ms > *last >> RANDOM_BITS {
            // The topmost random bit stays free: room to count on within the millisecond.
            (now_ms << RANDOM_BITS) | (self.entropy.bits() & ((1 << (RANDOM_BITS - 1)) - 1))
        } else {
            *last + 1
        };
        // The time is below 2^48, as the clock's own is.
        ((*last >> RANDOM_BITS) as u64, *last & ((1 << RANDOM_BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ones;

    impl Entropy for Ones {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(0xff);
        }
    }

    #[test]
    fn ids_grow_also_when_the_clock_stands_still_or_steps_back() {
        let ids = Ids::new(Arc::new(Ones));
        let times = [5, 5, 5, 3, 6, 6, 2].map(Timestamp::from_unix_ms);
        let made: Vec<_> = times.into_iter().map(|now| ids.message(now)).collect();
        assert!(made.is_sorted_by(|a, b| a < b), "{made:?}");
    }

    #[test]
    fn ids_are_not_of_an_earlier_time_than_was_passed() {
        let (ids, at) = (Ids::new(Arc::new(Ones)), Timestamp::from_unix_ms);
        ids.pass(at(9));
        ids.pass(at(2));
        let made = ids.message(at(5));
        assert!(
            made > MessageId::from_parts(9, 0) && made < MessageId::from_parts(10, 0),
            "{made}"
        );
        assert_eq!(ids.event(at(5)).1, at(9));
        assert_eq!(ids.event(at(10)).1, at(10));
    }
}
