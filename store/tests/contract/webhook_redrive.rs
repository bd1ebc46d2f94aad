//! Deliveries that begin anew.

use std::time::Duration;

use roost_domain::store::{Node, Webhooks};
use roost_domain::webhook::store::Parked;
use roost_domain::webhook::{DeadReason, DeliveryId, DeliveryStatus};

use crate::fixture::{Fixture, chat};
use crate::webhook::{attempt, change, hooked, new_event, new_webhook, publish, publish_new, put, settle};

crate::on_both!(
    deliveries_of_every_status_begin_anew,
    what_never_had_a_row_gets_one,
    events_that_are_gone_or_another_tenants_are_passed_over,
);

async fn deliveries_of_every_status_begin_anew(f: Fixture) {
    let owner = hooked(&f).await;
    let mut rows = Vec::new();
    for status in DeliveryStatus::ALL {
        let mut row = change(&publish(&f, owner.tenant, 1).await, *status);
        row.round = 9;
        row.dead_reason = (*status == DeliveryStatus::Dead).then_some(DeadReason::AttemptsExhausted);
        row.attempts = vec![attempt(&f, 1, None), attempt(&f, 2, Some(500))];
        rows.push(row);
    }
    let seqs: Vec<i64> = rows.iter().map(|row| row.event.seq).collect();
    settle(&f, owner, rows).await;
    f.clock.advance(Duration::from_secs(60));
    let expected: Vec<_> = seqs
        .iter()
        .map(|seq| Parked {
            seq: *seq,
            order_key: chat(1).id.to_string(),
            attempts: 2,
            round: 0,
            next_attempt_at: Some(f.now()),
        })
        .collect();
    let asked = seqs.iter().rev().chain(&seqs).copied().collect();
    let begun = f.store.redrive(owner, asked, f.now()).await.unwrap();
    assert_eq!(begun, expected, "once each, in the order of the log");
    assert_eq!(f.store.parked(owner, 0, 9).await.unwrap(), expected);
    for seq in seqs {
        let id = DeliveryId {
            webhook: owner.webhook,
            seq,
        };
        let found = f.store.delivery(owner.tenant, id).await.unwrap();
        assert_eq!((found.delivery.dead_reason, found.attempts.len()), (None, 2));
        assert_eq!(found.delivery.updated_at, f.now());
    }
    assert_eq!(f.store.redrive(owner, vec![], f.now()).await.unwrap(), []);
}

async fn what_never_had_a_row_gets_one(f: Fixture) {
    let instance = f.owner().await;
    let owner = put(&f, new_webhook(&f, instance.tenant)).await;
    let about = instance.instance;
    let mut expected = Vec::new();
    for (event, order_key) in [
        (
            new_event("custom.a", Some(about), Some(chat(1).id)),
            chat(1).id.to_string(),
        ),
        (new_event("custom.a", Some(about), None), about.to_string()),
        (new_event("custom.a", None, None), String::new()),
    ] {
        expected.push(Parked {
            seq: publish_new(&f, owner.tenant, event).await.seq,
            order_key,
            attempts: 0,
            round: 0,
            next_attempt_at: Some(f.now()),
        });
    }
    let seqs = expected.iter().map(|parked| parked.seq).collect();
    assert_eq!(f.store.redrive(owner, seqs, f.now()).await.unwrap(), expected);
    let id = DeliveryId {
        webhook: owner.webhook,
        seq: expected[0].seq,
    };
    let made = f.store.delivery(owner.tenant, id).await.unwrap();
    assert_eq!(made.attempts, []);
    assert_eq!(made.event.unwrap().id, made.delivery.event_id);
    assert_eq!(
        (made.delivery.instance_id, made.delivery.chat),
        (Some(about), Some(chat(1).id))
    );
    assert_eq!((made.delivery.created_at, made.delivery.attempts), (f.now(), 0));
}

async fn events_that_are_gone_or_another_tenants_are_passed_over(f: Fixture) {
    let owner = hooked(&f).await;
    let stranger = hooked(&f).await;
    let old = publish(&f, owner.tenant, 1).await;
    settle(&f, owner, vec![change(&old, DeliveryStatus::Pending)]).await;
    f.clock.advance(Duration::from_secs(100));
    for n in 0..3 {
        publish(&f, stranger.tenant, n).await;
    }
    let new = publish(&f, owner.tenant, 1).await;
    f.store.sweep(f.now(), Duration::from_secs(50)).await.unwrap();
    let asked = vec![-1, 0, 1, old.seq, new.seq, new.seq + 1, i64::MAX];
    let begun = f.store.redrive(owner, asked, f.now()).await.unwrap();
    let seqs: Vec<_> = begun.iter().map(|parked| parked.seq).collect();
    assert_eq!(seqs, [new.seq]);
    let id = DeliveryId {
        webhook: owner.webhook,
        seq: old.seq,
    };
    let left = f.store.delivery(owner.tenant, id).await.unwrap();
    assert_eq!(left.delivery.dead_reason, Some(DeadReason::Expired));
    assert!(left.event.is_none());
}
