//! Calls that were denied or failed, folded: those of the same caller to the same operation for the same
//! reason become one row with their number, so that a flood of them is neither a flood of writes nor of
//! memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, PoisonError};

use roost_domain::audit::{AuditEvent, AuditResult};
use roost_domain::{ErrorCode, TenantId};

/// What makes two calls alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Likeness {
    tenant: Option<TenantId>,
    /// The key; without one the address.
    caller: Option<String>,
    action: String,
    code: Option<ErrorCode>,
    /// Only where the call may have changed it.
    target: Option<String>,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Waiting {
    rows: HashMap<Likeness, AuditEvent>,
    /// Calls that were neither kept nor counted in a row.
    lost: u64,
}

/// Calls of the last moment that changed nothing as far as is known. Bounded: when there are too many different callers, further ones
/// are no longer told apart.
#[derive(Debug)]
pub struct Fold {
    waiting: Mutex<Waiting>,
    rows_max: usize,
}

impl Fold {
    /// Holds about `rows_max` rows.
    pub fn new(rows_max: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            rows_max,
        }
    }

    /// Notes a call. Returns whether it is the first of its kind since the last
    /// [`take`](Self::take).
    pub fn note(&self, event: AuditEvent) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        Self::add(&mut waiting, self.rows_max, event)
    }

    /// The same for a call that has been written already: only those that follow it are counted.
    pub fn is_first(&self, event: &AuditEvent) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = waiting.rows.get_mut(&Likeness::of(event)) {
            Self::join(row, event.clone());
            return false;
        }
        let written = AuditEvent {
            count: 0,
            ..event.clone()
        };
        Self::add(&mut waiting, self.rows_max, written)
    }

    fn add(waiting: &mut Waiting, rows_max: usize, mut event: AuditEvent) -> bool {
        let mut likeness = Likeness::of(&event);
        let known = waiting.rows.contains_key(&likeness);
        if !known && waiting.rows.len() >= rows_max {
            likeness.caller = None;
            event.actor_id = None;
            event.source = None;
            event.target = None;
            event.request_id = None;
            // As many more rows again, for tenants and operations; beyond that there is only a number.
            if !waiting.rows.contains_key(&likeness) && waiting.rows.len() >= rows_max.saturating_mul(2) {
                waiting.lost += u64::from(event.count.max(1));
                return false;
            }
        }
        match waiting.rows.entry(likeness) {
            Entry::Vacant(row) => {
                row.insert(event);
                true
            }
            Entry::Occupied(mut row) => {
                Self::join(row.get_mut(), event);
                false
            }
        }
    }

    fn join(row: &mut AuditEvent, event: AuditEvent) {
        if row.count == 0 {
            // The first was written on its own; this row begins with the second.
            *row = event;
            return;
        }
        let count = row.count.saturating_add(event.count);
        if row.target != event.target {
            row.target = None;
        }
        row.count = count;
    }

    /// What is to be written, by age, and how many calls were lost.
    pub fn take(&self) -> (Vec<AuditEvent>, u64) {
        let taken = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let rows = taken.rows.into_values().filter(|row| row.count > 0);
        let mut rows: Vec<AuditEvent> = rows.collect();
        rows.sort_unstable_by_key(|row| row.id);
        (rows, taken.lost)
    }

    /// What could not be written waits on.
    pub fn put_back(&self, rows: Vec<AuditEvent>) {
        for row in rows {
            self.note(row);
        }
    }
}

impl Likeness {
    fn of(event: &AuditEvent) -> Self {
        Self {
            tenant: event.tenant_id,
            caller: event.actor_id.clone().or_else(|| event.source.clone()),
            action: event.action.clone(),
            code: event.code,
            target: may_have_changed(event).then(|| event.target.clone()).flatten(),
        }
    }
}

/// Whether nobody can tell from the answer that nothing was changed.
pub fn may_have_changed(event: &AuditEvent) -> bool {
    event.result == AuditResult::Failed && event.status.is_none_or(|status| status >= 500)
}

#[cfg(test)]
mod tests {
    use roost_domain::audit::ActorKind;
    use roost_domain::{AuditEventId, Timestamp};

    use super::*;

    fn denied(number: u128, source: &str, action: &str, target: Option<&str>) -> AuditEvent {
        AuditEvent {
            id: AuditEventId::from_parts(1, number),
            tenant_id: None,
            at: Timestamp::from_unix_ms(1),
            actor_kind: ActorKind::Anonymous,
            actor_id: None,
            source: Some(source.into()),
            action: action.into(),
            target: target.map(Into::into),
            result: AuditResult::Denied,
            status: Some(401),
            code: Some(ErrorCode::Unauthorized),
            request_id: Some(format!("req_{number}")),
            count: 1,
        }
    }

    #[test]
    fn calls_that_are_denied_alike_become_one_row() {
        let fold = Fold::new(10);
        assert!(fold.note(denied(1, "203.0.113.1", "get_message", Some("msg_1"))));
        assert!(!fold.note(denied(2, "203.0.113.1", "get_message", Some("msg_1"))));
        assert!(fold.note(denied(3, "203.0.113.2", "get_message", Some("msg_1"))));
        assert!(fold.note(denied(4, "203.0.113.1", "list_messages", Some("ins_1"))));
        assert!(!fold.note(denied(5, "203.0.113.1", "list_messages", Some("ins_2"))));
        let (rows, lost) = fold.take();
        let short: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    row.request_id.as_deref().unwrap(),
                    row.target.as_deref(),
                    row.count,
                )
            })
            .collect();
        assert_eq!(
            short,
            [
                ("req_1", Some("msg_1"), 2),
                ("req_3", Some("msg_1"), 1),
                ("req_4", None, 2)
            ]
        );
        assert_eq!(lost, 0);
        assert_eq!(fold.take(), (Vec::new(), 0));
    }

    #[test]
    fn a_call_that_was_written_at_once_is_not_written_again() {
        let fold = Fold::new(10);
        assert!(fold.is_first(&denied(1, "a", "x", None)));
        assert_eq!(fold.take().0, []);
        assert!(fold.is_first(&denied(2, "a", "x", None)));
        assert!(!fold.is_first(&denied(3, "a", "x", None)));
        assert!(!fold.is_first(&denied(4, "a", "x", None)));
        let (rows, _) = fold.take();
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].request_id.as_deref(), rows[0].count), (Some("req_3"), 2));
    }

    #[test]
    fn a_flood_from_many_addresses_is_bounded_and_counted() {
        let fold = Fold::new(100);
        for n in 0..5_000_u128 {
            fold.note(denied(
                n,
                &format!("10.0.{}.{}", n / 256, n % 256),
                "get_message",
                None,
            ));
        }
        for n in 0..500_u128 {
            fold.note(denied(n, "10.9.9.9", &format!("action_{n}"), None));
        }
        let (rows, lost) = fold.take();
        assert!(rows.len() <= 200, "{}", rows.len());
        let others = rows
            .iter()
            .find(|row| row.source.is_none() && row.action == "get_message")
            .unwrap();
        assert_eq!(others.count, 4_900);
        let counted: u64 = rows.iter().map(|row| u64::from(row.count)).sum();
        assert_eq!(counted + lost, 5_500);
    }

    #[test]
    fn rows_that_could_not_be_written_are_joined_with_those_that_came_since() {
        let fold = Fold::new(10);
        fold.note(denied(1, "a", "x", None));
        fold.note(denied(2, "a", "x", None));
        let (rows, _) = fold.take();
        fold.note(denied(3, "a", "x", None));
        fold.put_back(rows);
        let (rows, _) = fold.take();
        assert_eq!((rows.len(), rows[0].count), (1, 3));
    }
}
