//! Two nodes over one PostgreSQL: their logs, their counters, and the one job that only one may do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use roost_domain::api_key::Principal;
use roost_domain::event::{EventFilter, EventType, NewEvent};
use roost_domain::page::PageRequest;
use roost_domain::rotation::{Rotation, RotationState};
use roost_domain::store::{
    Collection, EventLog, Keys, LinkState, MasterKeys as _, Stamp, StateOp, StoreError, Tenants, UsageLog,
};
use roost_domain::tenant::{TenantPatch, TenantState};
use roost_domain::usage::{Day, Usage};
use roost_domain::{Owner, TenantId, Timestamp};
use roost_store::{KeySource, MasterKey, MasterKeys, SqlStore};

use crate::fixture::Fixture;

/// A database with two nodes.
async fn two() -> (Fixture, Arc<SqlStore>) {
    let mut f = Fixture::postgres().await;
    f.config.shared = true;
    f.reopen().await;
    let other = Arc::new(f.open_again().await.unwrap());
    (f, other)
}

async fn deadlocks(f: &Fixture) -> i64 {
    let query = "SELECT deadlocks::text FROM pg_stat_database WHERE datname = current_database()";
    f.sql(query).await[0].parse().unwrap()
}

fn qr(owner: Owner, at: Timestamp) -> NewEvent {
    NewEvent::code(EventType::InstanceQr, owner.instance, "a", at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_two_nodes_write_is_one_log_per_tenant_and_they_never_wait_for_each_other_in_a_circle() {
    let (f, other) = two().await;
    let owners = [f.owner().await, f.owner().await, f.owner().await];
    let mut writers = Vec::new();
    for n in 0..48 {
        let store = [&f.store, &other][n % 2].clone();
        let (one, two, at) = (owners[n % 3], owners[(n + 1) % 3], f.now());
        writers.push(tokio::spawn(async move {
            for _ in 0..20 {
                let events = vec![qr(one, at), qr(one, at)];
                let published = roost_domain::store::Webhooks::publish(
                    &*store,
                    two.tenant,
                    NewEvent {
                        instance_id: None,
                        ..qr(two, at)
                    },
                    Stamp::default(),
                );
                let (appended, published) = tokio::join!(store.append(one, events), published);
                appended.unwrap();
                published.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let tenants = owners.map(|owner| owner.tenant);
    let mut lasts = other.last_seqs(&tenants).await.unwrap();
    lasts.sort();
    let mut expected = tenants.map(|tenant| (tenant, 1 + 16 * 20 * 3));
    expected.sort();
    assert_eq!(lasts, expected);
    for tenant in tenants {
        let mut seqs = Vec::new();
        while let Ok(batch) = other
            .events(tenant, seqs.len() as i64, 500, &EventFilter::default())
            .await
            && !batch.events.is_empty()
        {
            seqs.extend(batch.events.iter().map(|event| event.seq));
        }
        assert_eq!(seqs, (1..=1 + 16 * 20 * 3).collect::<Vec<_>>());
    }
    // A connection's numbers are there when it has ended.
    f.store.close().await;
    other.close().await;
    assert_eq!(deadlocks(&f).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_two_nodes_count_adds_up() {
    let (f, other) = two().await;
    let mut keys = Vec::new();
    let tenants = [f.tenant().await, f.tenant().await];
    for (n, tenant) in tenants.into_iter().cycle().take(20).enumerate() {
        let key = f.new_key(Principal::Tenant(tenant));
        let secret = f.new_secret(&format!("k{n}"));
        f.store.create_key(&key, &secret, Stamp::default()).await.unwrap();
        keys.push(key.id);
    }
    let (day, at) = (Day::of(f.now()), f.now());
    let mut writers = Vec::new();
    for n in 0_u32..40 {
        let store = [&f.store, &other][n as usize % 2].clone();
        let mut used: Vec<_> = keys
            .iter()
            .map(|&id| (id, at.plus(Duration::from_secs(n.into()))))
            .collect();
        let mut calls = tenants
            .map(|tenant| {
                (
                    tenant,
                    Usage {
                        api_calls: 3,
                        ..Usage::default()
                    },
                )
            })
            .to_vec();
        if n % 2 == 0 {
            used.reverse();
            calls.reverse();
        }
        writers.push(tokio::spawn(async move {
            store.touch_keys(used).await.unwrap();
            store.add_usage(day, calls).await.unwrap();
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for tenant in tenants {
        let days = other.usage(tenant, day, day).await.unwrap();
        assert_eq!(days[0].usage.api_calls, 40 * 3);
        let page = other
            .keys(Principal::Tenant(tenant), PageRequest::new(None, 500))
            .await
            .unwrap();
        let last = Some(at.plus(Duration::from_secs(39)));
        assert!(
            page.rows.iter().all(|key| key.last_used_at == last),
            "no time goes backwards"
        );
    }
    // A connection's numbers are there when it has ended.
    f.store.close().await;
    other.close().await;
    assert_eq!(deadlocks(&f).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tenants_that_rest_are_listed_and_a_destroyed_key_is_forgotten_by_the_other_node_too() {
    let (f, other) = two().await;
    let (owner, suspended) = (f.owner().await, f.tenant().await);
    let resting = async |store: &SqlStore| {
        let mut all: Vec<(TenantId, TenantState)> = Vec::new();
        let mut after = None;
        loop {
            let page = store.resting_tenants(PageRequest::new(after, 1)).await.unwrap();
            all.extend(page.rows);
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    };
    assert_eq!(resting(&other).await, []);
    let put = StateOp::Put {
        collection: Collection::Session,
        key: "k".to_owned(),
        value: Bytes::from_static(b"v"),
        expires_at: None,
    };
    f.store.apply(owner, vec![put]).await.unwrap();
    assert!(
        other
            .get(owner, Collection::Session, "k")
            .await
            .unwrap()
            .is_some()
    );
    let patch = TenantPatch {
        suspended: Some(true),
        ..TenantPatch::default()
    };
    f.store.patch_tenant(suspended, patch, f.now()).await.unwrap();
    f.store.destroy_tenant(owner.tenant, f.now()).await.unwrap();
    let mut expected = vec![
        (owner.tenant, TenantState::Deleting),
        (suspended, TenantState::Suspended),
    ];
    expected.sort_by_key(|(tenant, _)| *tenant);
    assert_eq!(resting(&other).await, expected);
    other.forget_tenant(owner.tenant);
    let read = other.get(owner, Collection::Session, "k").await;
    assert_eq!(read, Err(StoreError::NotFound));
    other.close().await;
}

fn given(keys: &[u8]) -> KeySource {
    let mut keys = keys.iter().map(|&byte| MasterKey::from_bytes([byte; 32]));
    KeySource::Given(MasterKeys {
        first: keys.next().unwrap(),
        further: keys.collect(),
    })
}

/// Two nodes that know another key, and so much to seal anew that a rotation does not end at once.
async fn rotating() -> (Fixture, Arc<SqlStore>) {
    let (mut f, other) = two().await;
    other.close().await;
    let owner = f.owner().await;
    let put = |n: u32| StateOp::Put {
        collection: Collection::Session,
        key: format!("key{n}"),
        value: Bytes::from(vec![7; 100]),
        expires_at: None,
    };
    f.store.apply(owner, (0..4000).map(put).collect()).await.unwrap();
    f.config.keys = given(&[8, 7]);
    f.reopen().await;
    let other = Arc::new(f.open_again().await.unwrap());
    (f, other)
}

async fn finished(store: &SqlStore) -> Rotation {
    let done = async {
        loop {
            match store.rotation().await.unwrap() {
                Some(rotation) if rotation.state != RotationState::Running => return rotation,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(60), done).await;
    done.expect("the rotation ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rotation_that_a_node_has_left_is_taken_over_after_a_while_and_not_before() {
    let (f, other) = rotating().await;
    f.store.rotate_master_key().await.unwrap();
    f.store.close().await;
    let left = other.rotation().await.unwrap().unwrap();
    assert_eq!(left.state, RotationState::Running);
    f.clock.advance(Duration::from_secs(59));
    assert!(
        other.resume_rotation().await.unwrap().is_none(),
        "the other may be at it"
    );
    let standing = other.rotate_master_key().await.unwrap();
    assert_eq!(standing.updated_at, left.updated_at, "nothing was begun");
    f.clock.advance(Duration::from_secs(61));
    assert!(other.resume_rotation().await.unwrap().is_some());
    let done = finished(&other).await;
    assert_eq!(
        (done.state, done.started_at),
        (RotationState::Done, left.started_at)
    );
    assert!(other.resume_rotation().await.unwrap().is_none());
    other.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_whose_rotation_was_taken_over_changes_nothing_any_more() {
    let (f, other) = rotating().await;
    f.store.rotate_master_key().await.unwrap();
    let mark = "UPDATE meta SET value = regexp_replace(value, '\"worker\":\"[0-9a-f]*\"', '\"worker\":\"other\"') \
        WHERE name = 'rotation' AND value LIKE '%\"running\"%' RETURNING value";
    let marked = f.sql(mark).await;
    assert!(marked[0].contains("\"worker\":\"other\""), "{marked:?}");
    // Each of its steps takes a few milliseconds.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let row = f.sql("SELECT value FROM meta WHERE name = 'rotation'").await;
    assert_eq!(row, marked);
    f.clock.advance(Duration::from_secs(121));
    other.resume_rotation().await.unwrap();
    let done = finished(&other).await;
    assert_eq!((done.state, done.error), (RotationState::Done, None));
    let old = "SELECT name FROM meta WHERE name LIKE 'master_key_old:%'";
    assert_eq!(f.sql(old).await.len(), 0);
    f.store.close().await;
    other.close().await;
}
