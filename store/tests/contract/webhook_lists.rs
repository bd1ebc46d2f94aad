//! Lists of deliveries.

use std::sync::Arc;
use std::time::Duration;

use roost_domain::event::{Event, EventType};
use roost_domain::page::PageRequest;
use roost_domain::store::{Outcome, Stamp, StoreError, Webhooks};
use roost_domain::webhook::store::{DeliveryCounts, DeliveryFilter, Parked};
use roost_domain::webhook::{DeliveryId, DeliveryStatus, WebhookOwner};

use crate::fixture::{Fixture, chat};
use crate::webhook::{change, hooked, new_event, new_webhook, publish, publish_new, put, settle};

crate::on_both!(
    what_waits_is_listed_in_the_order_of_the_log,
    deliveries_are_listed_newest_first_by_each_filter,
    a_list_looks_at_a_bounded_number_of_rows_at_a_time,
    rows_are_counted,
    dead_letters_are_found_in_a_range,
    a_delivery_without_a_row_is_not_found,
);

async fn what_waits_is_listed_in_the_order_of_the_log(f: Fixture) {
    let owner = hooked(&f).await;
    let due = f.now().plus(Duration::from_secs(5));
    let mut rows = Vec::new();
    for n in 0..6 {
        let event = publish(&f, owner.tenant, n % 2).await;
        let status = [DeliveryStatus::Pending, DeliveryStatus::Delivered][usize::from(n == 3)];
        let mut row = change(&event, status);
        row.round = n as u32;
        row.next_attempt_at = (n < 2).then_some(due);
        rows.push(row);
    }
    let expected: Vec<_> = rows
        .iter()
        .filter(|row| row.status == DeliveryStatus::Pending)
        .map(|row| Parked {
            seq: row.event.seq,
            order_key: row.order_key.clone(),
            attempts: 0,
            round: row.round,
            next_attempt_at: row.next_attempt_at,
        })
        .collect();
    rows.reverse();
    settle(&f, owner, rows).await;
    let other = put(&f, new_webhook(&f, owner.tenant)).await;
    assert_eq!(f.store.parked(other, 0, 9).await.unwrap(), []);
    let first = f.store.parked(owner, 0, 3).await.unwrap();
    assert_eq!(first, expected[..3]);
    let rest = f.store.parked(owner, first[2].seq, 100).await.unwrap();
    assert_eq!(rest, expected[3..]);
}

/// Places in the log of every page's rows, one page after the other.
async fn listed(f: &Fixture, owner: WebhookOwner, filter: &DeliveryFilter, limit: u32) -> Vec<i64> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = PageRequest::new(after, limit);
        let page = f
            .store
            .deliveries(owner.tenant, owner.webhook, filter, page)
            .await
            .unwrap();
        assert!(page.rows.len() <= limit as usize);
        found.extend(page.rows.iter().map(|delivery| delivery.id.seq));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

async fn deliveries_are_listed_newest_first_by_each_filter(f: Fixture) {
    let instance = f.owner().await;
    let owner = put(&f, new_webhook(&f, instance.tenant)).await;
    let begin = f.now();
    let mut events = Vec::new();
    for n in 0..9 {
        let about = (n % 3 == 0).then_some(instance.instance);
        let kind = ["custom.a", "custom.a.b"][usize::from(n >= 4)];
        let event = new_event(kind, about, Some(chat(n % 2).id));
        events.push(publish_new(&f, owner.tenant, event).await);
        f.clock.advance(Duration::from_secs(1));
    }
    let statuses = DeliveryStatus::ALL.iter().cycle();
    let rows = events
        .iter()
        .zip(statuses)
        .map(|(event, status)| change(event, *status));
    settle(&f, owner, rows.collect()).await;
    let all = DeliveryFilter::default();
    let seqs = |wanted: &dyn Fn(u64) -> bool| -> Vec<i64> {
        let events = events.iter().enumerate().rev();
        events
            .filter(|(n, _)| wanted(*n as u64))
            .map(|(_, event)| event.seq)
            .collect()
    };
    let of = |status| DeliveryFilter {
        status: Some(status),
        ..all.clone()
    };
    let kind = DeliveryFilter {
        event_type: EventType::from_name("custom.a.b"),
        ..all.clone()
    };
    let instance = DeliveryFilter {
        instance: Some(instance.instance),
        ..all.clone()
    };
    let about = DeliveryFilter {
        chat: Some(chat(1).id),
        ..all.clone()
    };
    let at = |seconds| Some(begin.plus(Duration::from_secs(seconds)));
    let time = DeliveryFilter {
        since: at(2),
        until: at(5),
        ..all.clone()
    };
    let together = DeliveryFilter {
        chat: about.chat.clone(),
        until: at(6),
        ..of(DeliveryStatus::Dead)
    };
    for limit in [1, 2, 3, 500] {
        let found = async |filter: &DeliveryFilter| listed(&f, owner, filter, limit).await;
        assert_eq!(found(&all).await, seqs(&|_| true));
        assert_eq!(found(&of(DeliveryStatus::Pending)).await, seqs(&|n| n % 3 == 0));
        assert_eq!(found(&of(DeliveryStatus::Delivered)).await, seqs(&|n| n % 3 == 1));
        assert_eq!(found(&of(DeliveryStatus::Dead)).await, seqs(&|n| n % 3 == 2));
        assert_eq!(found(&kind).await, seqs(&|n| n >= 4));
        assert_eq!(found(&instance).await, seqs(&|n| n % 3 == 0));
        assert_eq!(found(&about).await, seqs(&|n| n % 2 == 1));
        assert_eq!(found(&time).await, seqs(&|n| (2..5).contains(&n)));
        assert_eq!(found(&together).await, seqs(&|n| n == 5));
    }
    let other = put(&f, new_webhook(&f, owner.tenant)).await;
    assert!(listed(&f, other, &all, 5).await.is_empty());
}

/// Many events, each with a row of this status.
async fn many(f: &Fixture, owner: WebhookOwner, count: usize, status: DeliveryStatus) -> Vec<Arc<Event>> {
    let mut events = Vec::with_capacity(count);
    while events.len() < count {
        let part = (count - events.len()).min(2000);
        let publishes = (0..part).map(|_| {
            f.store
                .publish(owner.tenant, new_event("custom.a", None, None), Stamp::default())
        });
        let mut rows = Vec::with_capacity(part);
        for published in futures::future::join_all(publishes).await {
            let Ok(Outcome::Done(event)) = published else {
                panic!("{published:?}")
            };
            rows.push(change(&event, status));
            events.push(event);
        }
        settle(f, owner, rows).await;
    }
    events
}

async fn a_list_looks_at_a_bounded_number_of_rows_at_a_time(f: Fixture) {
    let owner = hooked(&f).await;
    let oldest = publish(&f, owner.tenant, 1).await;
    settle(&f, owner, vec![change(&oldest, DeliveryStatus::Dead)]).await;
    f.clock.advance(std::time::Duration::from_secs(1));
    many(&f, owner, 10_000, DeliveryStatus::Delivered).await;
    let about = DeliveryFilter {
        chat: oldest.chat.clone(),
        ..DeliveryFilter::default()
    };
    let page = PageRequest::new(None, 5);
    let empty = f
        .store
        .deliveries(owner.tenant, owner.webhook, &about, page)
        .await
        .unwrap();
    assert_eq!((empty.rows.len(), empty.next), (0, Some(oldest.seq + 1)));
    assert_eq!(listed(&f, owner, &about, 5).await, [oldest.seq]);
    // A time is found without looking at what lies after it.
    let early = DeliveryFilter {
        until: Some(oldest.timestamp.plus(std::time::Duration::from_millis(1))),
        ..about.clone()
    };
    let page = PageRequest::new(None, 5);
    let found = f
        .store
        .deliveries(owner.tenant, owner.webhook, &early, page)
        .await
        .unwrap();
    assert_eq!((found.rows.len(), found.next), (1, None));
    // The delivered ones are not among those that a list of dead letters looks at.
    let dead = DeliveryFilter {
        status: Some(DeliveryStatus::Dead),
        ..about
    };
    let page = PageRequest::new(None, 5);
    let found = f
        .store
        .deliveries(owner.tenant, owner.webhook, &dead, page)
        .await
        .unwrap();
    assert_eq!((found.rows.len(), found.next), (1, None));
    let counts = f
        .store
        .delivery_counts(owner.tenant, owner.webhook)
        .await
        .unwrap();
    assert_eq!((counts.pending, counts.dead), (0, 1));
}

async fn rows_are_counted(f: Fixture) {
    let owner = hooked(&f).await;
    let counts = async || {
        let counts = f.store.delivery_counts(owner.tenant, owner.webhook).await;
        counts.unwrap()
    };
    assert_eq!(counts().await, DeliveryCounts::default());
    let mut rows = Vec::new();
    let mut oldest = None;
    for n in 0..6 {
        let status = match n {
            0 => DeliveryStatus::Delivered,
            1 => DeliveryStatus::Dead,
            _ => DeliveryStatus::Pending,
        };
        f.clock.advance(Duration::from_secs(1));
        let event = publish(&f, owner.tenant, n).await;
        if n == 2 {
            oldest = Some(event.timestamp);
        }
        rows.push(change(&event, status));
    }
    settle(&f, owner, rows).await;
    let expected = DeliveryCounts {
        pending: 4,
        dead: 1,
        oldest_pending: oldest,
    };
    assert_eq!(counts().await, expected);
}

async fn dead_letters_are_found_in_a_range(f: Fixture) {
    let owner = hooked(&f).await;
    let mut dead = Vec::new();
    for n in 0..10 {
        let event = publish(&f, owner.tenant, n).await;
        let status = DeliveryStatus::ALL[(n % 3) as usize];
        settle(&f, owner, vec![change(&event, status)]).await;
        if status == DeliveryStatus::Dead {
            dead.push(event.seq);
        }
    }
    let found = async |from, to, limit| f.store.dead_letters(owner, from, to, limit).await.unwrap();
    assert_eq!(found(0, i64::MAX, 100).await, dead);
    assert_eq!(found(dead[0], dead[2], 100).await, dead);
    assert_eq!(found(dead[0] + 1, dead[2] - 1, 100).await, [dead[1]]);
    assert_eq!(found(0, i64::MAX, 2).await, dead[..2]);
    assert_eq!(found(dead[2] + 1, i64::MAX, 2).await, [0; 0]);
    assert_eq!(found(dead[2], dead[0], 2).await, [0; 0]);
}

async fn a_delivery_without_a_row_is_not_found(f: Fixture) {
    let owner = hooked(&f).await;
    let event = publish(&f, owner.tenant, 1).await;
    let id = DeliveryId {
        webhook: owner.webhook,
        seq: event.seq,
    };
    let found = f.store.delivery(owner.tenant, id).await;
    assert_eq!(found.err(), Some(StoreError::NotFound));
}
