use std::collections::BTreeSet;

use super::delete;
use crate::plan::{empty, plan};

/// What outlives a tenant: its own row, what it used, and what was done.
const KEPT: [&str; 3] = ["audit_event", "tenant", "usage_day"];

#[test]
fn every_table_with_rows_of_tenants_is_emptied_or_kept_on_purpose() {
    let database = empty();
    let mut tables = database
        .prepare("SELECT m.name FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table' AND (c.name = 'tenant_id' OR m.name = 'tenant')")
        .unwrap();
    let mut rows = tables.raw_query();
    let mut in_schema = BTreeSet::new();
    while let Some(row) = rows.next().unwrap() {
        in_schema.insert(row.get::<_, String>(0).unwrap());
    }
    let mut known: BTreeSet<String> = KEPT.map(str::to_owned).into();
    for statement in delete::removals() {
        let sql = statement.sql(crate::database::Dialect::Sqlite);
        let table = sql
            .strip_prefix("DELETE FROM ")
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        known.insert(table.to_owned());
    }
    assert_eq!(in_schema, known);
}

#[test]
fn a_tenants_rows_are_found_without_reading_others() {
    for statement in delete::removals() {
        let plan = plan(statement);
        assert!(
            !plan.contains("SCAN"),
            "{} {plan}",
            statement.sql(crate::database::Dialect::Sqlite)
        );
    }
}
