//! Tenants' own events, and places in the log.

use std::time::Duration;

use roost_domain::store::{Instances, Node, Outcome, Stamp, StoreError, Webhooks};
use roost_domain::{EventId, TenantId};

use crate::fixture::{Fixture, chat};
use crate::webhook::{new_event, publish, publish_new};

crate::on_both!(
    an_own_event_is_appended_as_it_is,
    concurrent_publishes_leave_no_gaps,
    a_repeated_publish_is_one_event,
    an_event_about_another_tenants_instance_is_refused,
    events_are_found_by_their_places,
    places_are_found_by_the_ids_of_events,
    a_range_of_time_is_a_range_of_the_log,
    a_range_begins_after_what_retention_took,
    a_clock_that_steps_back_does_not_turn_the_log_round,
);

async fn an_own_event_is_appended_as_it_is(f: Fixture) {
    let owner = f.owner().await;
    let new = new_event("custom.order.paid", Some(owner.instance), Some(chat(1).id));
    let event = publish_new(&f, owner.tenant, new.clone()).await;
    assert_eq!((event.seq, event.timestamp), (2, f.now()));
    assert_eq!((&event.kind, &event.chat), (&new.kind, &new.chat));
    assert_eq!(event.instance_id, Some(owner.instance));
    let log = f.log(owner.tenant).await;
    assert_eq!(
        serde_json::to_string(&*log[1]).unwrap(),
        serde_json::to_string(&*event).unwrap()
    );
    assert_eq!(log[1].data.get(), new.data.get());
    assert_eq!(f.told.0.lock().unwrap().last().unwrap().1.id, event.id);
    let nobody = TenantId::from_parts(1, 1);
    let refused = f
        .store
        .publish(nobody, new_event("custom.a", None, None), Stamp::default());
    assert_eq!(refused.await.err(), Some(StoreError::NotFound));
}

async fn concurrent_publishes_leave_no_gaps(f: Fixture) {
    let tenants = [f.tenant().await, f.tenant().await];
    let mut writers = Vec::new();
    for n in 0..32 {
        let (store, tenant) = (f.store.clone(), tenants[n % 2]);
        writers.push(tokio::spawn(async move {
            let mut last = 0;
            for _ in 0..20 {
                let event = new_event("custom.a", None, None);
                let Ok(Outcome::Done(event)) = store.publish(tenant, event, Stamp::default()).await else {
                    panic!("not published")
                };
                assert!(event.seq > last);
                last = event.seq;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for tenant in tenants {
        assert_eq!(f.log(tenant).await.len(), 320);
    }
}

async fn a_repeated_publish_is_one_event(f: Fixture) {
    let owner = f.owner().await;
    let publish = async |key: &str, fingerprint| {
        let new = new_event("custom.a", Some(owner.instance), None);
        let stamp = f.stamp(key, fingerprint);
        f.store.publish(owner.tenant, new, stamp).await
    };
    let Ok(Outcome::Done(first)) = publish("k", 1).await else {
        panic!("not published")
    };
    let replayed = |outcome| match outcome {
        Ok(Outcome::Replayed(replay)) => replay.body,
        other => panic!("{other:?}"),
    };
    let expected = serde_json::to_string(&*first).unwrap();
    assert_eq!(replayed(publish("k", 1).await), expected);
    assert_eq!(
        publish("k", 2).await.err(),
        Some(StoreError::IdempotencyKeyReused)
    );
    // Of calls at the same time one is carried out.
    let same = (0..8).map(|_| publish("l", 1));
    let outcomes = futures::future::join_all(same).await;
    let done = outcomes.iter().filter(|one| matches!(one, Ok(Outcome::Done(_))));
    assert_eq!(done.count(), 1);
    assert_eq!(f.log(owner.tenant).await.len(), 3);
    f.store.delete_instance(owner, f.now()).await.unwrap();
    assert_eq!(
        replayed(publish("k", 1).await),
        expected,
        "what was published stays so"
    );
    assert_eq!(publish("m", 1).await.err(), Some(StoreError::NotFound));
    let elsewhere = f.tenant().await;
    let other = new_event("custom.a", None, None);
    let other = f.store.publish(elsewhere, other, f.stamp("k", 3)).await;
    assert!(matches!(other, Ok(Outcome::Done(_))), "a key is its tenant's");
}

async fn an_event_about_another_tenants_instance_is_refused(f: Fixture) {
    let (owner, tenant) = (f.owner().await, f.tenant().await);
    let about = new_event("custom.a", Some(owner.instance), None);
    let refused = f.store.publish(tenant, about, f.stamp("k", 1)).await;
    assert_eq!(refused.err(), Some(StoreError::NotFound));
    assert!(f.log(tenant).await.is_empty());
    assert_eq!(f.log(owner.tenant).await.len(), 1);
}

async fn events_are_found_by_their_places(f: Fixture) {
    let (tenant, other) = (f.tenant().await, f.tenant().await);
    for n in 0..3 {
        publish(&f, tenant, n).await;
        publish(&f, other, n).await;
    }
    publish(&f, other, 9).await;
    let found = async |seqs: &[i64]| -> Vec<i64> {
        let events = f.store.events_at(tenant, seqs).await.unwrap();
        assert!(events.iter().all(|event| event.tenant_id == tenant));
        events.iter().map(|event| event.seq).collect()
    };
    assert_eq!(found(&[3, 1, 4, 99, -1]).await, [1, 3]);
    assert_eq!(found(&[]).await, [0; 0]);
    let many: Vec<i64> = (1..2000).collect();
    assert_eq!(found(&many).await, [1, 2, 3]);
}

async fn places_are_found_by_the_ids_of_events(f: Fixture) {
    let (tenant, other) = (f.tenant().await, f.tenant().await);
    let first = publish(&f, tenant, 1).await;
    let theirs = publish(&f, other, 1).await;
    let last = publish(&f, tenant, 1).await;
    let found = async |ids: &[EventId]| f.store.event_seqs(tenant, ids).await.unwrap();
    let unknown = EventId::from_parts(1, 1);
    assert_eq!(
        found(&[last.id, theirs.id, unknown, first.id]).await,
        [first.seq, last.seq]
    );
    assert_eq!(found(&[theirs.id]).await, [0; 0]);
    assert_eq!(found(&[]).await, [0; 0]);
}

async fn a_range_of_time_is_a_range_of_the_log(f: Fixture) {
    let (tenant, other) = (f.tenant().await, f.tenant().await);
    let begin = f.now();
    let at = |seconds| begin.plus(Duration::from_secs(seconds));
    let range = async |from, to| f.store.event_range(tenant, at(from), at(to)).await.unwrap();
    assert_eq!(range(0, 99).await, None, "an empty log");
    f.clock.advance(Duration::from_secs(10));
    // Two at each of 10 s, 20 s … 50 s.
    for _ in 0..5 {
        publish(&f, tenant, 1).await;
        publish(&f, other, 1).await;
        publish(&f, tenant, 2).await;
        f.clock.advance(Duration::from_secs(10));
    }
    assert_eq!(range(0, 99).await, Some((1, 10)));
    assert_eq!(
        range(0, 10).await,
        None,
        "before the log, whose begin is left out"
    );
    assert_eq!(range(51, 99).await, None, "after the log");
    assert_eq!(range(10, 11).await, Some((1, 2)));
    assert_eq!(
        range(20, 40).await,
        Some((3, 6)),
        "the begin is in it, the end is not"
    );
    assert_eq!(range(21, 39).await, Some((5, 6)));
    assert_eq!(range(21, 30).await, None, "between events");
    assert_eq!(range(50, 51).await, Some((9, 10)));
    assert_eq!(range(30, 30).await, None);
    assert_eq!(range(40, 20).await, None, "the wrong way round");
    let nobody = f
        .store
        .event_range(TenantId::from_parts(1, 1), at(0), at(99))
        .await;
    assert_eq!(nobody, Ok(None));
}

async fn a_range_begins_after_what_retention_took(f: Fixture) {
    let tenant = f.tenant().await;
    let begin = f.now();
    for _ in 0..4 {
        publish(&f, tenant, 1).await;
        f.clock.advance(Duration::from_secs(10));
    }
    let range = async |seconds| {
        let to = begin.plus(Duration::from_secs(seconds));
        f.store.event_range(tenant, begin, to).await.unwrap()
    };
    f.store.sweep(f.now(), Duration::from_secs(20)).await.unwrap();
    assert_eq!(range(99).await, Some((3, 4)));
    assert_eq!(range(20).await, None);
    f.clock.advance(Duration::from_secs(99));
    f.store.sweep(f.now(), Duration::from_secs(20)).await.unwrap();
    assert_eq!(range(999).await, None);
    assert_eq!(publish(&f, tenant, 1).await.seq, 5, "a place is not given twice");
}

async fn a_clock_that_steps_back_does_not_turn_the_log_round(f: Fixture) {
    let tenant = f.tenant().await;
    let (begin, minute) = (f.now(), Duration::from_secs(60));
    let before = publish(&f, tenant, 1).await;
    f.clock.step_back(minute);
    let after = publish(&f, tenant, 2).await;
    assert!(after.timestamp >= before.timestamp && after.id > before.id);
    let range = f.store.event_range(tenant, begin, begin.plus(minute)).await;
    assert_eq!(range, Ok(Some((1, 2))));
    // What is kept by its id is kept by its time too.
    f.clock.advance(minute * 2);
    f.store.sweep(f.now(), minute).await.unwrap();
    let left = f.store.events_at(tenant, &[1, 2]).await.unwrap();
    assert_eq!(left.len(), 2);
}
