//! Which indexes SQLite uses: a list or a sweep that reads a whole log is right, and useless.

use rusqlite::Connection;

use super::{expire, log, read, redrive, settle};
use crate::database::{Dialect, Statement};

/// How SQLite runs a statement, one step per line.
fn plan(statement: &Statement) -> String {
    let connection = Connection::open_in_memory().unwrap();
    for migration in [
        include_str!("../../../migrations/sqlite/0001_spine.sql"),
        include_str!("../../../migrations/sqlite/0002_webhooks.sql"),
    ] {
        connection.execute_batch(migration).unwrap();
    }
    let sql = format!("EXPLAIN QUERY PLAN {}", statement.sql(Dialect::Sqlite));
    let mut prepared = connection.prepare(&sql).unwrap();
    let mut rows = prepared.raw_query();
    let mut plan = String::new();
    while let Some(row) = rows.next().unwrap() {
        plan.push_str(&row.get::<_, String>(3).unwrap());
        plan.push('\n');
    }
    plan
}

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
        let aged = ["INDEX event_id (id<?)", "INDEX delivery_pending_age (event_at<?)"];
        assert!(aged.iter().any(|index| plan.contains(index)), "{plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }
    for index in ["delivery_dead_age", "delivery_delivered_age"] {
        let plans = crate::node::sweep_statements().map(plan);
        assert_eq!(plans.filter(|plan| plan.contains(index)).count(), 1);
    }
}
