//! Exact percentiles of few samples: what is added by another node is smaller than a histogram's bins.

use std::time::Duration;

/// Some values, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// In seconds.
    pub fn seconds(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(times.into_iter().map(|time| time.as_secs_f64()))
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that so many percent of all do not exceed; zero of none.
    pub fn percentile(&self, percent: f64) -> f64 {
        // A position in a list: not negative, and not beyond its length.
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        let place = rank.clamp(1, self.0.len().max(1)) - 1;
        self.0.get(place).copied().unwrap_or_default()
    }

    pub fn median(&self) -> f64 {
        self.percentile(50.0)
    }

    pub fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let samples = Samples::of((1..=100).rev().map(f64::from));
        for (percent, value) in [(0.0, 1.0), (1.0, 1.0), (50.0, 50.0), (99.0, 99.0), (100.0, 100.0)] {
            assert_eq!(samples.percentile(percent), value, "{percent}");
        }
        assert_eq!(
            (samples.median(), samples.max(), samples.count()),
            (50.0, 100.0, 100)
        );
    }

    #[test]
    fn one_value_is_every_percentile_and_none_is_zero() {
        let one = Samples::of([7.0]);
        assert_eq!((one.percentile(1.0), one.median(), one.max()), (7.0, 7.0, 7.0));
        let none = Samples::default();
        assert_eq!(
            (none.percentile(99.0), none.median(), none.max()),
            (0.0, 0.0, 0.0)
        );
    }

    #[test]
    fn differences_may_be_negative() {
        let differences = Samples::of([0.3, -0.1, 0.2]);
        assert_eq!((differences.median(), differences.percentile(1.0)), (0.2, -0.1));
    }
}
