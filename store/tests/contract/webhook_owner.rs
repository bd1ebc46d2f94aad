//! Who may write to a webhook: its tenant, and of its deliverers the one with the latest epoch.

use roost_domain::Epoch;
use roost_domain::page::PageRequest;
use roost_domain::store::{Outcome, Stamp, StoreError, Webhooks};
use roost_domain::webhook::store::{DeliveryFilter, Replay, ReplayScope, Settlement, WebhookPatch};
use roost_domain::webhook::{DeliveryId, DeliveryStatus, WebhookOwner};

use crate::fixture::Fixture;
use crate::webhook::{change, hooked, new_event, new_webhook, publish, put, secret, settle};

crate::on_both!(
    a_later_epoch_fences_the_one_before,
    another_tenants_webhook_is_not_found,
    a_deleted_webhook_leaves_nothing,
    deleting_one_webhook_leaves_the_others,
    replays_are_numbered_and_bounded,
);

async fn a_later_epoch_fences_the_one_before(f: Fixture) {
    let early = hooked(&f).await;
    let event = publish(&f, early.tenant, 1).await;
    let late = WebhookOwner {
        epoch: Epoch(2),
        ..early
    };
    settle(&f, early, vec![change(&event, DeliveryStatus::Pending)]).await;
    f.store.activate_webhook(late).await.unwrap();
    let settlement = Settlement {
        cursor: Some(9),
        deliveries: vec![change(&event, DeliveryStatus::Delivered)],
        ..Settlement::default()
    };
    let rare = Settlement {
        disabled: Some("late".to_owned()),
        expired: vec![event.seq],
        ..settlement.clone()
    };
    let fenced = StoreError::Fenced;
    for settlement in [settlement, rare] {
        assert_eq!(f.store.settle(early, settlement).await, Err(fenced.clone()));
    }
    assert_eq!(f.store.parked(early, 0, 9).await, Err(fenced.clone()));
    assert_eq!(f.store.dead_letters(early, 0, 9, 9).await, Err(fenced.clone()));
    assert_eq!(
        f.store.redrive(early, vec![event.seq], f.now()).await,
        Err(fenced.clone())
    );
    let replay = f.store.add_replay(early, 1, 2, ReplayScope::Events).await;
    assert_eq!(replay, Err(fenced.clone()));
    assert_eq!(f.store.webhook_duty(early).await.err(), Some(fenced.clone()));
    assert_eq!(f.store.activate_webhook(early).await.err(), Some(fenced));
    let duty = f.store.webhook_duty(late).await.unwrap();
    assert_eq!((duty.cursor, duty.replays.len()), (1, 0));
    assert_eq!(f.store.parked(late, 0, 9).await.unwrap().len(), 1);
    assert_eq!(f.kinds(early.tenant).await, ["webhook.created", "custom.a"]);
}

async fn another_tenants_webhook_is_not_found(f: Fixture) {
    let owner = hooked(&f).await;
    let event = publish(&f, owner.tenant, 1).await;
    settle(&f, owner, vec![change(&event, DeliveryStatus::Pending)]).await;
    let thief = WebhookOwner {
        tenant: f.tenant().await,
        epoch: Epoch(9),
        ..owner
    };
    let (tenant, id) = (thief.tenant, thief.webhook);
    let before = f.store.webhook(owner.tenant, id).await.unwrap();
    let gone = Some(StoreError::NotFound);
    assert_eq!(f.store.webhook(tenant, id).await.err(), gone);
    assert_eq!(f.store.webhook_secrets(tenant, id).await.err(), gone);
    let patched = f
        .store
        .patch_webhook(tenant, id, WebhookPatch::default(), f.now());
    assert_eq!(patched.await.err(), gone);
    let rotated = f
        .store
        .rotate_webhook_secret(tenant, id, secret(9), f.now())
        .await;
    assert_eq!(rotated.err(), gone);
    assert_eq!(f.store.delete_webhook(tenant, id).await.err(), gone);
    assert_eq!(f.store.activate_webhook(thief).await.err(), gone);
    assert_eq!(f.store.webhook_duty(thief).await.err(), gone);
    assert_eq!(f.store.parked(thief, 0, 9).await.err(), gone);
    assert_eq!(f.store.dead_letters(thief, 0, 9, 9).await.err(), gone);
    for rare in [None, Some("mine".to_owned())] {
        let settlement = Settlement {
            cursor: Some(9),
            disabled: rare,
            ..Settlement::default()
        };
        assert_eq!(f.store.settle(thief, settlement).await.err(), gone);
    }
    assert_eq!(f.store.redrive(thief, vec![event.seq], f.now()).await.err(), gone);
    let replay = f.store.add_replay(thief, 1, 2, ReplayScope::Dead).await;
    assert_eq!(replay.err(), gone);
    let page = PageRequest::new(None, 5);
    let listed = f
        .store
        .deliveries(tenant, id, &DeliveryFilter::default(), page)
        .await;
    assert_eq!(listed.err(), gone);
    let delivery = DeliveryId {
        webhook: id,
        seq: event.seq,
    };
    assert_eq!(f.store.delivery(tenant, delivery).await.err(), gone);
    assert_eq!(f.store.delivery_counts(tenant, id).await.err(), gone);
    assert_eq!(f.store.webhook(owner.tenant, id).await.unwrap(), before);
    assert_eq!(f.store.webhook_duty(owner).await.unwrap().cursor, 1);
    assert_eq!(f.kinds(owner.tenant).await, ["webhook.created", "custom.a"]);
}

async fn a_deleted_webhook_leaves_nothing(f: Fixture) {
    let owner = hooked(&f).await;
    let events = [
        publish(&f, owner.tenant, 1).await,
        publish(&f, owner.tenant, 2).await,
    ];
    let rows = [
        change(&events[0], DeliveryStatus::Pending),
        change(&events[1], DeliveryStatus::Delivered),
    ];
    settle(&f, owner, rows.to_vec()).await;
    f.store
        .add_replay(owner, 1, 3, ReplayScope::Events)
        .await
        .unwrap();
    f.store.delete_webhook(owner.tenant, owner.webhook).await.unwrap();
    for table in ["webhook", "webhook_secret", "webhook_replay", "delivery"] {
        let left = f.sql(&format!("SELECT tenant_id FROM {table}")).await;
        assert!(left.is_empty(), "{table}");
    }
    let late = Settlement {
        deliveries: rows.to_vec(),
        ..Settlement::default()
    };
    assert_eq!(f.store.settle(owner, late).await, Err(StoreError::NotFound));
    let again = f.store.delete_webhook(owner.tenant, owner.webhook).await;
    assert_eq!(again, Err(StoreError::NotFound));
    assert_eq!(
        f.kinds(owner.tenant).await,
        ["webhook.created", "custom.a", "custom.a", "webhook.deleted"]
    );
}

async fn deleting_one_webhook_leaves_the_others(f: Fixture) {
    let owner = hooked(&f).await;
    let other = put(&f, new_webhook(&f, owner.tenant)).await;
    // More than one transaction removes.
    let mut rows = Vec::new();
    let publishes = (0..1003).map(|_| {
        f.store
            .publish(owner.tenant, new_event("custom.a", None, None), Stamp::default())
    });
    for published in futures::future::join_all(publishes).await {
        if let Ok(Outcome::Done(event)) = published {
            rows.push(change(&event, DeliveryStatus::Delivered));
        }
    }
    settle(&f, other, rows[..2].to_vec()).await;
    settle(&f, owner, rows).await;
    f.store.delete_webhook(owner.tenant, owner.webhook).await.unwrap();
    assert_eq!(f.sql("SELECT webhook_id FROM delivery").await.len(), 2);
    assert_eq!(f.store.webhook_duty(other).await.unwrap().secrets, [secret(1)]);
}

async fn replays_are_numbered_and_bounded(f: Fixture) {
    let owner = hooked(&f).await;
    let mut added = Vec::new();
    for n in 1..=100 {
        let scope = [ReplayScope::Events, ReplayScope::Dead][n as usize % 2];
        added.push(f.store.add_replay(owner, n, n + 5, scope).await.unwrap());
    }
    let last = Replay {
        number: 100,
        next_seq: 100,
        to_seq: 105,
        scope: ReplayScope::Events,
    };
    assert_eq!(added[99], last);
    let refused = f.store.add_replay(owner, 1, 2, ReplayScope::Dead).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))));
    assert_eq!(f.store.webhook_duty(owner).await.unwrap().replays, added);
    let progress = Settlement {
        replays: vec![(1, Some(4)), (2, None), (3, Some(1)), (77, Some(90))],
        ..Settlement::default()
    };
    f.store.settle(owner, progress).await.unwrap();
    added[0].next_seq = 4;
    added[76].next_seq = 90;
    added.remove(1);
    assert_eq!(
        f.store.activate_webhook(owner).await.unwrap().replays,
        added,
        "a replay goes on, is done, and never goes back"
    );
    let next = f.store.add_replay(owner, 1, 2, ReplayScope::Dead).await.unwrap();
    assert_eq!(next.number, 101, "a number is not given twice");
}
