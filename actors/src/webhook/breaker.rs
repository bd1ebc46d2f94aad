//! The circuit breaker of one webhook: an endpoint that fails gets a single probe now and then instead
//! of its events.
//!
//! The wait between probes is a share of the outage so far, within bounds: a short outage is over soon
//! after the endpoint is back, a long one costs it next to nothing.

use std::collections::VecDeque;
use std::time::Duration;

use roost_domain::time::Entropy;

use super::WebhookSettings;
use super::call::BreakerState;
use super::schedule::jittered;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// Whether recent attempts failed, the newest last.
    recent: VecDeque<bool>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Duration,
    probe_at: Duration,
    probing: Option<i64>,
}

/// What may be posted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Everything,
    OneProbe,
    Nothing,
}

impl Breaker {
    pub fn gate(&self, now: Duration) -> Gate {
        match &self.open {
            None => Gate::Everything,
            Some(open) if open.probing.is_none() && open.probe_at <= now => Gate::OneProbe,
            Some(_) => Gate::Nothing,
        }
    }

    pub fn is_closed(&self) -> bool {
        self.open.is_none()
    }

    /// When the next probe is due, if one is waited for.
    pub fn probe_at(&self) -> Option<Duration> {
        let open = self.open.as_ref()?;
        open.probing.is_none().then_some(open.probe_at)
    }

    pub fn state(&self) -> BreakerState {
        match &self.open {
            None => BreakerState::Closed,
            Some(open) if open.probing.is_some() => BreakerState::HalfOpen,
            Some(_) => BreakerState::Open,
        }
    }

    /// A probe begins.
    pub fn probing(&mut self, seq: i64) {
        if let Some(open) = &mut self.open {
            debug_assert!(open.probing.is_none(), "one probe at a time");
            open.probing = Some(seq);
        }
    }

    /// An attempt succeeded. `true` when that closes the breaker.
    pub fn succeeded(&mut self, settings: &WebhookSettings) -> bool {
        self.failures = 0;
        if self.open.take().is_some() {
            self.recent.clear();
            return true;
        }
        self.remember(false, settings);
        false
    }

    /// An attempt failed.
    pub fn failed(&mut self, seq: i64, now: Duration, settings: &WebhookSettings, entropy: &dyn Entropy) {
        if self.open.is_some() {
            self.probed(seq, now, settings, entropy);
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.remember(true, settings);
        let failed = self.recent.iter().filter(|&&failed| failed).count();
        let share_is_bad = self.recent.len() >= settings.breaker_window
            && failed * 100 >= settings.breaker_percent as usize * self.recent.len();
        if self.failures >= settings.breaker_failures || share_is_bad {
            let wait = jittered(settings.probe_first, settings.jitter_percent, entropy);
            self.open = Some(Open {
                since: now,
                probe_at: now + wait,
                probing: None,
            });
        }
    }

    /// An attempt ended in a way that says nothing of the endpoint's health. If it was the probe, there
    /// will be another.
    pub fn probed(&mut self, seq: i64, now: Duration, settings: &WebhookSettings, entropy: &dyn Entropy) {
        let Some(open) = self.open.as_mut().filter(|open| open.probing == Some(seq)) else {
            return;
        };
        let share = (now.saturating_sub(open.since) / 100).saturating_mul(settings.probe_percent);
        let wait = share.max(settings.probe_first).min(settings.probe_max);
        open.probe_at = now + jittered(wait, settings.jitter_percent, entropy);
        open.probing = None;
    }

    fn remember(&mut self, failed: bool, settings: &WebhookSettings) {
        self.recent.push_back(failed);
        while self.recent.len() > settings.breaker_window.max(1) {
            self.recent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Middle;
    impl Entropy for Middle {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(0);
        }
    }

    fn settings() -> WebhookSettings {
        WebhookSettings {
            jitter_percent: 0,
            ..WebhookSettings::default()
        }
    }

    fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let (mut breaker, settings) = (Breaker::default(), settings());
        for seq in 1..=4 {
            breaker.failed(seq, second(0), &settings, &Middle);
        }
        breaker.succeeded(&settings);
        for seq in 1..=4 {
            breaker.failed(seq, second(0), &settings, &Middle);
        }
        assert_eq!(breaker.gate(second(0)), Gate::Everything);
        breaker.failed(5, second(0), &settings, &Middle);
        assert_eq!(breaker.gate(second(0)), Gate::Nothing);
        assert_eq!(breaker.gate(second(1)), Gate::OneProbe);
    }

    #[test]
    fn half_of_the_recent_attempts_open_it() {
        let (mut breaker, settings) = (Breaker::default(), settings());
        for seq in 0..9 {
            breaker.failed(seq, second(0), &settings, &Middle);
            breaker.succeeded(&settings);
        }
        assert!(breaker.is_closed());
        breaker.succeeded(&settings);
        breaker.failed(20, second(0), &settings, &Middle);
        assert!(!breaker.is_closed());
    }

    #[test]
    fn probes_come_one_at_a_time_and_grow_rarer_with_the_outage() {
        let (mut breaker, settings) = (Breaker::default(), settings());
        for seq in 1..=5 {
            breaker.failed(seq, second(0), &settings, &Middle);
        }
        let mut waits = Vec::new();
        let mut now = breaker.probe_at().unwrap();
        while now < second(24 * 3600) {
            assert_eq!(breaker.gate(now), Gate::OneProbe);
            breaker.probing(9);
            assert_eq!(
                (breaker.gate(now), breaker.state()),
                (Gate::Nothing, BreakerState::HalfOpen)
            );
            // Others that were under way say nothing new.
            breaker.failed(1, now, &settings, &Middle);
            breaker.failed(9, now, &settings, &Middle);
            let next = breaker.probe_at().unwrap();
            waits.push(next - now);
            now = next;
        }
        assert_eq!(waits[..5], [second(1); 5]);
        assert!(waits.is_sorted());
        assert_eq!(*waits.last().unwrap(), second(300));
        assert!(waits.len() < 500, "{}", waits.len());
        assert!(breaker.succeeded(&settings));
        assert_eq!(breaker.gate(now), Gate::Everything);
    }
}
