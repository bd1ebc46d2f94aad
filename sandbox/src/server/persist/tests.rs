//! Facts about the data folder and the journal.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::oneshot;

use super::{Journal, Opened, PersistError, Saved, Table, open};

/// Runs `work` with a journal, ends it, and returns what the folder then holds.
async fn saved_after(folder: &Path, work: impl AsyncFnOnce(&Journal)) -> Saved {
    let Opened { journal, writer, .. } = open(folder).await.unwrap();
    let (end, ended) = oneshot::channel::<()>();
    let running = tokio::spawn(writer.run(async {
        let _ = ended.await;
    }));
    work(&journal).await;
    drop(end);
    running.await.unwrap();
    open(folder).await.unwrap().saved
}

fn numbers(saved: &mut Saved, account: u32, table: Table, device: u16) -> Vec<(u64, u64)> {
    let of_account = saved.accounts.get_mut(&account).unwrap();
    of_account.values(table, device).unwrap()
}

#[tokio::test]
async fn rows_come_back_as_they_were_last_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut saved = saved_after(folder.path(), async |journal| {
        let (one, other) = (journal.shelf(1, 3), journal.shelf(2, 0));
        one.keep(|rows| (0..20).for_each(|item| rows.put(Table::Seen, item, "", &item)));
        other.keep(|rows| rows.put(Table::Seen, u64::MAX, "", &7_u64));
        journal.barrier().await.unwrap();
        one.keep(|rows| {
            rows.put(Table::Seen, 4, "", &400_u64);
            rows.delete(Table::Seen, 5, "");
            rows.put(Table::Seen, 6, "", &600_u64);
            rows.delete(Table::Seen, 6, "");
            rows.delete(Table::Seen, 99, "");
        });
    })
    .await;
    let mut expected: Vec<_> = (0..20)
        .filter(|item| ![5, 6].contains(item))
        .map(|item| (item, item))
        .collect();
    expected[4].1 = 400;
    assert_eq!(numbers(&mut saved, 1, Table::Seen, 3), expected);
    assert_eq!(numbers(&mut saved, 2, Table::Seen, 0), [(u64::MAX, 7)]);
    assert_eq!(
        numbers(&mut saved, 1, Table::Seen, 3),
        [],
        "rows are handed out once"
    );
}

#[tokio::test]
async fn a_barrier_has_everything_before_it_on_file() {
    let folder = tempfile::tempdir().unwrap();
    saved_after(folder.path(), async |journal| {
        let shelf = journal.shelf(1, 0);
        for item in 1..=50_i64 {
            shelf.keep(|rows| rows.put(Table::Job, item.cast_unsigned(), "", &item));
            journal.barrier().await.unwrap();
            // Read as another process would after a kill.
            let options = SqliteConnectOptions::new().filename(folder.path().join("sandbox.db"));
            let mut reader = SqliteConnection::connect_with(&options).await.unwrap();
            let query = sqlx::query_scalar::<_, i64>("SELECT max(item) FROM phone_job");
            assert_eq!(query.fetch_one(&mut reader).await.unwrap(), item);
        }
    })
    .await;
}

#[tokio::test]
async fn a_job_that_is_done_before_a_commit_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let mut saved = saved_after(folder.path(), async |journal| {
        let shelf = journal.shelf(1, 0);
        shelf.keep(|rows| rows.put(Table::Job, 1, "", &1_u64));
        journal.barrier().await.unwrap();
        let unit = journal.unit();
        shelf.keep(|rows| {
            rows.delete(Table::Job, 1, "");
            rows.put(Table::Job, 2, "", &2_u64);
        });
        shelf.keep(|rows| {
            rows.delete(Table::Job, 2, "");
            rows.put(Table::Job, 3, "", &3_u64);
        });
        drop(unit);
    })
    .await;
    assert_eq!(numbers(&mut saved, 1, Table::Job, 0), [(3, 3)]);
}

#[tokio::test]
async fn nobody_waits_for_a_writer_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let Opened { journal, writer, .. } = open(folder.path()).await.unwrap();
    journal
        .shelf(1, 0)
        .keep(|rows| rows.put(Table::Seen, 1, "", &1_u64));
    drop(writer);
    assert!(journal.barrier().await.is_err());
}

#[tokio::test]
async fn without_a_folder_nothing_is_asked_for_and_nothing_is_waited_for() {
    let journal = Journal::default();
    journal.shelf(1, 0).keep(|_| panic!("nothing is kept"));
    assert!(journal.unit().is_none());
    journal.barrier().await.unwrap();
}

async fn with_statement(folder: &Path, statement: &'static str) {
    let options = SqliteConnectOptions::new()
        .filename(folder.join("sandbox.db"))
        .create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(statement).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_folder_of_a_newer_sandbox_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).await.unwrap());
    with_statement(folder.path(), "PRAGMA user_version = 2").await;
    let refused = open(folder.path()).await.err();
    assert!(
        matches!(
            refused,
            Some(PersistError::Newer {
                found: 2,
                known: 1,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_database_of_another_program_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    with_statement(folder.path(), "CREATE TABLE theirs (x)").await;
    let refused = open(folder.path()).await.err();
    assert!(
        matches!(refused, Some(PersistError::Foreign { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).await.unwrap());
    with_statement(folder.path(), "INSERT INTO phone VALUES (1, 0, 0, '', x'c1')").await;
    let mut saved = open(folder.path()).await.unwrap().saved;
    let read = saved.accounts.get_mut(&1).unwrap().only::<u64>(Table::Phone);
    assert!(
        matches!(read, Err(PersistError::Corrupt { table: "phone", .. })),
        "{read:?}"
    );
}
