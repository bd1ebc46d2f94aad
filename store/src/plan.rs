//! How SQLite runs a statement: which indexes it uses. A list or a sweep that reads a whole table is right,
//! and useless.

use rusqlite::Connection;

use crate::database::{Dialect, Statement};
use crate::schema;

/// An empty database of the latest schema.
pub(crate) fn empty() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    for migration in schema::sqlite() {
        connection.execute_batch(migration).unwrap();
    }
    connection
}

/// The steps of a statement, one per line.
pub(crate) fn plan(statement: &Statement) -> String {
    let connection = empty();
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
