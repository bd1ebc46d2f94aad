//! When keys were used: noted at most once a minute for each, and written many at a time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roost_domain::{ApiKeyId, Timestamp};

/// Uses that wait to be written; further ones are left out, and noted with the next use.
const WAITING_MAX: usize = 10_000;
/// Most in one write.
const BATCH_MAX: usize = 500;

/// See the module.
#[derive(Debug)]
pub(super) struct LastUsed {
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Until when the use of a key counts as noted.
    until: HashMap<ApiKeyId, Timestamp>,
    waiting: HashMap<ApiKeyId, Timestamp>,
}

impl LastUsed {
    pub(super) fn new(every: Duration) -> Self {
        Self {
            every,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From when on a use after this one is noted again.
    pub(super) fn next(&self, now: Timestamp) -> Timestamp {
        now.plus(self.every)
    }

    /// Notes a use, unless one was noted within the time.
    pub(super) fn note(&self, key: ApiKeyId, now: Timestamp) {
        let mut state = self.state();
        let noted = state.until.get(&key).is_some_and(|&until| now < until);
        if noted || state.until.len() >= WAITING_MAX {
            return;
        }
        state.until.insert(key, self.next(now));
        state.waiting.insert(key, now);
    }

    /// What is to be written now; what is noted may be noted again when its time is over.
    pub(super) fn take(&self, now: Timestamp) -> Vec<Vec<(ApiKeyId, Timestamp)>> {
        let mut state = self.state();
        state.until.retain(|_, until| now < *until);
        let waiting: Vec<_> = state.waiting.drain().collect();
        waiting.chunks(BATCH_MAX).map(<[_]>::to_vec).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_noted_once_in_the_time_however_often_it_is_used() {
        let used = LastUsed::new(Duration::from_secs(60));
        let key = ApiKeyId::from_parts(1, 1);
        let at = |seconds| Timestamp::from_unix_seconds(seconds);
        used.note(key, at(100));
        used.note(key, at(159));
        assert_eq!(used.take(at(159)), vec![vec![(key, at(100))]]);
        used.note(key, at(159));
        assert!(used.take(at(159)).is_empty());
        used.note(key, at(160));
        assert_eq!(used.take(at(160)), vec![vec![(key, at(160))]]);
    }

    #[test]
    fn what_waits_is_bounded_and_written_in_batches() {
        let used = LastUsed::new(Duration::from_secs(60));
        let now = Timestamp::from_unix_seconds(100);
        for number in 0..=WAITING_MAX as u128 {
            used.note(ApiKeyId::from_parts(1, number), now);
        }
        let batches = used.take(now);
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), WAITING_MAX);
        assert!(batches.iter().all(|batch| batch.len() <= BATCH_MAX));
    }
}
