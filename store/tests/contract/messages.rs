use std::time::Duration;

use roost_domain::event::EventType;
use roost_domain::message::{Direction, FailureReason, MessageFilter, MessageStatus, StatusChange};
use roost_domain::page::PageRequest;
use roost_domain::store::{Instances, Messages, Outcome, Replies, Stamp, StoreError};
use roost_domain::{Epoch, Owner};

use crate::fixture::{Fixture, chat};

crate::on_both!(
    an_accepted_message_is_read_back_as_it_was_given,
    the_same_request_is_answered_as_before,
    an_expired_idempotency_key_can_be_used_again,
    one_of_many_concurrent_repetitions_is_carried_out,
    statuses_move_forward_only_with_one_event_each,
    a_late_receipt_voids_a_failure,
    pending_messages_come_in_order_and_fail_together,
    the_last_of_what_is_pending_is_known,
    due_messages_expire,
    a_list_is_filtered_and_paged_newest_first,
    a_stale_unit_fails_alone_in_a_crowd,
    a_unit_that_breaks_a_rule_of_the_database_harms_no_neighbour,
);

pub fn step(whatsapp_id: &str, status: MessageStatus, f: &Fixture) -> StatusChange {
    StatusChange {
        whatsapp_id: whatsapp_id.to_owned(),
        direction: Direction::Outbound,
        status,
        failure: None,
        at: f.now(),
    }
}

async fn an_accepted_message_is_read_back_as_it_was_given(f: Fixture) {
    let owner = f.owner().await;
    let text = "Grüße \"quoted\" \\ \u{1F600}\n\u{0} end";
    let message = f.accept(owner, text).await;
    assert_eq!(f.store.message(owner.tenant, message.id).await.unwrap(), message);
    let found = f
        .store
        .message_by_whatsapp_id(owner.tenant, owner.instance, &message.whatsapp_id)
        .await;
    assert_eq!(found.unwrap().unwrap(), message);
    assert_eq!(message.status, MessageStatus::Accepted);
    assert!(
        f.store
            .message_by_whatsapp_id(owner.tenant, owner.instance, "none")
            .await
            .unwrap()
            .is_none()
    );
}

async fn the_same_request_is_answered_as_before(f: Fixture) {
    let owner = f.owner().await;
    let first = f
        .store
        .accept(owner, f.new_message("one"), f.stamp("key", 1))
        .await
        .unwrap();
    let Outcome::Done(message) = first else {
        panic!("replayed")
    };
    let second = f
        .store
        .accept(owner, f.new_message("one"), f.stamp("key", 1))
        .await
        .unwrap();
    let Outcome::Replayed(replay) = second else {
        panic!("carried out twice")
    };
    assert_eq!(replay.status, 202);
    assert_eq!(replay.body, serde_json::to_string(&message).unwrap());
    let other = f
        .store
        .accept(owner, f.new_message("two"), f.stamp("key", 2))
        .await;
    assert_eq!(other, Err(StoreError::IdempotencyKeyReused));
    assert_eq!(f.store.pending_count(owner).await.unwrap(), 1);
    assert_eq!(
        f.store.reply(owner.tenant, "key", &[1; 32]).await.unwrap(),
        Some(replay)
    );
    assert_eq!(
        f.store.reply(owner.tenant, "key", &[2; 32]).await,
        Err(StoreError::IdempotencyKeyReused)
    );
    assert_eq!(f.store.reply(owner.tenant, "none", &[1; 32]).await, Ok(None));
    // The key is the tenant's own.
    let stranger = f.owner().await;
    let theirs = f
        .store
        .accept(stranger, f.new_message("one"), f.stamp("key", 3))
        .await
        .unwrap();
    assert!(matches!(theirs, Outcome::Done(_)));
}

async fn an_expired_idempotency_key_can_be_used_again(f: Fixture) {
    let owner = f.owner().await;
    f.store
        .accept(owner, f.new_message("one"), f.stamp("key", 1))
        .await
        .unwrap();
    f.clock.advance(Duration::from_secs(7200));
    assert_eq!(f.store.reply(owner.tenant, "key", &[1; 32]).await, Ok(None));
    let again = f
        .store
        .accept(owner, f.new_message("two"), f.stamp("key", 2))
        .await
        .unwrap();
    assert!(matches!(again, Outcome::Done(_)));
    f.store
        .keep_reply(owner.tenant, f.idempotency("kept", 1), "first".to_owned())
        .await
        .unwrap();
    f.store
        .keep_reply(owner.tenant, f.idempotency("kept", 1), "second".to_owned())
        .await
        .unwrap();
    assert_eq!(
        f.store
            .reply(owner.tenant, "kept", &[1; 32])
            .await
            .unwrap()
            .unwrap()
            .body,
        "first"
    );
}

async fn one_of_many_concurrent_repetitions_is_carried_out(f: Fixture) {
    let owner = f.owner().await;
    let tries = (0..32).map(|_| {
        let (store, new, key) = (f.store.clone(), f.new_message("once"), f.stamp("key", 1));
        tokio::spawn(async move { store.accept(owner, new, key).await.unwrap() })
    });
    let mut done = 0;
    for handle in tries.collect::<Vec<_>>() {
        done += usize::from(matches!(handle.await.unwrap(), Outcome::Done(_)));
    }
    assert_eq!(done, 1);
    assert_eq!(f.store.pending_count(owner).await.unwrap(), 1);
}

async fn statuses_move_forward_only_with_one_event_each(f: Fixture) {
    let owner = f.owner().await;
    let message = f.accept(owner, "hello").await;
    let id = &message.whatsapp_id;
    let before = f.log(owner.tenant).await.len();
    let moved = f
        .store
        .advance(owner, vec![step(id, MessageStatus::Sent, &f)])
        .await
        .unwrap();
    assert_eq!(moved[0].status, MessageStatus::Sent);
    assert_eq!(moved[0].sent_at, Some(f.now()));
    f.clock.advance(Duration::from_secs(1));
    // Read before delivered, twice, and something unknown: two steps count.
    let changes = vec![
        step(id, MessageStatus::Sent, &f),
        step(id, MessageStatus::Delivered, &f),
        step("unknown", MessageStatus::Delivered, &f),
        step(id, MessageStatus::Read, &f),
        step(id, MessageStatus::Delivered, &f),
        step(id, MessageStatus::Read, &f),
    ];
    let moved = f.store.advance(owner, changes).await.unwrap();
    assert_eq!(moved.len(), 1);
    assert_eq!(moved[0].status, MessageStatus::Read);
    assert_eq!(moved[0].read_at, Some(f.now()));
    assert_eq!(f.store.message(owner.tenant, message.id).await.unwrap(), moved[0]);
    let kinds = f.kinds(owner.tenant).await;
    assert_eq!(
        kinds[before..],
        ["message.sent", "message.delivered", "message.read"]
    );
    assert_eq!(
        f.store
            .advance(owner, vec![step(id, MessageStatus::Failed, &f)])
            .await
            .unwrap(),
        []
    );
    assert_eq!(f.store.pending_count(owner).await.unwrap(), 0);
}

async fn a_late_receipt_voids_a_failure(f: Fixture) {
    let owner = f.owner().await;
    let message = f.accept(owner, "hello").await;
    let failure = Some(FailureReason::Rejected { whatsapp_error: 479 });
    let failed = StatusChange {
        failure,
        ..step(&message.whatsapp_id, MessageStatus::Failed, &f)
    };
    let moved = f.store.advance(owner, vec![failed.clone()]).await.unwrap();
    assert_eq!(moved[0].failure, failed.failure);
    assert_eq!(moved[0].failed_at, Some(f.now()));
    let read = step(&message.whatsapp_id, MessageStatus::Read, &f);
    let moved = f.store.advance(owner, vec![read]).await.unwrap();
    assert_eq!(
        (moved[0].status, moved[0].failure.clone(), moved[0].failed_at),
        (MessageStatus::Read, None, None)
    );
    assert_eq!(
        moved[0].delivered_at,
        Some(f.now()),
        "what was read was delivered"
    );
    assert_eq!(f.store.message(owner.tenant, message.id).await.unwrap(), moved[0]);
}

async fn pending_messages_come_in_order_and_fail_together(f: Fixture) {
    let owner = f.owner().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        f.clock.advance(Duration::from_millis(1));
        ids.push(f.accept(owner, &format!("{n}")).await.id);
    }
    let pending = f.store.pending(owner, None, 3).await.unwrap();
    assert_eq!(
        pending.iter().map(|message| message.id).collect::<Vec<_>>(),
        ids[..3]
    );
    let rest = f.store.pending(owner, Some(ids[2]), 10).await.unwrap();
    assert_eq!(
        rest.iter().map(|message| message.id).collect::<Vec<_>>(),
        ids[3..]
    );
    assert_eq!(
        f.store
            .fail_pending(owner, FailureReason::InstanceGone, f.now())
            .await
            .unwrap(),
        5
    );
    assert_eq!(
        f.store
            .fail_pending(owner, FailureReason::InstanceGone, f.now())
            .await
            .unwrap(),
        0
    );
    assert_eq!(f.store.pending(owner, None, 10).await.unwrap(), []);
    let failed = f
        .log(owner.tenant)
        .await
        .iter()
        .filter(|event| event.kind == EventType::MessageFailed)
        .count();
    assert_eq!(failed, 5);
}

async fn due_messages_expire(f: Fixture) {
    let owners = [f.owner().await, f.owner().await];
    for owner in owners {
        f.accept(owner, "late").await;
    }
    f.clock.advance(Duration::from_secs(30));
    let in_time = f.accept(owners[0], "in time").await;
    f.clock.advance(Duration::from_secs(40));
    assert_eq!(f.store.expire_due(f.now(), 1).await.unwrap(), 1);
    assert_eq!(f.store.expire_due(f.now(), 100).await.unwrap(), 1);
    assert_eq!(f.store.expire_due(f.now(), 100).await.unwrap(), 0);
    assert_eq!(
        f.store
            .message(owners[0].tenant, in_time.id)
            .await
            .unwrap()
            .status,
        MessageStatus::Accepted
    );
    for owner in owners {
        let log = f.log(owner.tenant).await;
        let data: serde_json::Value = serde_json::from_str(log.last().unwrap().data.get()).unwrap();
        assert_eq!(log.last().unwrap().kind, EventType::MessageFailed);
        assert_eq!(data["message"]["status"], "expired");
        assert_eq!(data["message"]["failure"]["code"], "deadline_passed");
    }
}

async fn a_list_is_filtered_and_paged_newest_first(f: Fixture) {
    let owner = f.owner().await;
    let mut sent = Vec::new();
    for n in 0..4 {
        f.clock.advance(Duration::from_millis(1));
        let mut new = f.new_message("out");
        new.chat = chat(n % 2);
        let Outcome::Done(message) = f.store.accept(owner, new, Stamp::default()).await.unwrap() else {
            panic!()
        };
        sent.push(message);
    }
    f.clock.advance(Duration::from_millis(1));
    f.store
        .record_inbound(owner, vec![f.inbound_text("IN1", "in")])
        .await
        .unwrap();
    let list = async |filter, after, limit| {
        f.store
            .messages(
                owner.tenant,
                owner.instance,
                filter,
                PageRequest::new(after, limit),
            )
            .await
            .unwrap()
    };
    let all = list(MessageFilter::default(), None, 3).await;
    assert_eq!(all.rows[0].direction, Direction::Inbound);
    assert_eq!(all.rows[1..], [sent[3].clone(), sent[2].clone()]);
    let rest = list(MessageFilter::default(), all.next, 3).await;
    assert_eq!(rest.rows, [sent[1].clone(), sent[0].clone()]);
    assert_eq!(rest.next, None);
    let of_chat = MessageFilter {
        chat: Some(chat(0).id),
        ..MessageFilter::default()
    };
    assert_eq!(
        list(of_chat, None, 10).await.rows,
        [sent[2].clone(), sent[0].clone()]
    );
    let inbound = MessageFilter {
        direction: Some(Direction::Inbound),
        ..MessageFilter::default()
    };
    assert_eq!(list(inbound, None, 10).await.rows.len(), 1);
    let accepted = MessageFilter {
        status: Some(MessageStatus::Accepted),
        ..MessageFilter::default()
    };
    assert_eq!(list(accepted, None, 10).await.rows.len(), 4);
    let none = MessageFilter {
        status: Some(MessageStatus::Read),
        chat: Some(chat(0).id),
        direction: None,
    };
    assert!(list(none, None, 10).await.rows.is_empty());
}

async fn a_stale_unit_fails_alone_in_a_crowd(f: Fixture) {
    let tenant = f.tenant().await;
    let (current, taken) = (f.instance(tenant).await, f.instance(tenant).await);
    f.store
        .activate(Owner {
            epoch: Epoch(5),
            ..taken
        })
        .await
        .unwrap();
    let writes = (0..40).map(|n| {
        let owner = if n % 2 == 0 { current } else { taken };
        let (store, new) = (f.store.clone(), f.new_message("x"));
        tokio::spawn(async move { (owner, store.accept(owner, new, Stamp::default()).await) })
    });
    for handle in writes.collect::<Vec<_>>() {
        let (owner, result) = handle.await.unwrap();
        if owner == current {
            assert!(result.is_ok(), "{result:?}");
        } else {
            assert_eq!(result, Err(StoreError::Fenced));
        }
    }
    assert_eq!(f.store.pending_count(current).await.unwrap(), 20);
    assert_eq!(f.store.pending_count(taken).await.unwrap(), 0);
}

async fn a_unit_that_breaks_a_rule_of_the_database_harms_no_neighbour(f: Fixture) {
    let owner = f.owner().await;
    let first = f.accept(owner, "first").await;
    let writes = (0..40).map(|n| {
        let mut new = f.new_message("x");
        if n % 10 == 3 {
            new.id = first.id;
        }
        let store = f.store.clone();
        tokio::spawn(async move { (n, store.accept(owner, new, Stamp::default()).await) })
    });
    for handle in writes.collect::<Vec<_>>() {
        let (n, result) = handle.await.unwrap();
        if n % 10 == 3 {
            assert!(matches!(result, Err(StoreError::Conflict(_))), "{result:?}");
        } else {
            assert!(result.is_ok(), "{result:?}");
        }
    }
    assert_eq!(f.store.pending_count(owner).await.unwrap(), 37);
}

async fn the_last_of_what_is_pending_is_known(f: Fixture) {
    let owner = f.owner().await;
    assert_eq!(f.store.last_pending(owner).await, Ok(None));
    let mut last = None;
    for n in 0..3 {
        last = last.max(Some(f.accept(owner, &format!("{n}")).await.id));
        assert_eq!(f.store.last_pending(owner).await, Ok(last));
    }
    let thief = Owner {
        tenant: f.tenant().await,
        ..owner
    };
    assert_eq!(f.store.last_pending(thief).await, Ok(None));
}
