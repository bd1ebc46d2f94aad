//! Streams on the real log: nothing lost, nothing twice, nothing out of order, nothing unbounded.

mod elsewhere;

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use roost_domain::event::{Event, EventFilter, EventType, NewEvent};
use roost_domain::{EventId, InstanceId, TenantId, Timestamp};

use super::StreamError;
use super::ring::{Look, Ring};
use crate::Settings;
use crate::testing::{TestNode, eventually, quick};

fn event(seq: i64, kind: EventType) -> Arc<Event> {
    let instance = InstanceId::from_parts(1, 1);
    let new = NewEvent::code(kind.clone(), instance, "code", Timestamp::from_unix_ms(0));
    Arc::new(Event {
        id: EventId::from_parts(1, 1),
        kind,
        seq,
        timestamp: Timestamp::from_unix_ms(0),
        tenant_id: TenantId::from_parts(1, 1),
        instance_id: new.instance_id,
        chat: None,
        data: new.data,
    })
}

proptest! {
    /// Commits that overlap or leave gaps: what the ring gives is always the events that follow the
    /// cursor, without a gap, or nothing.
    #[test]
    fn a_ring_gives_what_follows_or_nothing(
        commits in prop::collection::vec((1_i64..60, 1_i64..8), 1..30),
        after in 0_i64..70,
        events_max in 1_usize..20,
        max in 1_usize..10,
    ) {
        let mut ring = Ring::default();
        for (first, count) in commits {
            let events: Vec<_> = (first..first + count).map(|seq| event(seq, EventType::InstanceQr)).collect();
            ring.append(&events, events_max, usize::MAX);
        }
        if let Look::Found(found, cursor) = ring.look(after, |_| true, max, 100) {
            let seqs: Vec<i64> = found.iter().map(|event| event.seq).collect();
            let expected: Vec<i64> = (after + 1..=cursor).collect();
            prop_assert_eq!(seqs, expected);
            prop_assert!(found.len() <= max.min(events_max) && !found.is_empty());
        }
        ring.clear();
        prop_assert_eq!(ring.bytes(), 0);
    }
}

#[test]
fn a_ring_is_bounded_by_size_too() {
    let mut ring = Ring::default();
    for seq in 1..1000 {
        ring.append(&[event(seq, EventType::InstanceQr)], 10_000, 4096);
        assert!(ring.bytes() <= 4096);
    }
    assert!(matches!(ring.look(998, |_| true, 10, 10), Look::Found(found, 999) if found.len() == 1));
}

async fn append(node: &TestNode, count: usize) {
    for _ in 0..count {
        node.create().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_see_every_event_once_and_in_order_wherever_they_begin() {
    // So small that every consumer falls out of memory and back into the log.
    let settings = Settings {
        ring_events_max: 4,
        ..quick()
    };
    let node = Arc::new(TestNode::start(settings).await);
    append(&node, 5).await;
    let mut consumers = Vec::new();
    for (after, max) in [(0, 1), (0, 100), (3, 2), (5, 7)] {
        let node = Arc::clone(&node);
        consumers.push(tokio::spawn(async move {
            let mut stream = node
                .streams
                .tail(node.tenant, after, EventFilter::default())
                .unwrap();
            let mut seqs = Vec::new();
            while seqs.last() != Some(&105) {
                seqs.extend(stream.next(max).await.unwrap().iter().map(|event| event.seq));
                tokio::task::yield_now().await;
            }
            assert_eq!(seqs, (after + 1..=105).collect::<Vec<_>>());
            assert_eq!(stream.cursor(), 105);
        }));
    }
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let node = Arc::clone(&node);
            tokio::spawn(async move { append(&node, 25).await })
        })
        .collect();
    for task in writers.into_iter().chain(consumers) {
        tokio::time::timeout(Duration::from_secs(20), task)
            .await
            .unwrap()
            .unwrap();
    }
    assert_eq!(
        (node.streams.subscriptions(), node.streams.buffered_bytes()),
        (0, 0)
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_passes_its_own_and_the_cursor_moves_over_the_rest() {
    let node = TestNode::start(quick()).await;
    let first = node.create().await;
    let second = node.create().await;
    let filter = EventFilter {
        instances: vec![second],
        ..EventFilter::default()
    };
    let mut stream = node.streams.tail(node.tenant, 0, filter).unwrap();
    let events = stream.next(10).await.unwrap();
    assert_eq!(
        events.iter().map(|event| event.instance_id).collect::<Vec<_>>(),
        [Some(second)]
    );
    stream.set_filter(EventFilter {
        types: vec![EventType::InstanceDeleted.into()],
        ..EventFilter::default()
    });
    node.instances().delete(node.tenant, first).await.unwrap();
    assert_eq!(stream.next(10).await.unwrap()[0].kind, EventType::InstanceDeleted);
    drop(stream);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_over_all_tenants_has_a_limit() {
    let settings = Settings {
        rings_bytes_max: 2000,
        ..quick()
    };
    let node = TestNode::start(settings).await;
    let mut stream = node.streams.tail(node.tenant, 0, EventFilter::default()).unwrap();
    append(&node, 20).await;
    // The last commit may be told of while it is answered.
    eventually("memory is within its limit", async || {
        (node.streams.buffered_bytes() <= 2000).then_some(())
    })
    .await;
    let mut seqs = Vec::new();
    while seqs.len() < 20 {
        seqs.extend(stream.next(3).await.unwrap().iter().map(|event| event.seq));
    }
    assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
    drop(stream);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_have_a_limit_and_end_with_the_node() {
    let node = TestNode::start(Settings {
        subscriptions_max: 1,
        ..quick()
    })
    .await;
    let mut stream = node.streams.tail(node.tenant, 0, EventFilter::default()).unwrap();
    let second = node.streams.tail(node.tenant, 0, EventFilter::default());
    assert_eq!(second.err(), Some(StreamError::TooMany));
    let waiting = tokio::spawn(async move { stream.next(1).await.err() });
    node.stop().await;
    assert_eq!(waiting.await.unwrap(), Some(StreamError::Closed));
    let late = node.streams.tail(node.tenant, 0, EventFilter::default());
    assert_eq!(late.err(), Some(StreamError::Closed));
}
