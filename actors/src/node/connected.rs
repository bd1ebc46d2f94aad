//! For how long the instances of each tenant were connected: what bills count as instance-hours.
//!
//! A session holds a [`Connected`] as long as its instance is connected. The housekeeper writes the time
//! that has passed since it last did, in whole seconds, under the days on which it passed. What is not
//! written yet is in memory only: a crash loses it, so that no second is counted twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roost_domain::store::UsageLog;
use roost_domain::usage::{Day, Usage};
use roost_domain::{Clock, TenantId, Timestamp};
use tokio::time::Instant;

/// See the module.
pub(crate) struct ConnectedTime {
    clock: Arc<dyn Clock>,
    book: Mutex<Book>,
    /// One write at a time: what another has under way is not written twice.
    writing: tokio::sync::Mutex<()>,
}

/// A moment on both clocks: the steady one says how long, the wall's on which day.
#[derive(Debug, Clone, Copy)]
struct Moment {
    tick: Instant,
    wall: Timestamp,
}

#[derive(Debug, Default)]
struct Book {
    next: u64,
    /// Those that are connected, and since when that is not in `passed`.
    open: HashMap<u64, (TenantId, Instant)>,
    /// Time that is not written yet.
    passed: BTreeMap<(Day, TenantId), Duration>,
}

/// An instance is connected, until this is dropped.
pub(crate) struct Connected {
    time: Arc<ConnectedTime>,
    number: u64,
}

impl ConnectedTime {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (book, writing) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { clock, book, writing }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing that runs under the lock can panic half-way.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        let (tick, wall) = (Instant::now(), self.clock.now());
        Moment { tick, wall }
    }

    /// An instance of a tenant is connected from now on.
    pub fn begin(self: &Arc<Self>, tenant: TenantId) -> Connected {
        let number = self.book().begin(tenant, self.now());
        let time = Arc::clone(self);
        Connected { time, number }
    }

    /// Writes what has passed. What cannot be written is kept for the next time. Not to be aborted: what
    /// was under way would be written again.
    pub async fn write(&self, log: &(impl UsageLog + ?Sized)) {
        let _turn = self.writing.lock().await;
        let now = self.now();
        let mut days = {
            let mut book = self.book();
            book.pass(now);
            book.days()
        };
        while let Some((day, used)) = days.pop_first() {
            let seconds: Vec<_> = used
                .iter()
                .map(|&(tenant, instance_seconds)| {
                    let usage = Usage {
                        instance_seconds,
                        ..Usage::default()
                    };
                    (tenant, usage)
                })
                .collect();
            if let Err(error) = log.add_usage(day, seconds).await {
                tracing::warn!(%error, "the time that instances were connected could not be written; it is tried again");
                return;
            }
            self.book().written(day, &used);
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        let now = self.time.now();
        self.time.book().end(self.number, now);
    }
}

impl Book {
    fn begin(&mut self, tenant: TenantId, now: Moment) -> u64 {
        self.next += 1;
        self.open.insert(self.next, (tenant, now.tick));
        self.next
    }

    fn end(&mut self, number: u64, now: Moment) {
        if let Some((tenant, since)) = self.open.remove(&number) {
            self.add(tenant, now.tick.duration_since(since), now.wall);
        }
    }

    /// Notes what has passed for those that are connected.
    fn pass(&mut self, now: Moment) {
        let mut passed = Vec::with_capacity(self.open.len());
        for (tenant, since) in self.open.values_mut() {
            passed.push((*tenant, now.tick.duration_since(*since)));
            *since = now.tick;
        }
        for (tenant, time) in passed {
            self.add(tenant, time, now.wall);
        }
        self.carry(Day::of(now.wall));
    }

    /// Fractions of a second that are left of days that are over count for today.
    fn carry(&mut self, today: Day) {
        let fractions: Vec<_> = self
            .passed
            .iter()
            .filter(|((day, _), time)| *day < today && time.as_secs() == 0)
            .map(|(&key, _)| key)
            .collect();
        for key in fractions {
            let time = self.passed.remove(&key).unwrap_or_default();
            *self.passed.entry((today, key.1)).or_default() += time;
        }
    }

    /// Adds a time that ends now, cut at midnights.
    fn add(&mut self, tenant: TenantId, mut time: Duration, now: Timestamp) {
        let mut day = Day::of(now);
        let mut today = now.since(day.start());
        while time > today {
            *self.passed.entry((day, tenant)).or_default() += today;
            time -= today;
            day = Day::from_number(day.number() - 1);
            today = Duration::from_secs(24 * 3600);
        }
        *self.passed.entry((day, tenant)).or_default() += time;
    }

    /// What can be written: whole seconds by day.
    fn days(&self) -> BTreeMap<Day, Vec<(TenantId, u64)>> {
        let mut days: BTreeMap<Day, Vec<(TenantId, u64)>> = BTreeMap::new();
        for (&(day, tenant), time) in &self.passed {
            if time.as_secs() > 0 {
                days.entry(day).or_default().push((tenant, time.as_secs()));
            }
        }
        days
    }

    /// It is written, but for fractions of seconds.
    fn written(&mut self, day: Day, used: &[(TenantId, u64)]) {
        for &(tenant, seconds) in used {
            let Some(time) = self.passed.remove(&(day, tenant)) else {
                continue;
            };
            let rest = time.saturating_sub(Duration::from_secs(seconds));
            if !rest.is_zero() {
                self.passed.insert((day, tenant), rest);
            }
        }
    }
}

#[cfg(test)]
mod tests;
