//! Outcomes on their way into the store. While one settlement is written the next gathers.

use std::collections::BTreeMap;
use std::time::Duration;

use roost_domain::Timestamp;
use roost_domain::webhook::store::{DeliveryChange, Settlement};

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger {
    changes: BTreeMap<i64, DeliveryChange>,
    expired: Vec<i64>,
    failing_since: Option<Option<Timestamp>>,
    disabled: Option<String>,
    replays: Vec<(i64, Option<i64>)>,
    /// When the first of these was noted.
    since: Option<Duration>,
    /// Outcomes in the settlement that is being written, and its cursor.
    writing: Option<(usize, i64)>,
    cursor: i64,
    cursor_at: Duration,
}

impl Ledger {
    pub fn new(cursor: i64, now: Duration) -> Self {
        Self {
            changes: BTreeMap::new(),
            expired: Vec::new(),
            failing_since: None,
            disabled: None,
            replays: Vec::new(),
            since: None,
            writing: None,
            cursor,
            cursor_at: now,
        }
    }

    /// Notes what became of a delivery. A row appears once in a settlement.
    pub fn note(&mut self, change: DeliveryChange, now: Duration) {
        self.since.get_or_insert(now);
        match self.changes.entry(change.event.seq) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(change);
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let earlier = std::mem::take(&mut entry.get_mut().attempts);
                let attempts = earlier.into_iter().chain(change.attempts).collect();
                entry.insert(DeliveryChange { attempts, ..change });
            }
        }
    }

    pub fn expire(&mut self, seq: i64, now: Duration) {
        self.since.get_or_insert(now);
        self.expired.push(seq);
    }

    pub fn failing_since(&mut self, since: Option<Timestamp>, now: Duration) {
        self.since.get_or_insert(now);
        self.failing_since = Some(since);
    }

    pub fn disable(&mut self, reason: String, now: Duration) {
        self.since.get_or_insert(now);
        self.disabled.get_or_insert(reason);
    }

    pub fn replayed(&mut self, number: i64, next: Option<i64>, now: Duration) {
        self.since.get_or_insert(now);
        self.replays.push((number, next));
    }

    /// Outcomes that are not in the store yet.
    pub fn unsettled(&self) -> usize {
        self.changes.len() + self.expired.len() + self.writing.map_or(0, |(count, _)| count)
    }

    /// What was noted of a delivery since the last settlement.
    #[cfg(test)]
    pub fn noted(&self, seq: i64) -> Option<roost_domain::webhook::DeliveryStatus> {
        self.changes.get(&seq).map(|change| change.status)
    }

    /// Nothing waits and nothing is being written, up to this cursor.
    pub fn is_clear(&self, cursor: i64) -> bool {
        self.since.is_none() && self.writing.is_none() && self.cursor >= cursor
    }

    /// When to write next, unless a write is under way.
    pub fn due(
        &self,
        cursor: i64,
        batch: usize,
        every: Duration,
        cursor_every: Duration,
    ) -> Option<Duration> {
        if self.writing.is_some() {
            return None;
        }
        let Some(since) = self.since else {
            return (cursor > self.cursor).then(|| self.cursor_at + cursor_every);
        };
        let at_once = self.changes.len() + self.expired.len() >= batch || self.disabled.is_some();
        Some(if at_once { since } else { since + every })
    }

    /// Everything noted so far, to be written under a cursor that lies before all that is not noted.
    pub fn take(&mut self, cursor: i64) -> Settlement {
        let settlement = Settlement {
            cursor: (cursor > self.cursor).then_some(cursor),
            deliveries: std::mem::take(&mut self.changes).into_values().collect(),
            expired: std::mem::take(&mut self.expired),
            failing_since: self.failing_since.take(),
            disabled: self.disabled.take(),
            replays: std::mem::take(&mut self.replays),
        };
        self.since = None;
        self.writing = Some((settlement.deliveries.len() + settlement.expired.len(), cursor));
        settlement
    }

    /// The settlement is in the store.
    pub fn settled(&mut self, now: Duration) {
        if let Some((_, cursor)) = self.writing.take() {
            self.cursor = self.cursor.max(cursor);
            self.cursor_at = now;
        }
    }
}
