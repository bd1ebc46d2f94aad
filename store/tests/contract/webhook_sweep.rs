//! The end of retention, for webhooks.

use std::time::Duration;

use roost_domain::page::PageRequest;
use roost_domain::store::{Node, Stamp, Webhooks};
use roost_domain::webhook::store::{DeliveryFilter, Settlement};
use roost_domain::webhook::{DeadReason, Delivery, DeliveryStatus, Webhook, WebhookOwner, WebhookState};

use crate::fixture::{Fixture, chat};
use crate::webhook::{change, hooked, new_event, new_webhook, publish, publish_new, put, settle};

crate::on_both!(
    delivered_rows_go_before_dead_ones,
    the_retention_of_events_is_the_longest_for_deliveries,
    what_waits_for_an_event_that_goes_is_dead,
    events_that_a_paused_webhook_had_not_got_are_dead_letters,
    events_that_a_webhook_got_or_does_not_want_are_not,
    a_lagging_webhook_does_not_slow_the_sweep_down,
);

const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 24 * 3600)
}

async fn rows(f: &Fixture, owner: WebhookOwner) -> Vec<Delivery> {
    let (all, page) = (DeliveryFilter::default(), PageRequest::new(None, 500));
    let page = f.store.deliveries(owner.tenant, owner.webhook, &all, page).await;
    page.unwrap().rows
}

async fn statuses(f: &Fixture, owner: WebhookOwner) -> Vec<DeliveryStatus> {
    rows(f, owner).await.iter().map(|row| row.status).collect()
}

async fn delivered_rows_go_before_dead_ones(f: Fixture) {
    let owner = hooked(&f).await;
    for status in [
        DeliveryStatus::Delivered,
        DeliveryStatus::Dead,
        DeliveryStatus::Pending,
    ] {
        let event = publish(&f, owner.tenant, 1).await;
        settle(&f, owner, vec![change(&event, status)]).await;
    }
    let past = Settlement {
        cursor: Some(99),
        ..Settlement::default()
    };
    f.store.settle(owner, past).await.unwrap();
    let sweep = async || f.store.sweep(f.now(), days(30)).await.unwrap();
    f.clock.advance(days(7));
    assert_eq!(sweep().await, 0);
    f.clock.advance(Duration::from_millis(1));
    assert_eq!(sweep().await, 1, "the default is seven days");
    use DeliveryStatus::{Dead, Pending};
    assert_eq!(statuses(&f, owner).await, [Pending, Dead]);
    f.clock.advance(days(23));
    // Four events and the dead letter; what waited dies, and has its own time from then on.
    assert_eq!(sweep().await, 5);
    assert_eq!(statuses(&f, owner).await, [Dead]);
    f.clock.advance(days(30) + Duration::from_millis(1));
    assert_eq!(sweep().await, 1);
    assert!(rows(&f, owner).await.is_empty());
}

async fn the_retention_of_events_is_the_longest_for_deliveries(mut f: Fixture) {
    let owner = hooked(&f).await;
    for retention in [days(60), days(1)] {
        f.config.delivery_retention = retention;
        f.reopen().await;
        let event = publish(&f, owner.tenant, 1).await;
        settle(&f, owner, vec![change(&event, DeliveryStatus::Delivered)]).await;
        let kept_for = retention.min(days(30));
        f.clock.advance(kept_for);
        f.store.sweep(f.now(), days(30)).await.unwrap();
        assert!(statuses(&f, owner).await.contains(&DeliveryStatus::Delivered));
        f.clock.advance(Duration::from_millis(1));
        f.store.sweep(f.now(), days(30)).await.unwrap();
        assert!(!statuses(&f, owner).await.contains(&DeliveryStatus::Delivered));
    }
}

async fn what_waits_for_an_event_that_goes_is_dead(f: Fixture) {
    let owner = hooked(&f).await;
    let old = publish(&f, owner.tenant, 1).await;
    f.clock.advance(Duration::from_secs(60));
    let new = publish(&f, owner.tenant, 1).await;
    let mut parked = [&old, &new].map(|event| change(event, DeliveryStatus::Pending));
    parked[0].next_attempt_at = Some(f.now());
    settle(&f, owner, parked.to_vec()).await;
    f.clock.advance(Duration::from_secs(1));
    f.store.sweep(f.now(), Duration::from_secs(30)).await.unwrap();
    let rows = rows(&f, owner).await;
    assert_eq!(
        (rows[0].status, rows[0].id.seq),
        (DeliveryStatus::Pending, new.seq)
    );
    assert_eq!(
        (rows[1].status, rows[1].dead_reason),
        (DeliveryStatus::Dead, Some(DeadReason::Expired))
    );
    assert_eq!((rows[1].next_attempt_at, rows[1].updated_at), (None, f.now()));
    let waiting = f.store.parked(owner, 0, 9).await.unwrap();
    assert_eq!(
        waiting.iter().map(|parked| parked.seq).collect::<Vec<_>>(),
        [new.seq]
    );
}

async fn events_that_a_paused_webhook_had_not_got_are_dead_letters(f: Fixture) {
    let instance = f.owner().await;
    let tenant = instance.tenant;
    let about = instance.instance;
    let mut only_ours = new_webhook(&f, tenant);
    only_ours.filter.instances = vec![about];
    only_ours.filter.chats = vec![chat(1).id];
    let only_ours = put(&f, only_ours).await;
    let paused = Webhook {
        state: WebhookState::Paused,
        ..new_webhook(&f, tenant)
    };
    let paused = put(&f, paused).await;
    let stranger = hooked(&f).await;
    let mut events = Vec::new();
    for (about, n) in [(Some(about), 1), (Some(about), 2), (None, 1), (Some(about), 1)] {
        let event = new_event("custom.a", about, Some(chat(n).id));
        events.push(publish_new(&f, tenant, event).await);
    }
    f.clock.advance(Duration::from_secs(60));
    let kept = publish(&f, tenant, 1).await;
    f.store.sweep(f.now(), Duration::from_secs(30)).await.unwrap();
    let dead = rows(&f, paused).await;
    let found: Vec<_> = dead.iter().rev().map(|row| row.id.seq).collect();
    let all: Vec<_> = events.iter().map(|event| event.seq).collect();
    assert_eq!(found, all, "not {}, which is still there", kept.seq);
    for (row, event) in dead.iter().rev().zip(&events) {
        assert_eq!(row.dead_reason, Some(DeadReason::Expired));
        assert_eq!((row.status, row.attempts), (DeliveryStatus::Dead, 0));
        assert_eq!((row.event_id, &row.event_type), (event.id, &event.kind));
        assert_eq!((row.instance_id, &row.chat), (event.instance_id, &event.chat));
        assert_eq!(row.updated_at, f.now());
    }
    let found: Vec<_> = rows(&f, only_ours).await.iter().map(|row| row.id.seq).collect();
    assert_eq!(found, [all[3], all[0]]);
    assert!(rows(&f, stranger).await.is_empty());
    assert_eq!(f.store.dead_letters(paused, 0, i64::MAX, 99).await.unwrap(), all);
}

async fn events_that_a_webhook_got_or_does_not_want_are_not(f: Fixture) {
    let owner = hooked(&f).await;
    let mut unwanted = new_webhook(&f, owner.tenant);
    unwanted.filter.events = vec!["message.*".parse().unwrap()];
    let unwanted = put(&f, unwanted).await;
    let mut events = Vec::new();
    for n in 0..4 {
        events.push(publish(&f, owner.tenant, n).await);
    }
    // Past the first two, and the third was taken before the cursor could go on.
    let past = Settlement {
        cursor: Some(events[1].seq),
        deliveries: vec![change(&events[2], DeliveryStatus::Delivered)],
        ..Settlement::default()
    };
    f.store.settle(owner, past).await.unwrap();
    f.clock.advance(Duration::from_secs(60));
    let swept = f.store.sweep(f.now(), Duration::from_secs(60)).await.unwrap();
    assert_eq!(swept, 0, "exactly as old as is kept");
    f.clock.advance(Duration::from_millis(1));
    // Two of the webhooks, four own ones, and the delivered row, whose time is cut to that of events.
    assert_eq!(f.store.sweep(f.now(), Duration::from_secs(60)).await.unwrap(), 7);
    let dead = rows(&f, owner).await;
    let found: Vec<_> = dead.iter().map(|row| (row.id.seq, row.status)).collect();
    assert_eq!(found, [(events[3].seq, DeliveryStatus::Dead)]);
    assert!(rows(&f, unwanted).await.is_empty());
}

async fn a_lagging_webhook_does_not_slow_the_sweep_down(f: Fixture) {
    let owner = hooked(&f).await;
    let tenant = f.tenant().await;
    publish(&f, owner.tenant, 1).await;
    for _ in 0..3 {
        let publishes = (0..1000).map(|_| {
            f.store
                .publish(tenant, new_event("custom.a", None, None), Stamp::default())
        });
        for published in futures::future::join_all(publishes).await {
            published.unwrap();
        }
    }
    let publishes = (0..2500).map(|_| {
        f.store
            .publish(owner.tenant, new_event("custom.a", None, None), Stamp::default())
    });
    for published in futures::future::join_all(publishes).await {
        published.unwrap();
    }
    f.clock.advance(Duration::from_secs(60));
    assert_eq!(
        f.store.sweep(f.now(), Duration::from_secs(30)).await.unwrap(),
        2 + 3000 + 2500
    );
    let dead = f
        .store
        .delivery_counts(owner.tenant, owner.webhook)
        .await
        .unwrap();
    assert_eq!(dead.dead, 2501);
}
