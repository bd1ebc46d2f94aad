//! What is known of a webhook beside its rows: where its actor stands, and its recent attempts.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roost_domain::Timestamp;
use roost_domain::webhook::client::CallFailure;

use super::call::Latency;
use super::machine::{Now, View};

/// Attempts that shares and times are taken of.
const RECENT: usize = 1_024;

/// Attempts and deaths of all webhooks of this node.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub delivered: AtomicU64,
    pub failed: AtomicU64,
    pub timeout: AtomicU64,
    pub refused: AtomicU64,
    pub dead: AtomicU64,
}

impl Counters {
    pub fn attempt(&self, delivered: bool, failure: Option<&CallFailure>) {
        let counter = match failure {
            None if delivered => &self.delivered,
            Some(CallFailure::Timeout(_)) => &self.timeout,
            Some(CallFailure::Forbidden(_)) => &self.refused,
            _ => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Recent attempts.
#[derive(Debug, Default)]
struct Tally {
    attempts: VecDeque<(bool, u32)>,
}

/// What a webhook's actor lets others see.
#[derive(Debug, Default)]
pub(super) struct Live {
    view: Mutex<Option<(View, Now)>>,
    tally: Mutex<Tally>,
}

/// Recent attempts, summed up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Recent {
    pub attempts: u64,
    pub success_rate: f64,
    pub latency: Latency,
}

impl Live {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        // Nothing that runs under the lock can panic half-way.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn show(&self, view: View, now: Now) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Some((view, now));
    }

    /// Where the actor stood, and when; `None` before it has begun.
    pub fn view(&self) -> Option<(View, Now)> {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn attempt(&self, delivered: bool, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let mut tally = self.tally();
        if tally.attempts.len() >= RECENT {
            tally.attempts.pop_front();
        }
        tally.attempts.push_back((delivered, micros));
    }

    pub fn recent(&self) -> Option<Recent> {
        let attempts: Vec<(bool, u32)> = self.tally().attempts.iter().copied().collect();
        if attempts.is_empty() {
            return None;
        }
        let delivered = attempts.iter().filter(|(delivered, _)| *delivered).count();
        let mut times: Vec<u32> = attempts.iter().map(|&(_, micros)| micros).collect();
        times.sort_unstable();
        let percentile = |percent: usize| {
            let at = (times.len() * percent).div_ceil(100).max(1) - 1;
            f64::from(times[at]) / 1000.0
        };
        Some(Recent {
            attempts: attempts.len() as u64,
            success_rate: delivered as f64 / attempts.len() as f64,
            latency: Latency {
                p50: percentile(50),
                p90: percentile(90),
                p99: percentile(99),
            },
        })
    }

    /// How long the first event that is read and not decided has waited.
    pub fn lag(&self, now: Timestamp) -> Duration {
        let oldest = self.view().and_then(|(view, _)| view.oldest);
        oldest.map_or(Duration::ZERO, |oldest| now.since(oldest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recent_attempts_are_summed_up_and_bounded() {
        let live = Live::default();
        assert_eq!(live.recent(), None);
        for ms in 1..=100 {
            live.attempt(ms <= 75, Duration::from_millis(ms));
        }
        let recent = live.recent().unwrap();
        assert_eq!((recent.attempts, recent.success_rate), (100, 0.75));
        let latency = (recent.latency.p50, recent.latency.p90, recent.latency.p99);
        assert_eq!(latency, (50.0, 90.0, 99.0));
        for _ in 0..2 * RECENT {
            live.attempt(true, Duration::ZERO);
        }
        assert_eq!(live.recent().unwrap().attempts, RECENT as u64);
    }
}
