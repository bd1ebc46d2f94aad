//! What becomes of deliveries, as their deliverers report it.

use std::time::Duration;

use roost_domain::event::EventType;
use roost_domain::store::{StoreError, Webhooks};
use roost_domain::webhook::store::{DeliveryDetail, Settlement};
use roost_domain::webhook::{DeadReason, DeliveryId, DeliveryStatus, WebhookOwner, WebhookState};

use crate::fixture::{Fixture, chat};
use crate::webhook::{attempt, change, hooked, new_event, new_webhook, publish, publish_new, put, settle};

crate::on_both!(
    a_cursor_never_goes_back,
    a_delivery_has_a_row_of_what_became_of_it,
    attempts_are_appended_in_their_order,
    the_last_64_attempts_are_kept,
    settlements_that_commit_together_are_all_kept,
    the_time_of_failures_begins_and_ends,
    a_webhook_is_disabled_once,
    what_expires_is_what_was_pending,
    an_event_of_another_tenant_changes_nothing,
    a_settlement_of_everything_is_one_step,
);

async fn detail(f: &Fixture, owner: WebhookOwner, seq: i64) -> DeliveryDetail {
    let id = DeliveryId {
        webhook: owner.webhook,
        seq,
    };
    f.store.delivery(owner.tenant, id).await.unwrap()
}

fn to(cursor: i64) -> Settlement {
    Settlement {
        cursor: Some(cursor),
        ..Settlement::default()
    }
}

async fn a_cursor_never_goes_back(mut f: Fixture) {
    let owner = hooked(&f).await;
    for (cursor, now) in [(5, 5), (3, 5), (5, 5), (7, 7)] {
        f.store.settle(owner, to(cursor)).await.unwrap();
        assert_eq!(f.store.webhook_duty(owner).await.unwrap().cursor, now);
    }
    f.store.settle(owner, Settlement::default()).await.unwrap();
    f.reopen().await;
    assert_eq!(f.store.activate_webhook(owner).await.unwrap().cursor, 7);
}

async fn a_delivery_has_a_row_of_what_became_of_it(f: Fixture) {
    let instance = f.owner().await;
    let owner = put(&f, new_webhook(&f, instance.tenant)).await;
    let event = new_event("custom.order.paid", Some(instance.instance), Some(chat(3).id));
    let event = publish_new(&f, owner.tenant, event).await;
    let due = f.now().plus(Duration::from_secs(5));
    let mut parked = change(&event, DeliveryStatus::Pending);
    parked.next_attempt_at = Some(due);
    parked.attempts = vec![attempt(&f, 1, None)];
    settle(&f, owner, vec![parked]).await;
    let made_at = f.now();
    let found = detail(&f, owner, event.seq).await.delivery;
    assert_eq!((found.event_id, found.event_type), (event.id, event.kind.clone()));
    assert_eq!(
        (found.instance_id, found.chat),
        (Some(instance.instance), Some(chat(3).id))
    );
    assert_eq!((found.status, found.dead_reason), (DeliveryStatus::Pending, None));
    assert_eq!((found.attempts, found.next_attempt_at), (1, Some(due)));
    assert_eq!((found.created_at, found.updated_at), (made_at, made_at));
    f.clock.advance(Duration::from_secs(5));
    let mut dead = change(&event, DeliveryStatus::Dead);
    dead.dead_reason = Some(DeadReason::AttemptsExhausted);
    // What only a pending row has is not kept of others.
    dead.next_attempt_at = Some(due);
    dead.attempts = vec![attempt(&f, 2, Some(500)), attempt(&f, 3, Some(502))];
    settle(&f, owner, vec![dead]).await;
    let found = detail(&f, owner, event.seq).await.delivery;
    assert_eq!(
        (found.status, found.dead_reason),
        (DeliveryStatus::Dead, Some(DeadReason::AttemptsExhausted))
    );
    assert_eq!((found.attempts, found.next_attempt_at), (3, None));
    assert_eq!((found.created_at, found.updated_at), (made_at, f.now()));
    let mut taken = change(&event, DeliveryStatus::Delivered);
    taken.attempts = vec![attempt(&f, 4, Some(204))];
    settle(&f, owner, vec![taken]).await;
    let found = detail(&f, owner, event.seq).await.delivery;
    assert_eq!(
        (found.status, found.dead_reason),
        (DeliveryStatus::Delivered, None)
    );
    assert_eq!(found.attempts, 4);
}

async fn attempts_are_appended_in_their_order(f: Fixture) {
    let owner = hooked(&f).await;
    let event = publish(&f, owner.tenant, 1).await;
    let all: Vec<_> = (1..=6)
        .map(|n| attempt(&f, n, (n % 2 == 0).then_some(500 + n as u16)))
        .collect();
    for part in all.chunks(2) {
        let mut parked = change(&event, DeliveryStatus::Pending);
        parked.attempts = part.to_vec();
        settle(&f, owner, vec![parked]).await;
    }
    settle(&f, owner, vec![change(&event, DeliveryStatus::Delivered)]).await;
    let found = detail(&f, owner, event.seq).await;
    assert_eq!(found.attempts, all);
    assert_eq!(found.delivery.attempts, 6);
    assert_eq!(found.event.unwrap().data.get(), event.data.get());
}

async fn the_last_64_attempts_are_kept(f: Fixture) {
    let owner = hooked(&f).await;
    let event = publish(&f, owner.tenant, 1).await;
    let parked = |numbers: std::ops::RangeInclusive<u32>| {
        let mut parked = change(&event, DeliveryStatus::Pending);
        parked.attempts = numbers.map(|n| attempt(&f, n, Some(500))).collect();
        parked
    };
    settle(&f, owner, vec![parked(1..=60)]).await;
    settle(&f, owner, vec![parked(61..=66)]).await;
    for n in 67..=70 {
        settle(&f, owner, vec![parked(n..=n)]).await;
    }
    let found = detail(&f, owner, event.seq).await;
    let numbers: Vec<_> = found.attempts.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (7..=70).collect::<Vec<_>>());
    assert_eq!(found.delivery.attempts, 70);
    let stored = f.sql("SELECT attempts FROM delivery").await.concat();
    assert_eq!(stored.lines().count(), 64);
}

async fn settlements_that_commit_together_are_all_kept(f: Fixture) {
    let owner = hooked(&f).await;
    let other = put(&f, new_webhook(&f, owner.tenant)).await;
    let stranger = hooked(&f).await;
    let mut events = Vec::new();
    for n in 0..20 {
        events.push(publish(&f, owner.tenant, n).await);
    }
    let theirs = publish(&f, stranger.tenant, 1).await;
    let mut settlements = Vec::new();
    for event in &events {
        for owner in [owner, other] {
            // Twice for the same delivery: parked, and then taken.
            for (number, status) in [(1, DeliveryStatus::Pending), (2, DeliveryStatus::Delivered)] {
                let mut change = change(event, status);
                change.attempts = vec![attempt(&f, number, Some(500))];
                let settlement = Settlement {
                    cursor: Some(event.seq),
                    deliveries: vec![change],
                    ..Settlement::default()
                };
                settlements.push((owner, settlement));
            }
        }
    }
    // One that is refused harms no neighbour.
    let refused = Settlement {
        cursor: Some(99),
        deliveries: vec![change(&theirs, DeliveryStatus::Delivered)],
        ..Settlement::default()
    };
    settlements.insert(3, (owner, refused));
    let writes = settlements
        .into_iter()
        .map(|(owner, settlement)| f.store.settle(owner, settlement));
    let results = futures::future::join_all(writes).await;
    for (n, result) in results.into_iter().enumerate() {
        let expected = if n == 3 { Err(StoreError::NotFound) } else { Ok(()) };
        assert_eq!(result, expected, "{n}");
    }
    for owner in [owner, other] {
        let last = events.last().unwrap().seq;
        assert_eq!(f.store.webhook_duty(owner).await.unwrap().cursor, last);
        for event in &events {
            let found = detail(&f, owner, event.seq).await;
            assert_eq!(found.delivery.status, DeliveryStatus::Delivered);
            let numbers: Vec<_> = found.attempts.iter().map(|attempt| attempt.number).collect();
            assert_eq!((numbers, found.delivery.attempts), (vec![1, 2], 2));
        }
    }
    assert_eq!(f.sql("SELECT seq FROM delivery").await.len(), 40);
}

async fn the_time_of_failures_begins_and_ends(f: Fixture) {
    let owner = hooked(&f).await;
    let since = |failing_since| Settlement {
        failing_since,
        ..Settlement::default()
    };
    let now = f.now();
    for (told, kept) in [
        (Some(Some(now)), Some(now)),
        (None, Some(now)),
        (Some(None), None),
        (None, None),
    ] {
        f.store.settle(owner, since(told)).await.unwrap();
        assert_eq!(f.store.webhook_duty(owner).await.unwrap().failing_since, kept);
    }
}

async fn a_webhook_is_disabled_once(f: Fixture) {
    let owner = hooked(&f).await;
    f.clock.advance(Duration::from_secs(5));
    let disable = |reason: &str| Settlement {
        cursor: Some(4),
        failing_since: Some(Some(f.now())),
        disabled: Some(reason.to_owned()),
        ..Settlement::default()
    };
    for reason in ["it answered 410\0", "again"] {
        f.store.settle(owner, disable(reason)).await.unwrap();
    }
    let duty = f.store.webhook_duty(owner).await.unwrap();
    assert_eq!((duty.cursor, duty.failing_since), (4, Some(f.now())));
    assert_eq!(duty.webhook.state, WebhookState::Disabled);
    assert_eq!(
        duty.webhook.state_reason.as_deref(),
        Some("it answered 410\u{fffd}")
    );
    assert_eq!(duty.webhook.updated_at, f.now());
    let log = f.log(owner.tenant).await;
    let kinds: Vec<_> = log.iter().map(|event| event.kind.clone()).collect();
    assert_eq!(kinds, [EventType::WebhookCreated, EventType::WebhookDisabled]);
    let data: serde_json::Value = serde_json::from_str(log[1].data.get()).unwrap();
    assert_eq!(data["webhook"]["state"], "disabled");
    assert_eq!(data["webhook"]["state_reason"], "it answered 410\0");
    let told = f.told.0.lock().unwrap();
    assert_eq!(told.last().unwrap().1.id, log[1].id);
}

async fn what_expires_is_what_was_pending(f: Fixture) {
    let owner = hooked(&f).await;
    let other = put(&f, new_webhook(&f, owner.tenant)).await;
    let mut rows = Vec::new();
    for status in DeliveryStatus::ALL {
        rows.push(change(&publish(&f, owner.tenant, 1).await, *status));
    }
    let seqs: Vec<i64> = rows.iter().map(|row| row.event.seq).collect();
    rows[2].dead_reason = Some(DeadReason::Gone);
    settle(&f, owner, rows.clone()).await;
    settle(&f, other, rows).await;
    let expired = Settlement {
        expired: [&seqs[..], &[999]].concat(),
        ..Settlement::default()
    };
    f.store.settle(owner, expired).await.unwrap();
    let mut found = Vec::new();
    for seq in &seqs {
        let delivery = detail(&f, owner, *seq).await.delivery;
        found.push((delivery.status, delivery.dead_reason));
    }
    let expected = [
        (DeliveryStatus::Dead, Some(DeadReason::Expired)),
        (DeliveryStatus::Delivered, None),
        (DeliveryStatus::Dead, Some(DeadReason::Gone)),
    ];
    assert_eq!(found, expected);
    assert_eq!(f.store.parked(owner, 0, 9).await.unwrap(), []);
    assert_eq!(f.store.parked(other, 0, 9).await.unwrap().len(), 1);
}

async fn an_event_of_another_tenant_changes_nothing(f: Fixture) {
    let owner = hooked(&f).await;
    let stranger = hooked(&f).await;
    let (ours, theirs) = (
        publish(&f, owner.tenant, 1).await,
        publish(&f, stranger.tenant, 1).await,
    );
    let mixed = Settlement {
        cursor: Some(9),
        deliveries: vec![
            change(&ours, DeliveryStatus::Delivered),
            change(&theirs, DeliveryStatus::Delivered),
        ],
        failing_since: Some(Some(f.now())),
        ..Settlement::default()
    };
    let rare = Settlement {
        disabled: Some("no".to_owned()),
        ..mixed.clone()
    };
    for settlement in [mixed, rare] {
        assert_eq!(f.store.settle(owner, settlement).await, Err(StoreError::NotFound));
    }
    let duty = f.store.webhook_duty(owner).await.unwrap();
    assert_eq!((duty.cursor, duty.failing_since), (1, None));
    assert_eq!(duty.webhook.state, WebhookState::Enabled);
    assert!(f.sql("SELECT seq FROM delivery").await.is_empty());
}

async fn a_settlement_of_everything_is_one_step(f: Fixture) {
    let owner = hooked(&f).await;
    let events = [
        publish(&f, owner.tenant, 1).await,
        publish(&f, owner.tenant, 2).await,
    ];
    settle(&f, owner, vec![change(&events[0], DeliveryStatus::Pending)]).await;
    let scope = roost_domain::webhook::store::ReplayScope::Dead;
    let replay = f.store.add_replay(owner, 1, 9, scope).await.unwrap();
    let settlement = Settlement {
        cursor: Some(3),
        deliveries: vec![change(&events[1], DeliveryStatus::Delivered)],
        expired: vec![events[0].seq],
        failing_since: Some(Some(f.now())),
        disabled: Some("failed for five days".to_owned()),
        replays: vec![(replay.number, None)],
    };
    f.store.settle(owner, settlement).await.unwrap();
    let duty = f.store.webhook_duty(owner).await.unwrap();
    assert_eq!((duty.cursor, duty.failing_since), (3, Some(f.now())));
    assert_eq!(
        (duty.webhook.state, duty.replays),
        (WebhookState::Disabled, vec![])
    );
    let statuses = [DeliveryStatus::Dead, DeliveryStatus::Delivered];
    for (event, status) in events.iter().zip(statuses) {
        assert_eq!(detail(&f, owner, event.seq).await.delivery.status, status);
    }
}
