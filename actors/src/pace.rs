//! Even spacing: acts begin one after the other, each a pause after the one before.
//!
//! What was not used is not saved up. Times are given since a beginning of the owner's choice, which
//! never changes.

use std::time::Duration;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pause: Option<Duration>,
    /// What a late timer may catch up: an act may begin so much early, and the next one waits longer.
    slack: Duration,
    /// When the next act would begin on an exact clock.
    next: Duration,
}

impl Pace {
    /// Without a pause nothing waits.
    pub fn new(pause: Option<Duration>, slack: Duration) -> Self {
        Self {
            pause,
            slack,
            next: Duration::ZERO,
        }
    }

    /// Another pause after each act that begins from now on.
    pub fn set(&mut self, pause: Option<Duration>) {
        self.pause = pause;
    }

    /// When an act may begin.
    pub fn ready_at(&self) -> Duration {
        match self.pause {
            Some(_) => self.next.saturating_sub(self.slack),
            None => Duration::ZERO,
        }
    }

    /// An act begins; the pause after it is longer by `more`. Returns the pause.
    pub fn took(&mut self, now: Duration, more: Duration) -> Duration {
        let Some(pause) = self.pause else {
            return Duration::ZERO;
        };
        let pause = pause + more;
        self.next = self.next.max(now) + pause;
        pause
    }

    /// No act may begin before.
    pub fn not_before(&mut self, at: Duration) {
        self.next = self.next.max(at + self.slack);
    }

    /// The next act need not wait any longer than until then.
    pub fn not_after(&mut self, at: Duration) {
        self.next = self.next.min(at + self.slack);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn acts_begin_a_pause_apart_and_nothing_is_saved_up() {
        let mut pace = Pace::new(Some(10 * MS), Duration::ZERO);
        assert_eq!(pace.ready_at(), Duration::ZERO);
        assert_eq!(pace.took(3 * MS, Duration::ZERO), 10 * MS);
        assert_eq!(pace.ready_at(), 13 * MS);
        assert_eq!(pace.took(100 * MS, 5 * MS), 15 * MS);
        assert_eq!(pace.ready_at(), 115 * MS);
        pace.not_before(120 * MS);
        pace.not_before(110 * MS);
        assert_eq!(pace.ready_at(), 120 * MS);
    }

    #[test]
    fn a_late_act_may_be_caught_up_by_the_slack_only() {
        let mut pace = Pace::new(Some(10 * MS), 2 * MS);
        pace.took(20 * MS, Duration::ZERO);
        assert_eq!(pace.ready_at(), 28 * MS);
        pace.took(28 * MS, Duration::ZERO);
        assert_eq!(pace.ready_at(), 38 * MS);
        pace.took(90 * MS, Duration::ZERO);
        assert_eq!(pace.ready_at(), 98 * MS);
    }

    #[test]
    fn another_pause_holds_from_the_next_act_on() {
        let mut pace = Pace::new(Some(100 * MS), Duration::ZERO);
        pace.took(Duration::ZERO, Duration::ZERO);
        pace.set(Some(10 * MS));
        assert_eq!(pace.ready_at(), 100 * MS);
        pace.not_after(30 * MS);
        assert_eq!(pace.ready_at(), 30 * MS);
        pace.not_after(50 * MS);
        assert_eq!(pace.ready_at(), 30 * MS);
        pace.set(None);
        assert_eq!(pace.ready_at(), Duration::ZERO);
        assert_eq!(pace.took(25 * MS, MS), Duration::ZERO);
    }
}
