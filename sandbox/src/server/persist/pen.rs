//! Writes batches to the file, on a thread where SQLite may block.
//!
//! `sqlx` hands each statement over to a thread of its own; for thousands of short ones that costs
//! more than the statements do.

use std::path::Path;

use rusqlite::{CachedStatement, Connection, OpenFlags, Transaction, params_from_iter};

use super::journal::{Change, Key};

const PUT_ROWS: usize = 8;
/// Prepared statements kept: three for each table.
const STATEMENTS_MAX: usize = 128;

pub(super) struct Pen(Connection);

impl Pen {
    /// Opens a file that is there.
    pub fn open(path: &Path) -> rusqlite::Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.pragma_update(None, "synchronous", "off")?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(Self(connection))
    }

    /// Writes changes in one transaction. They are sorted by table.
    pub fn write(&mut self, changes: &[Change]) -> rusqlite::Result<()> {
        let transaction = self.0.transaction()?;
        for of_table in changes.chunk_by(|a, b| a.0.table == b.0.table) {
            write_table(&transaction, of_table)?;
        }
        transaction.commit()
    }
}

fn write_table(transaction: &Transaction<'_>, changes: &[Change]) -> rusqlite::Result<()> {
    let Some((first, _)) = changes.first() else {
        return Ok(());
    };
    let statements = first.table.statements();
    let (puts, deletes): (Vec<_>, Vec<_>) = changes.iter().partition(|(_, value)| value.is_some());
    let (eights, rest) = puts.as_chunks::<PUT_ROWS>();
    let mut put_eight = transaction.prepare_cached(statements.put_eight)?;
    for eight in eights {
        put(&mut put_eight, eight)?;
    }
    let mut put_one = transaction.prepare_cached(statements.put)?;
    for one in rest {
        put(&mut put_one, &[*one])?;
    }
    let mut delete = transaction.prepare_cached(statements.delete)?;
    for (key, _) in deletes {
        delete.execute((key.account, key.device, key.item.cast_signed(), &*key.name))?;
    }
    Ok(())
}

fn put(statement: &mut CachedStatement<'_>, rows: &[&Change]) -> rusqlite::Result<()> {
    let cells = rows.iter().flat_map(|(key, value)| cells(key, value.as_deref()));
    statement.execute(params_from_iter(cells)).map(|_| ())
}

fn cells<'a>(key: &'a Key, value: Option<&'a [u8]>) -> [rusqlite::types::ToSqlOutput<'a>; 5] {
    [
        key.account.into(),
        key.device.into(),
        key.item.cast_signed().into(),
        (&*key.name).into(),
        value.unwrap_or_default().into(),
    ]
}
