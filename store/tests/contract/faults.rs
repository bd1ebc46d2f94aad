use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use roost_domain::message::MessageStatus;
use roost_domain::store::{Messages, Node, Stamp, StoreError};
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::fixture::{Fixture, is_unavailable, until};
use crate::messages::step;

crate::on_both!(
    what_is_queued_at_the_end_is_committed_and_answered,
    a_full_queue_refuses_at_once,
    a_status_waits_for_company_and_not_beyond_the_end,
    nothing_acknowledged_is_lost_when_the_process_ends_without_a_word,
);

async fn what_is_queued_at_the_end_is_committed_and_answered(mut f: Fixture) {
    let owner = f.owner().await;
    let writes: Vec<_> = (0..200)
        .map(|_| {
            let (store, new) = (f.store.clone(), f.new_message("x"));
            tokio::spawn(async move { store.accept(owner, new, Stamp::default()).await })
        })
        .collect();
    f.store.close().await;
    let mut accepted = 0;
    for write in writes {
        match write.await.unwrap() {
            Ok(_) => accepted += 1,
            Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
        }
    }
    f.reopen().await;
    assert_eq!(f.store.pending_count(owner).await.unwrap(), accepted);
}

async fn a_status_waits_for_company_and_not_beyond_the_end(mut f: Fixture) {
    // Longer than any test runs: only company or the end can make it commit.
    f.config.writer.status_max_wait = Duration::from_secs(3600);
    f.reopen().await;
    let owner = f.owner().await;
    let message = f.accept(owner, "x").await;
    let advance = |status| {
        let (store, change) = (f.store.clone(), step(&message.whatsapp_id, status, &f));
        tokio::spawn(async move { store.advance(owner, vec![change]).await })
    };
    let sent = advance(MessageStatus::Sent);
    until("the status is committed with others", async || {
        // The status may have come after its company: more comes.
        f.accept(owner, "more company").await;
        sent.is_finished()
    })
    .await;
    assert_eq!(sent.await.unwrap().unwrap()[0].status, MessageStatus::Sent);
    let delivered = advance(MessageStatus::Delivered);
    f.store.close().await;
    match delivered.await.unwrap() {
        Ok(moved) => assert_eq!(moved[0].status, MessageStatus::Delivered),
        Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
    }
}

async fn a_full_queue_refuses_at_once(mut f: Fixture) {
    f.config.writer.queue_max = 4;
    f.reopen().await;
    let owner = f.owner().await;
    let writes: Vec<_> = (0..500)
        .map(|_| {
            let (store, new) = (f.store.clone(), f.new_message("x"));
            tokio::spawn(async move { store.accept(owner, new, Stamp::default()).await })
        })
        .collect();
    let mut accepted = 0;
    for write in writes {
        match write.await.unwrap() {
            Ok(_) => accepted += 1,
            Err(error) => assert_eq!(error, StoreError::Overloaded),
        }
    }
    assert_eq!(f.store.pending_count(owner).await.unwrap(), accepted);
    f.store.check().await.unwrap();
}

async fn nothing_acknowledged_is_lost_when_the_process_ends_without_a_word(mut f: Fixture) {
    let owner = f.owner().await;
    let other = {
        let (clock, entropy, told) = (f.clock.clone(), f.entropy.clone(), f.told.clone());
        let config = f.config.clone();
        f.store.close().await;
        // A runtime of its own, dropped with everything in it in the middle of work.
        let acknowledged = Arc::new(std::sync::Mutex::new(Vec::new()));
        let heard = acknowledged.clone();
        let news: Vec<_> = (0..2000).map(|n| f.inbound_text(&format!("K{n}"), "x")).collect();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let store = Arc::new(
                    roost_store::SqlStore::open(config, clock, entropy, told)
                        .await
                        .unwrap(),
                );
                for new in news {
                    let (store, heard) = (store.clone(), heard.clone());
                    tokio::spawn(async move {
                        let id = new.whatsapp_id.clone();
                        if store.record_inbound(owner, vec![new]).await.is_ok() {
                            heard.lock().unwrap().push(id);
                        }
                    });
                }
                until("the first answers", async || heard.lock().unwrap().len() > 50).await;
            });
            runtime.shutdown_background();
        })
        .join()
        .unwrap();
        acknowledged
    };
    // The lock goes when the last thread of the old store has.
    let deadline = Instant::now() + Duration::from_secs(20);
    f.store = loop {
        match f.open_again().await {
            Ok(store) => break Arc::new(store),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    let acknowledged = other.lock().unwrap().clone();
    for id in &acknowledged {
        let found = f
            .store
            .message_by_whatsapp_id(owner.tenant, owner.instance, id)
            .await
            .unwrap();
        assert!(found.is_some(), "{id} was acknowledged and is not there");
    }
    let stored = f.log(owner.tenant).await.len() - 1;
    assert!(stored >= acknowledged.len());
}

/// How often the write-ahead log was begun anew: a counter in its header.
fn log_beginnings(f: &Fixture) -> u32 {
    let mut path = f.path().into_os_string();
    path.push("-wal");
    let header = std::fs::read(path).unwrap();
    u32::from_be_bytes(header[12..16].try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_write_ahead_log_is_begun_anew_while_writes_go_on() {
    let f = Fixture::sqlite().await;
    let owner = f.owner().await;
    let text = "x".repeat(16_384);
    let before = log_beginnings(&f);
    until("the log is begun anew", async || {
        let writes = (0..50).map(|_| f.store.accept(owner, f.new_message(&text), Stamp::default()));
        for written in futures::future::join_all(writes).await {
            written.unwrap();
        }
        log_beginnings(&f) > before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_locked_sqlite_database_is_unavailable_until_it_is_free() {
    let f = Fixture::sqlite().await;
    let owner = f.owner().await;
    let mut other = SqliteConnectOptions::new()
        .filename(f.path())
        .connect()
        .await
        .unwrap();
    sqlx::raw_sql("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let refused = f.store.accept(owner, f.new_message("x"), Stamp::default()).await;
    assert!(is_unavailable(&refused), "{refused:?}");
    assert!(is_unavailable(&f.store.check().await));
    let crowd: Vec<_> = (0..100)
        .map(|_| {
            let (store, new) = (f.store.clone(), f.new_message("x"));
            tokio::spawn(async move { store.accept(owner, new, Stamp::default()).await })
        })
        .collect();
    for write in crowd {
        assert!(is_unavailable(&write.await.unwrap()));
    }
    assert_eq!(f.store.pending_count(owner).await.unwrap(), 0, "reads go on");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    f.accept(owner, "y").await;
    // A lock that is short is waited for.
    sqlx::raw_sql("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    let (store, new) = (f.store.clone(), f.new_message("z"));
    let waiting = tokio::spawn(async move { store.accept(owner, new, Stamp::default()).await });
    tokio::task::yield_now().await;
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert!(waiting.await.unwrap().is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_sqlite_database_is_unavailable_until_there_is_room() {
    let mut f = Fixture::sqlite().await;
    let owner = f.owner().await;
    f.config.sqlite_bytes_max = Some(600_000);
    f.reopen().await;
    let long = "x".repeat(60_000);
    let mut stored = 0;
    let refused = loop {
        match f
            .store
            .record_inbound(owner, vec![f.inbound_text(&format!("L{stored}"), &long)])
            .await
        {
            Ok(()) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 20, "the limit does not hold");
    };
    let StoreError::Unavailable(reason) = refused else {
        panic!("{refused:?}")
    };
    assert!(reason.contains("full"), "{reason}");
    // What was acknowledged is there, and room made by a sweep is used at once.
    assert_eq!(f.log(owner.tenant).await.len(), stored + 1);
    f.clock.advance(Duration::from_secs(100));
    assert!(f.store.sweep(f.now(), Duration::from_secs(50)).await.unwrap() > 0);
    f.store
        .record_inbound(owner, vec![f.inbound_text("NEW", &long)])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn killed_postgres_connections_are_replaced_and_nothing_is_written_twice() {
    let f = Fixture::postgres().await;
    let owner = f.owner().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for w in 0..8 {
        let (store, stop) = (f.store.clone(), stop.clone());
        let news: Vec<_> = (0..5000)
            .map(|n| f.inbound_text(&format!("W{w}-{n}"), "x"))
            .collect();
        writers.push(tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for new in news {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let id = new.whatsapp_id.clone();
                match store.record_inbound(owner, vec![new]).await {
                    Ok(()) => acknowledged.push(id),
                    Err(error) => assert!(matches!(error, StoreError::Unavailable(_)), "{error}"),
                }
            }
            acknowledged
        }));
    }
    for _ in 0..30 {
        f.sql(
            "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    assert!(!acknowledged.is_empty());
    for id in &acknowledged {
        let found = f
            .store
            .message_by_whatsapp_id(owner.tenant, owner.instance, id)
            .await
            .unwrap();
        assert!(found.is_some(), "{id} was acknowledged and is not there");
    }
    // Gap-free, and no message twice: `log` checks the one, the unique index and this the other.
    let events = f.log(owner.tenant).await.len() - 1;
    let rows = f.sql("SELECT count(*)::text FROM message").await;
    assert_eq!(rows[0], events.to_string());
    let told = f
        .told
        .0
        .lock()
        .unwrap()
        .iter()
        .filter(|(tenant, _)| *tenant == owner.tenant)
        .count()
        - 1;
    assert!(told <= events);
    f.store.check().await.unwrap();
}
