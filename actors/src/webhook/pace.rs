//! A webhook's own rate: POSTs begin evenly, at most so many in any second.

use std::time::Duration;

/// What a late timer may catch up.
const SLACK: Duration = Duration::from_millis(5);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pace {
    interval: Option<Duration>,
    /// When the next POST would begin on an exact clock.
    next: Duration,
}

impl Pace {
    pub fn new(per_second: Option<u32>) -> Self {
        let mut pace = Self::default();
        pace.set(per_second);
        pace
    }

    pub fn set(&mut self, per_second: Option<u32>) {
        // The slack is part of the second, so that no second sees more than the rate.
        self.interval = per_second.map(|rate| (Duration::from_secs(1) + SLACK) / rate.max(1));
    }

    /// When a POST may begin.
    pub fn ready_at(&self) -> Duration {
        match self.interval {
            Some(_) => self.next.saturating_sub(SLACK),
            None => Duration::ZERO,
        }
    }

    /// A POST begins.
    pub fn took(&mut self, now: Duration) {
        if let Some(interval) = self.interval {
            self.next = self.next.max(now) + interval;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_sees_more_than_the_rate() {
        for rate in [1, 7, 100, 1_000] {
            let mut pace = Pace::new(Some(rate));
            let mut begun: Vec<Duration> = Vec::new();
            for ms in 0..3_000 {
                let now = Duration::from_millis(ms);
                while pace.ready_at() <= now {
                    pace.took(now);
                    begun.push(now);
                }
            }
            for (first, at) in begun.iter().enumerate() {
                let within = begun[first..]
                    .iter()
                    .take_while(|&&later| later < *at + Duration::from_secs(1))
                    .count();
                assert!(within <= rate as usize, "{within} at {rate}");
            }
            assert!(
                begun.len() >= rate as usize * 29 / 10,
                "{} at {rate}",
                begun.len()
            );
        }
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut pace = Pace::new(None);
        pace.took(Duration::from_secs(1));
        assert_eq!(pace.ready_at(), Duration::ZERO);
    }
}
