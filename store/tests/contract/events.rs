use std::collections::HashMap;
use std::time::Duration;

use roost_domain::event::{EventFilter, EventType, NewEvent};
use roost_domain::store::{EventLog, Messages, Node, StoreError};
use roost_domain::{Owner, TenantId};

use crate::fixture::Fixture;

crate::on_both!(
    seqs_have_no_gaps_under_concurrent_writers_and_tenants,
    the_observer_is_told_in_order_and_without_gaps,
    what_others_have_written_is_not_later_than_what_is_written_then,
    a_read_goes_on_where_the_last_one_ended,
    a_read_ends_with_its_bytes_and_loses_nothing,
    a_filter_passes_over_what_it_does_not_want,
    a_sweep_removes_old_events_and_messages,
);

fn qr(owner: Owner, f: &Fixture, code: &str) -> NewEvent {
    NewEvent::code(EventType::InstanceQr, owner.instance, code, f.now())
}

async fn seqs_have_no_gaps_under_concurrent_writers_and_tenants(f: Fixture) {
    let tenants = [f.tenant().await, f.tenant().await, f.tenant().await];
    let mut writers = Vec::new();
    for n in 0..24 {
        let owner = f.instance(tenants[n % 3]).await;
        let (store, events) = (f.store.clone(), vec![qr(owner, &f, "a"), qr(owner, &f, "b")]);
        let inbound: Vec<_> = (0..10)
            .map(|m| f.inbound_text(&format!("{n}-{m}"), "x"))
            .collect();
        writers.push(tokio::spawn(async move {
            let mut last = 0;
            for one in inbound {
                let seq = store.append(owner, events.clone()).await.unwrap();
                assert!(seq > last, "seq goes up for its writer");
                last = seq;
                store.record_inbound(owner, vec![one]).await.unwrap();
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for tenant in tenants {
        // 8 instances: one event each when made, then 30.
        assert_eq!(f.log(tenant).await.len(), 8 * 31);
        assert_eq!(f.store.last_seq(tenant).await.unwrap(), 8 * 31);
    }
    let told = f.told.0.lock().unwrap().clone();
    assert_eq!(told.len(), 3 * 8 * 31);
}

async fn the_observer_is_told_in_order_and_without_gaps(f: Fixture) {
    let owners = [f.owner().await, f.owner().await];
    let writers = (0..60).map(|n| {
        let owner = owners[n % 2];
        let (store, event) = (f.store.clone(), qr(owner, &f, "a"));
        tokio::spawn(async move { store.append(owner, vec![event]).await.unwrap() })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let mut next: HashMap<TenantId, i64> = HashMap::new();
    for (tenant, event) in f.told.0.lock().unwrap().iter() {
        let expected = next.entry(*tenant).or_insert(1);
        assert_eq!((event.tenant_id, event.seq), (*tenant, *expected));
        *expected += 1;
    }
    for owner in owners {
        let log = f.log(owner.tenant).await;
        let told = f.told.0.lock().unwrap();
        let told: Vec<_> = told
            .iter()
            .filter(|(tenant, _)| *tenant == owner.tenant)
            .collect();
        for (stored, (_, told)) in log.iter().zip(told) {
            assert_eq!(
                serde_json::to_string(&**stored).unwrap(),
                serde_json::to_string(&**told).unwrap()
            );
        }
    }
}

async fn a_read_goes_on_where_the_last_one_ended(f: Fixture) {
    let owner = f.owner().await;
    f.store
        .append(owner, (0..9).map(|n| qr(owner, &f, &n.to_string())).collect())
        .await
        .unwrap();
    let all = EventFilter::default();
    let first = f.store.events(owner.tenant, 0, 4, &all).await.unwrap();
    assert_eq!((first.events.len(), first.scanned_to), (4, 4));
    let rest = f.store.events(owner.tenant, 4, 100, &all).await.unwrap();
    assert_eq!((rest.events.len(), rest.scanned_to), (6, 10));
    let none = f.store.events(owner.tenant, 10, 100, &all).await.unwrap();
    assert_eq!((none.events.len(), none.scanned_to), (0, 10));
    let ahead = f.store.events(owner.tenant, 99, 100, &all).await.unwrap();
    assert_eq!((ahead.events.len(), ahead.scanned_to), (0, 99));
}

async fn a_read_ends_with_its_bytes_and_loses_nothing(mut f: Fixture) {
    const BYTES_MAX: usize = 4096;
    f.config.page_bytes_max = BYTES_MAX;
    f.reopen().await;
    let owner = f.owner().await;
    let codes = (0..40_usize).map(|n| "x".repeat(n * 97 % 1500));
    let events = codes.map(|code| qr(owner, &f, &code)).collect();
    let last = f.store.append(owner, events).await.unwrap();
    let of_a_type = EventFilter {
        types: vec![EventType::InstanceQr.into()],
        ..EventFilter::default()
    };
    for (filter, expected) in [(EventFilter::default(), 41), (of_a_type, 40)] {
        let (mut seqs, mut after, mut reads) = (Vec::new(), 0, 0);
        while after < last {
            let batch = f.store.events(owner.tenant, after, 500, &filter).await.unwrap();
            let bytes: usize = batch.events.iter().map(|event| event.data.get().len()).sum();
            assert!(bytes < BYTES_MAX + 2000, "{bytes}");
            seqs.extend(batch.events.iter().map(|event| event.seq));
            after = batch.scanned_to;
            reads += 1;
        }
        assert!(seqs.is_sorted() && seqs.len() == expected, "{seqs:?}");
        assert!(reads > 3, "{reads}");
    }
}

async fn a_filter_passes_over_what_it_does_not_want(f: Fixture) {
    let tenant = f.tenant().await;
    let (one, two) = (f.instance(tenant).await, f.instance(tenant).await);
    for _ in 0..3 {
        f.store.append(one, vec![qr(one, &f, "a"); 900]).await.unwrap();
        f.store.append(two, vec![qr(two, &f, "a")]).await.unwrap();
    }
    f.store
        .record_inbound(two, vec![f.inbound_text("A1", "x")])
        .await
        .unwrap();
    let read = async |filter: EventFilter| {
        let (mut found, mut after) = (Vec::new(), 0);
        while after < f.store.last_seq(tenant).await.unwrap() {
            let batch = f.store.events(tenant, after, 2, &filter).await.unwrap();
            assert!(batch.scanned_to > after && batch.events.iter().all(|event| filter.matches(event)));
            after = batch.scanned_to;
            found.extend(batch.events);
        }
        found.len()
    };
    let received = vec![EventType::MessageReceived.into()];
    assert_eq!(
        read(EventFilter {
            types: received.clone(),
            instances: vec![]
        })
        .await,
        1
    );
    assert_eq!(
        read(EventFilter {
            types: vec![],
            instances: vec![two.instance]
        })
        .await,
        5
    );
    assert_eq!(
        read(EventFilter {
            types: received.clone(),
            instances: vec![one.instance]
        })
        .await,
        0
    );
    assert_eq!(
        read(EventFilter {
            types: received.clone(),
            instances: vec![one.instance, two.instance]
        })
        .await,
        1
    );
    let family = |name: &str| vec![name.parse().unwrap()];
    for (types, count) in [
        (family("message.*"), 1),
        (family("custom.*"), 0),
        (family("instance.*"), 2705),
        ([family("message.*"), family("instance.created")].concat(), 3),
        ([family("*"), received].concat(), 2706),
    ] {
        let instances = vec![];
        assert_eq!(read(EventFilter { types, instances }).await, count);
    }
}

async fn a_sweep_removes_old_events_and_messages(f: Fixture) {
    let owner = f.owner().await;
    let kept = f.accept(owner, "still to be sent").await;
    f.store
        .record_inbound(owner, vec![f.inbound_text("OLD", "x")])
        .await
        .unwrap();
    f.clock.advance(Duration::from_secs(100));
    f.store
        .record_inbound(owner, vec![f.inbound_text("NEW", "x")])
        .await
        .unwrap();
    // The event of the instance, that of the old message, and the old message itself.
    assert_eq!(f.store.sweep(f.now(), Duration::from_secs(50)).await.unwrap(), 3);
    let by_id = async |id: &str| {
        f.store
            .message_by_whatsapp_id(owner.tenant, owner.instance, id)
            .await
            .unwrap()
    };
    assert!(by_id("OLD").await.is_none() && by_id("NEW").await.is_some());
    assert!(f.store.message(owner.tenant, kept.id).await.is_ok());
    let left = f
        .store
        .events(owner.tenant, 0, 10, &EventFilter::default())
        .await
        .unwrap();
    assert_eq!(left.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [3]);
    assert_eq!(f.store.append(owner, vec![qr(owner, &f, "a")]).await.unwrap(), 4);
    assert!(matches!(
        f.store.last_seq(TenantId::from_parts(1, 1)).await,
        Err(StoreError::NotFound)
    ));
}

/// As by a node whose clock is ahead.
async fn what_others_have_written_is_not_later_than_what_is_written_then(f: Fixture) {
    let owner = f.owner().await;
    let ahead = f.now().plus(Duration::from_secs(20));
    f.store.not_before(ahead);
    f.store.append(owner, vec![qr(owner, &f, "a")]).await.unwrap();
    assert_eq!(f.log(owner.tenant).await[1].timestamp, ahead);
    // A clock that is wrong is not followed.
    f.store.not_before(ahead.plus(Duration::from_secs(3600)));
    f.store.append(owner, vec![qr(owner, &f, "b")]).await.unwrap();
    assert_eq!(f.log(owner.tenant).await[2].timestamp, ahead);
}
