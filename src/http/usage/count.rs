//! API calls, counted in memory by tenant and day until they are written.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use roost_domain::usage::{Day, Usage};
use roost_domain::{TenantId, Timestamp};

/// Calls since the last write. As many entries as tenants that called since then.
#[derive(Debug, Default)]
pub struct Counts(Mutex<HashMap<(Day, TenantId), u64>>);

impl Counts {
    /// Counts a call.
    pub fn call(&self, tenant: TenantId, at: Timestamp) {
        self.add((Day::of(at), tenant), 1);
    }

    fn add(&self, entry: (Day, TenantId), calls: u64) {
        *self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(entry)
            .or_default() += calls;
    }

    /// What is to be written, by day. It is not counted here any more.
    pub fn take(&self) -> Vec<(Day, Vec<(TenantId, Usage)>)> {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut days: HashMap<Day, Vec<(TenantId, Usage)>> = HashMap::new();
        for ((day, tenant), api_calls) in counts {
            let usage = Usage {
                api_calls,
                ..Usage::default()
            };
            days.entry(day).or_default().push((tenant, usage));
        }
        let mut days: Vec<_> = days.into_iter().collect();
        days.sort_unstable_by_key(|(day, _)| *day);
        days
    }

    /// What could not be written is counted again.
    pub fn put_back(&self, day: Day, used: Vec<(TenantId, Usage)>) {
        for (tenant, usage) in used {
            self.add((day, tenant), usage.api_calls);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_taken_once_on_its_day() {
        let counts = Counts::default();
        let (one, two) = (TenantId::from_parts(1, 1), TenantId::from_parts(1, 2));
        let day = |number: i64| Timestamp::from_unix_ms(number * 86_400_000 + 5);
        for (tenant, at) in [(one, 7), (one, 7), (two, 7), (one, 8)] {
            counts.call(tenant, day(at));
        }
        let mut taken = counts.take();
        for (_, used) in &mut taken {
            used.sort_unstable_by_key(|(tenant, _)| *tenant);
        }
        let short: Vec<(i64, Vec<(TenantId, u64)>)> = taken
            .iter()
            .map(|(day, used)| {
                let used = used.iter().map(|(tenant, usage)| (*tenant, usage.api_calls));
                (day.number(), used.collect())
            })
            .collect();
        assert_eq!(short, [(7, vec![(one, 2), (two, 1)]), (8, vec![(one, 1)])]);
        assert!(counts.take().is_empty());

        let (day_7, used) = taken.swap_remove(0);
        counts.call(one, day(7));
        counts.put_back(day_7, used);
        let again = counts.take();
        let sum: u64 = again[0].1.iter().map(|(_, usage)| usage.api_calls).sum();
        assert_eq!((again.len(), sum), (1, 4));
    }
}
