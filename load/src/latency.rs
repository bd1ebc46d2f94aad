//! Latencies: recorded in microseconds, summed up as percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

const SIGNIFICANT_DIGITS: u8 = 3;
/// Longer than any run; what is longer still counts as this.
const MICROS_MAX: u64 = 7_200_000_000;

/// Latencies of one kind.
#[derive(Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        // The bounds are constants inside the range that the histogram accepts.
        Self(Histogram::new_with_bounds(1, MICROS_MAX, SIGNIFICANT_DIGITS).expect("the bounds are allowed"))
    }
}

impl Latencies {
    /// Adds one latency.
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros);
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        self.0.add(&other.0).expect("the bounds are the same");
    }

    /// The percentiles in milliseconds; all zero when nothing was recorded.
    pub fn summary(&self) -> LatencySummary {
        let ms = |percent: f64| self.0.value_at_percentile(percent) as f64 / 1_000.0;
        LatencySummary {
            count: self.0.len(),
            p50_ms: ms(50.0),
            p90_ms: ms(90.0),
            p99_ms: ms(99.0),
            p999_ms: ms(99.9),
            max_ms: self.0.max() as f64 / 1_000.0,
        }
    }
}

/// Percentiles of one kind of latency, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LatencySummary {
    pub count: u64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

/// The middle value; the mean of the two middle ones when their number is even; zero of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// How many per second; zero when no time has passed.
pub fn per_second(count: usize, time: Duration) -> f64 {
    if time.is_zero() {
        0.0
    } else {
        count as f64 / time.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_milliseconds() {
        let mut latencies = Latencies::default();
        for ms in 1..=1_000 {
            latencies.record(Duration::from_millis(ms));
        }
        let summary = latencies.summary();
        assert_eq!(summary.count, 1_000);
        for (value, expected) in [
            (summary.p50_ms, 500.0),
            (summary.p90_ms, 900.0),
            (summary.p99_ms, 990.0),
            (summary.p999_ms, 999.0),
            (summary.max_ms, 1_000.0),
        ] {
            assert!(
                (value - expected).abs() <= expected / 500.0,
                "{value} is not {expected}"
            );
        }
    }

    #[test]
    fn no_latencies_are_zero_and_no_panic() {
        assert_eq!(Latencies::default().summary().p99_ms, 0.0);
    }

    #[test]
    fn an_hour_is_kept() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::from_secs(3_600));
        assert!(latencies.summary().max_ms >= 3_596_000.0);
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0]), 3.0);
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[9.0, 1.0, 5.0, 2.0]), 3.5);
    }

    #[test]
    fn a_rate_over_no_time_is_zero() {
        assert_eq!(per_second(10, Duration::ZERO), 0.0);
        assert_eq!(per_second(10, Duration::from_secs(4)), 2.5);
    }
}
