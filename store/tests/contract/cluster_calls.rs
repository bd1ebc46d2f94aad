//! Calls of a membership while others are under way, and when connections are lost.

use std::sync::Arc;
use std::time::Duration;

use roost_domain::cluster::{Membership, MembershipError};
use roost_domain::store::StoreError;
use roost_store::{MembershipLimits, OpenError, PgMembership, StoreConfig};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection};

use crate::cluster::{TTL, card, expire, join, membership, slots};
use crate::fixture::{Fixture, master_key, until};

async fn connection(f: &Fixture) -> PgConnection {
    let options: PgConnectOptions = f.config.url.parse().unwrap();
    options.connect().await.unwrap()
}

async fn run(connection: &mut PgConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

/// Waits until a membership's statement waits for a lock.
async fn a_call_waits(f: &Fixture) {
    until("a call waits for a lock", async || {
        let waiting = f
            .sql(
                "SELECT pid::text FROM pg_stat_activity WHERE application_name = 'roost membership' \
                 AND datname = current_database() AND wait_event_type = 'Lock'",
            )
            .await;
        !waiting.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_renewal_that_is_under_way_counts_when_the_lease_expires_meanwhile() {
    let f = Fixture::postgres().await;
    let m = Arc::new(membership(&f));
    let (a, b) = (join(&m, "a").await, join(&m, "b").await);
    m.claim(&a, &slots(0..4)).await.unwrap();
    let mut renewal = connection(&f).await;
    // In one message, so that the lease cannot expire before its renewal has begun.
    run(
        &mut renewal,
        "BEGIN; UPDATE node_lease SET expires_at = clock_timestamp() + interval '1 second' WHERE node = 'a'; COMMIT; \
         BEGIN; UPDATE node_lease SET expires_at = clock_timestamp() + interval '1 hour' \
         WHERE node = 'a' AND expires_at > clock_timestamp()",
    )
    .await;
    until("the lease has expired for everybody else", async || {
        !m.view().await.unwrap().nodes[&a.node].is_live()
    })
    .await;
    let claim = {
        let (m, b) = (m.clone(), b.clone());
        tokio::spawn(async move { m.claim(&b, &slots(0..8)).await })
    };
    a_call_waits(&f).await;
    run(&mut renewal, "COMMIT").await;
    let claimed = claim.await.unwrap().unwrap();
    assert_eq!(claimed.len(), 4, "{claimed:?}");
    assert!(claimed.iter().all(|(slot, _)| slot.number() >= 4));
    m.renew(&a, TTL).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_renewal_that_comes_to_a_lease_that_is_being_ended_fails() {
    let f = Fixture::postgres().await;
    let m = Arc::new(membership(&f));
    let a = join(&m, "a").await;
    let mut claim = connection(&f).await;
    // As if the renewal had looked at the row just before it expired.
    run(
        &mut claim,
        "BEGIN; UPDATE node_lease SET ended_at = clock_timestamp() WHERE node = 'a'",
    )
    .await;
    let renewal = {
        let (m, a) = (m.clone(), a.clone());
        tokio::spawn(async move { m.renew(&a, TTL).await })
    };
    a_call_waits(&f).await;
    run(&mut claim, "COMMIT").await;
    assert_eq!(renewal.await.unwrap(), Err(MembershipError::Lost));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_call_that_takes_too_long_is_given_up_and_the_next_one_works() {
    let f = Fixture::postgres().await;
    let limits = MembershipLimits {
        renew: Duration::from_secs(30),
        call: Duration::from_millis(300),
    };
    let m = PgMembership::new(&f.config, limits).unwrap();
    let mut holder = connection(&f).await;
    let patient = membership(&f);
    let a = join(&patient, "a").await;
    run(
        &mut holder,
        "BEGIN; UPDATE meta SET value = value WHERE name = 'epoch'",
    )
    .await;
    let given_up = m.claim(&a, &slots(0..4)).await;
    assert!(
        matches!(&given_up, Err(MembershipError::Store(StoreError::Unavailable(_)))),
        "{given_up:?}"
    );
    m.renew(&a, TTL).await.unwrap();
    // The database gives it up too: it is not carried out when the way is free.
    until("the statement is gone", async || {
        let running = f
            .sql(
                "SELECT pid::text FROM pg_stat_activity WHERE application_name = 'roost membership' \
                 AND datname = current_database() AND state = 'active'",
            )
            .await;
        running.is_empty()
    })
    .await;
    run(&mut holder, "ROLLBACK").await;
    assert!(patient.view().await.unwrap().slots.is_empty());
    until("a claim works again", async || {
        m.claim(&a, &slots(0..4)).await.is_ok()
    })
    .await;
    assert_eq!(patient.view().await.unwrap().slots.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_and_hints_survive_lost_connections() {
    let f = Fixture::postgres().await;
    let (m, other) = (Arc::new(membership(&f)), membership(&f));
    let a = join(&m, "a").await;
    let listening = {
        let m = m.clone();
        move || {
            let m = m.clone();
            tokio::spawn(async move { m.changed().await })
        }
    };
    // Whoever begins to listen looks for itself.
    m.changed().await.unwrap();
    let hint = listening();
    join(&other, "b").await;
    hint.await.unwrap().unwrap();
    // Somebody who gave up waiting has missed nothing.
    let waited = tokio::time::timeout(Duration::from_millis(1), m.changed()).await;
    assert!(waited.is_err());
    assert_eq!(other.claim(&a, &slots(0..2)).await.unwrap().len(), 2);
    m.changed().await.unwrap();
    for _ in 0..3 {
        let ended = f
            .sql(
                "SELECT pg_terminate_backend(pid)::text FROM pg_stat_activity \
                 WHERE application_name = 'roost membership' AND datname = current_database()",
            )
            .await;
        assert!(ended.len() >= 2, "{ended:?}");
        m.renew(&a, TTL).await.unwrap();
        assert_eq!(m.view().await.unwrap().nodes.len(), 2);
        until("it listens again", async || m.changed().await.is_ok()).await;
    }
    until("a hint comes through", async || {
        let hint = listening();
        m.set_draining(&a.node, true).await.unwrap();
        hint.await.unwrap().is_ok()
    })
    .await;
}

#[test]
fn a_membership_may_outlive_its_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (f, m) = runtime.block_on(async {
        let f = Fixture::postgres().await;
        let m = membership(&f);
        join(&m, "a").await;
        m.changed().await.unwrap();
        expire(&f, "a").await;
        f.store.close().await;
        (f, m)
    });
    drop(runtime);
    drop(m);
    drop(f);
}

#[tokio::test]
async fn there_is_no_cluster_on_sqlite() {
    let config = StoreConfig::sqlite("roost.db", master_key());
    let limits = MembershipLimits {
        renew: TTL,
        call: TTL,
    };
    let refused = PgMembership::new(&config, limits);
    assert!(matches!(refused, Err(OpenError::Url(_))));
    assert_eq!(card("a").node.as_str(), "a");
}
