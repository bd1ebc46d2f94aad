//! A webhook's own rate: POSTs begin evenly, at most so many in any second.

use std::time::Duration;

use crate::pace::Pace;

/// What a late timer may catch up.
const SLACK: Duration = Duration::from_millis(5);

/// The pace of this rate.
pub(super) fn new(per_second: Option<u32>) -> Pace {
    Pace::new(pause(per_second), SLACK)
}

/// The pause between two POSTs at this rate.
pub(super) fn pause(per_second: Option<u32>) -> Option<Duration> {
    // The slack is part of the second, so that no second sees more than the rate.
    per_second.map(|rate| (Duration::from_secs(1) + SLACK) / rate.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_sees_more_than_the_rate() {
        for rate in [1, 7, 100, 1_000] {
            let mut pace = new(Some(rate));
            let mut begun: Vec<Duration> = Vec::new();
            for ms in 0..3_000 {
                let now = Duration::from_millis(ms);
                while pace.ready_at() <= now {
                    pace.took(now, Duration::ZERO);
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
        let mut pace = new(None);
        pace.took(Duration::from_secs(1), Duration::ZERO);
        assert_eq!(pace.ready_at(), Duration::ZERO);
    }
}
