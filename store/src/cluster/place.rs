//! Rows by their slots, and the slots of rows that are there already: SQL cannot compute them.

use roost_domain::store::StoreError;
use roost_domain::{InstanceId, Slot, WebhookId};

use crate::database::{Args, Column, Connection, Dialect, Reader, Row, Rows, Statement};

/// Rows filled by one statement.
const BATCH: i64 = 1000;
/// Slots whose rows are read by one statement.
const SLOTS_AT_ONCE: usize = 16;

struct Unplaced {
    table: &'static str,
    find: Statement,
    fill: Statement,
    slot: fn(&Row) -> Option<Slot>,
}

static TABLES: [Unplaced; 2] = [
    Unplaced {
        table: "instance",
        find: Statement::new(
            "SELECT i.id FROM instance AS i WHERE i.slot IS NULL AND i.id > $1 ORDER BY i.id LIMIT $2",
        ),
        fill: Statement::with_rows(
            "UPDATE instance SET slot = r.slot FROM {rows} AS r WHERE instance.id = r.id",
            &[Column::Text("id"), Column::Int("slot")],
        ),
        slot: |row| row.parse::<InstanceId>(0).ok().map(Slot::of),
    },
    Unplaced {
        table: "webhook",
        find: Statement::new(
            "SELECT w.id FROM webhook AS w WHERE w.slot IS NULL AND w.id > $1 ORDER BY w.id LIMIT $2",
        ),
        fill: Statement::with_rows(
            "UPDATE webhook SET slot = r.slot FROM {rows} AS r WHERE webhook.id = r.id",
            &[Column::Text("id"), Column::Int("slot")],
        ),
        slot: |row| row.parse::<WebhookId>(0).ok().map(Slot::of_webhook),
    },
];

/// Fills the slots of rows that have none. Begun anew after a crash, it goes on where it was.
pub(crate) async fn place_rows(connection: &mut Connection) -> Result<(), sqlx::Error> {
    for table in &TABLES {
        let mut after = String::new();
        let mut placed = 0;
        loop {
            let args = Args::new(connection.dialect()).text(&after).int(BATCH);
            let found = connection.fetch(&table.find, args).await?;
            let mut rows = table.fill.rows(connection.dialect());
            let mut last = None;
            for row in &found {
                let Ok(id) = row.text(0) else { continue };
                // An id that is none belongs to nobody; whoever reads the row says so.
                if let Some(slot) = (table.slot)(row) {
                    rows.text(&id).int(i64::from(slot.number())).end();
                    placed += 1;
                }
                last = Some(id);
            }
            let Some(last) = last else { break };
            after = last;
            let args = Args::new(connection.dialect()).rows(rows);
            connection.execute(&table.fill, args).await?;
        }
        if placed > 0 {
            tracing::info!(table = table.table, rows = placed, "rows were given their slots");
        }
    }
    Ok(())
}

/// Reads rows by slots and ids, after one of them, as many as are wanted. The statement takes the id and the
/// slot after which it begins, the number of rows, and slots: few at a time, because it sorts what it finds.
pub(crate) async fn rows_by_slots(
    reader: &Reader,
    statement: &'static Statement,
    slots: &[Slot],
    after: Option<(Slot, String)>,
    wanted: i64,
) -> Result<Vec<Row>, StoreError> {
    let (first, id) = match after {
        Some((slot, id)) => (i64::from(slot.number()), id),
        None => (-1, String::new()),
    };
    let mut slots = slots.to_vec();
    slots.retain(|slot| i64::from(slot.number()) >= first);
    slots.sort_unstable();
    let mut found = Vec::new();
    for slots in slots.chunks(SLOTS_AT_ONCE) {
        let left = wanted - i64::try_from(found.len()).unwrap_or(wanted);
        if left <= 0 {
            break;
        }
        let rows = slot_rows(statement, reader.dialect(), slots);
        let args = reader.args().text(&id).int(first).int(left).rows(rows);
        found.extend(reader.fetch(statement, args).await?);
    }
    Ok(found)
}

/// Slots as the table of values of a statement with one column.
pub(crate) fn slot_rows(statement: &Statement, dialect: Dialect, slots: &[Slot]) -> Rows {
    let mut rows = statement.rows(dialect);
    for slot in slots {
        rows.int(i64::from(slot.number())).end();
    }
    rows
}

#[cfg(test)]
pub(super) static FINDS: [&Statement; 2] = [&TABLES[0].find, &TABLES[1].find];
