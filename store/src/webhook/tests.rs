//! Which indexes SQLite uses: a list or a sweep that reads a whole log is right, and useless.

use super::{expire, log, read, redrive, settle};
use crate::plan::plan;

#[test]
fn what_waits_or_is_dead_is_found_without_what_was_delivered() {
    for statement in read::OPEN_LISTS {
        let plan = plan(statement);
        assert!(
            plan.contains("INDEX delivery_open (webhook_id=? AND status=?"),
            "{plan}"
        );
    }
}

#[test]
fn rows_that_are_named_are_looked_up() {
    let statements = [read::NAMED, log::NAMED, redrive::NAMED, settle::NAMED].concat();
    for statement in statements {
        let plan = plan(statement);
        let keyed = [
            "(tenant_id=? AND seq=?)",
            "(webhook_id=? AND seq=?)",
            "(tenant_id=? AND id=?)",
            "(id=?)",
        ];
        let searches: Vec<_> = plan.lines().filter(|line| line.starts_with("SEARCH")).collect();
        assert!(!searches.is_empty(), "{plan}");
        for search in searches {
            assert!(keyed.iter().any(|key| search.ends_with(key)), "{plan}");
        }
    }
}

#[test]
fn a_sweep_reads_only_what_it_removes() {
    for statement in expire::SWEEPS {
        let plan = plan(statement);
        let aged = [
            "INDEX event_id (id>? AND id<?)",
            "INDEX delivery_pending_age (event_at<?)",
        ];
        assert!(aged.iter().any(|index| plan.contains(index)), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
}
