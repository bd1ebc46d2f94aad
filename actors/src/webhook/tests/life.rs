//! How webhooks come, deliver, fail and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roost_domain::event::{EventFilter, EventType};
use roost_domain::webhook::client::CallFailure;
use roost_domain::webhook::store::WebhookPatch;
use roost_domain::webhook::{DeadReason, DeliveryStatus, WebhookState};

use super::endpoint::Says;
use super::*;
use crate::{ActorFilter, CallError};

fn all(status: DeliveryStatus, count: usize) -> impl Fn(&[Delivery]) -> bool {
    move |rows| rows.len() == count && rows.iter().all(|row| row.status == status)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_posted_signed_and_settled() {
    let node = node(brisk()).await;
    let mut request = request("https://example.org/hook", DeliveryMode::Ordered);
    request.headers = [("X-Mine".to_owned(), "1".to_owned())].into();
    request.legacy_signature = true;
    let id = create_as(&node, request).await;
    let seq = publish(&node, 1).await;
    let rows = settled(&node, id, "it is delivered", all(DeliveryStatus::Delivered, 1)).await;
    assert_eq!((rows[0].id.seq, rows[0].attempts), (seq, 1));
    let received = node.endpoint.received();
    let [call] = received.as_slice() else {
        panic!("one POST: {received:?}");
    };
    assert_eq!(call.url, "https://example.org/hook");
    assert_eq!(call.body["id"], rows[0].event_id.to_string());
    assert_eq!(
        (&call.body["seq"], &call.body["data"]["n"]),
        (&seq.into(), &1.into())
    );
    assert_eq!(call.headers["webhook-id"], rows[0].event_id.to_string());
    assert!(call.headers["webhook-signature"].starts_with("v1,"));
    assert!(call.headers["x-hub-signature-256"].starts_with("sha256="));
    assert_eq!(call.headers["x-mine"], "1");
    let detail = node
        .runtime
        .webhooks()
        .delivery(node.tenant, rows[0].id)
        .await
        .unwrap();
    assert_eq!(
        (detail.attempts[0].status, detail.attempts[0].answer.as_deref()),
        (Some(200), Some("ok"))
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_filter_lets_pass_is_posted() {
    let node = node(brisk()).await;
    let mut wanted = request("https://example.org/hook", DeliveryMode::Ordered);
    wanted.filter.chats = vec!["+4915100000007".parse().unwrap()];
    let id = create_as(&node, wanted).await;
    node.create().await;
    for chat in [1, 7, 2, 7] {
        publish(&node, chat).await;
    }
    let rows = settled(&node, id, "two are delivered", all(DeliveryStatus::Delivered, 2)).await;
    assert_eq!(
        node.endpoint.customs(),
        rows.iter().map(|row| row.id.seq).collect::<Vec<_>>()
    );
    assert_eq!(node.endpoint.received().len(), 2);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_webhooks_do_not_count_as_subscriptions() {
    let settings = Settings {
        subscriptions_max: 1,
        webhooks: brisk(),
        ..quick()
    };
    let node = TestNode::start(settings).await;
    let mut ids = Vec::new();
    for number in 0..20 {
        let url = format!("https://example.org/{number}");
        ids.push(create_as(&node, request(&url, DeliveryMode::Unordered)).await);
    }
    for _ in 0..10 {
        publish(&node, 1).await;
    }
    for id in ids {
        settled(
            &node,
            id,
            "every one is delivered",
            all(DeliveryStatus::Delivered, 10),
        )
        .await;
    }
    assert_eq!(node.streams.subscriptions(), 0);
    assert!(node.streams.tail(node.tenant, 0, EventFilter::default()).is_ok());
    let filter = ActorFilter {
        kind: Some("webhook".into()),
        state: Some("running".into()),
    };
    assert_eq!(node.runtime.introspection().list(&filter, None, 500).0.len(), 20);
    node.stop().await;
    assert_eq!(node.streams.buffered_bytes(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_tried_again_in_order_until_they_end() {
    let node = node(brisk()).await;
    let id = create(&node, DeliveryMode::Ordered).await;
    let mut calls = 0;
    node.endpoint.says(move |_| {
        calls += 1;
        Says::Status(if calls % 3 == 0 { 500 } else { 204 })
    });
    for number in 0..60 {
        publish(&node, number % 4).await;
    }
    let rows = settled(&node, id, "all are delivered", all(DeliveryStatus::Delivered, 60)).await;
    assert!(rows.iter().any(|row| row.attempts > 1));
    for chat in 0..4 {
        let chat = format!("49151000000{chat:02}");
        let of_chat = node.endpoint.received().into_iter();
        let of_chat = of_chat.filter(|call| call.body["chat"].as_str().unwrap().contains(&chat));
        let seqs: Vec<i64> = of_chat.map(|call| call.seq()).collect();
        assert!(seqs.is_sorted(), "{seqs:?}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_always_fails_is_dead_after_its_last_attempt() {
    let node = node(brisk()).await;
    let id = create(&node, DeliveryMode::Ordered).await;
    let bad = publish(&node, 1).await;
    node.endpoint
        .says(move |call| Says::Status(if call.seq() == bad { 400 } else { 200 }));
    for _ in 0..10 {
        publish(&node, 2).await;
    }
    let ended =
        |rows: &[Delivery]| rows.len() == 11 && rows.iter().all(|row| row.status != DeliveryStatus::Pending);
    // The first may have been posted before the endpoint began to refuse it.
    let rows = settled(&node, id, "all have ended", ended).await;
    if rows[0].status == DeliveryStatus::Dead {
        assert_eq!(
            (rows[0].dead_reason, rows[0].attempts),
            (Some(DeadReason::AttemptsExhausted), 4)
        );
        assert_eq!(node.runtime.webhooks().numbers().dead, 1);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_gone_is_disabled_and_comes_back_by_resume() {
    let node = node(brisk()).await;
    let id = create(&node, DeliveryMode::Ordered).await;
    node.endpoint.says(|_| Says::Status(410));
    let first = publish(&node, 1).await;
    let disabled = eventually("it is disabled", async || {
        Some(row(&node, id).await).filter(|row| row.state == WebhookState::Disabled)
    })
    .await;
    assert!(disabled.state_reason.unwrap().contains("410"));
    let path = format!("webhook/{id}");
    eventually("its actor is gone", async || {
        node.runtime.introspection().get(&path).is_none().then_some(())
    })
    .await;
    let mut log = node
        .streams
        .tail(node.tenant, first, EventFilter::default())
        .unwrap();
    let events = log.next(10).await.unwrap();
    assert_eq!(events[0].kind, EventType::WebhookDisabled);
    let second = publish(&node, 1).await;
    node.endpoint.says(|_| Says::Status(200));
    node.runtime.webhooks().resume(node.tenant, id).await.unwrap();
    let rows = settled(&node, id, "the next is delivered", |rows| {
        rows.last()
            .is_some_and(|row| row.status == DeliveryStatus::Delivered)
    })
    .await;
    assert_eq!(rows[0].dead_reason, Some(DeadReason::Gone));
    assert_eq!(rows.last().unwrap().id.seq, second);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_webhook_gets_nothing_until_it_is_resumed() {
    let node = node(brisk()).await;
    let id = create(&node, DeliveryMode::Ordered).await;
    let webhooks = node.runtime.webhooks();
    publish(&node, 1).await;
    settled(&node, id, "it delivers", all(DeliveryStatus::Delivered, 1)).await;
    for round in 1..5 {
        let paused = webhooks
            .pause(node.tenant, id, Some("holiday".into()))
            .await
            .unwrap();
        assert_eq!(
            (paused.state, paused.state_reason.as_deref()),
            (WebhookState::Paused, Some("holiday"))
        );
        let path = format!("webhook/{id}");
        eventually("its actor is gone", async || {
            node.runtime.introspection().get(&path).is_none().then_some(())
        })
        .await;
        publish(&node, 1).await;
        assert_eq!(node.endpoint.received().len(), round);
        let stats = webhooks.stats(node.tenant, id).await.unwrap();
        assert!(stats.lag_events >= 1, "{stats:?}");
        webhooks.resume(node.tenant, id).await.unwrap();
        settled(
            &node,
            id,
            "what waited is delivered",
            all(DeliveryStatus::Delivered, round + 1),
        )
        .await;
    }
    // However close they follow each other, the last one counts.
    for _ in 0..20 {
        webhooks.pause(node.tenant, id, None).await.unwrap();
        webhooks.resume(node.tenant, id).await.unwrap();
    }
    publish(&node, 1).await;
    settled(&node, id, "it delivers again", all(DeliveryStatus::Delivered, 6)).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_hold_for_what_comes_after_them() {
    let node = node(brisk()).await;
    let id = create(&node, DeliveryMode::Ordered).await;
    publish(&node, 1).await;
    settled(&node, id, "it delivers", all(DeliveryStatus::Delivered, 1)).await;
    let patch = WebhookPatch {
        url: Some("https://example.org/other".into()),
        mode: Some(DeliveryMode::Unordered),
        ..WebhookPatch::default()
    };
    node.runtime
        .webhooks()
        .patch(node.tenant, id, patch)
        .await
        .unwrap();
    eventually("the new address is used", async || {
        publish(&node, 1).await;
        let calls = node.endpoint.received();
        calls
            .last()
            .is_some_and(|call| call.url.ends_with("other"))
            .then_some(())
    })
    .await;
    let mut filter = row(&node, id).await.filter;
    filter.chats = vec!["+4915100000009".parse().unwrap()];
    let patch = WebhookPatch {
        filter: Some(filter),
        ..WebhookPatch::default()
    };
    node.runtime
        .webhooks()
        .patch(node.tenant, id, patch)
        .await
        .unwrap();
    // Those before it may have been read under the old filter.
    let ninth = eventually("the new filter is used", async || {
        publish(&node, 1).await;
        let seq = publish(&node, 9).await;
        settled(&node, id, "the wanted one is delivered", |rows| {
            rows.iter().any(|row| row.id.seq == seq)
        })
        .await;
        let others = deliveries(&node, id).await;
        others.iter().all(|row| row.id.seq != seq - 1).then_some(seq)
    })
    .await;
    assert!(node.endpoint.customs().contains(&ninth));
    let refused = WebhookPatch {
        url: Some("https://forbidden.example".into()),
        ..WebhookPatch::default()
    };
    let refused = node.runtime.webhooks().patch(node.tenant, id, refused).await;
    assert!(
        matches!(refused, Err(CallError::Invalid { field: "url", .. })),
        "{refused:?}"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_webhook_ends_and_takes_its_deliveries_with_it() {
    let node = node(brisk()).await;
    let id = create(&node, DeliveryMode::Ordered).await;
    publish(&node, 1).await;
    settled(&node, id, "it delivers", all(DeliveryStatus::Delivered, 1)).await;
    let webhooks = node.runtime.webhooks();
    webhooks.delete(node.tenant, id).await.unwrap();
    assert_eq!(webhooks.get(node.tenant, id).await, Err(CallError::NotFound));
    let path = format!("webhook/{id}");
    eventually("its actor is gone", async || {
        node.runtime.introspection().get(&path).is_none().then_some(())
    })
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_it_stopped() {
    let mut node = node(brisk()).await;
    let id = create(&node, DeliveryMode::Ordered).await;
    let fails = Arc::new(AtomicBool::new(true));
    let says = Arc::clone(&fails);
    let half = move |seq: i64| seq % 2 == 0;
    node.endpoint.says(move |call| {
        Says::Status(if half(call.seq()) && says.load(Ordering::SeqCst) {
            500
        } else {
            200
        })
    });
    for number in 0..40 {
        publish(&node, number % 5).await;
    }
    eventually("some are delivered", async || {
        (node.endpoint.received().len() > 10).then_some(())
    })
    .await;
    node = node.restart().await;
    fails.store(false, Ordering::SeqCst);
    let rows = settled(&node, id, "all have ended", |rows| {
        rows.len() == 40 && rows.iter().all(|row| row.status != DeliveryStatus::Pending)
    })
    .await;
    let posted = node.endpoint.customs();
    assert!(rows.iter().all(|row| posted.contains(&row.id.seq)));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_posts_are_under_way_than_the_webhook_may_have() {
    let settings = WebhookSettings {
        timeout: Duration::from_millis(30),
        ..brisk()
    };
    let node = node(settings).await;
    let mut narrow = request("https://example.org/hook", DeliveryMode::Unordered);
    narrow.max_concurrency = Some(3);
    let id = create_as(&node, narrow).await;
    node.endpoint.says(|_| Says::Hang);
    for _ in 0..20 {
        publish(&node, 1).await;
    }
    settled(&node, id, "some have failed", |rows| rows.len() >= 3).await;
    assert!(node.endpoint.in_flight_max() <= 3);
    let numbers = node.runtime.webhooks().numbers();
    assert!(numbers.timeout >= 3, "{numbers:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_endpoint_leaves_the_others_alone() {
    let settings = WebhookSettings {
        in_flight_max: 20,
        timeout: Duration::from_secs(60),
        ..brisk()
    };
    let node = node(settings).await;
    let hangs = create_as(&node, request("https://hangs.example/a", DeliveryMode::Unordered)).await;
    let works = create_as(&node, request("https://works.example/a", DeliveryMode::Unordered)).await;
    node.endpoint.says(|call| {
        if call.url.contains("hangs") {
            Says::Hang
        } else {
            Says::Status(200)
        }
    });
    for _ in 0..100 {
        publish(&node, 1).await;
    }
    settled(
        &node,
        works,
        "all are delivered",
        all(DeliveryStatus::Delivered, 100),
    )
    .await;
    assert_eq!(deliveries(&node, hangs).await.len(), 0);
    assert_eq!(node.runtime.webhooks().numbers().in_flight, 16);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_panics_costs_a_restart_and_nothing_else() {
    let node = node(brisk()).await;
    let id = create(&node, DeliveryMode::Ordered).await;
    let mut calls = 0;
    node.endpoint.says(move |_| {
        calls += 1;
        if calls == 2 {
            Says::Panic
        } else {
            Says::Status(200)
        }
    });
    for _ in 0..5 {
        publish(&node, 1).await;
    }
    settled(&node, id, "all are delivered", all(DeliveryStatus::Delivered, 5)).await;
    let actor = node
        .runtime
        .introspection()
        .get(&format!("webhook/{id}"))
        .unwrap();
    assert!(actor.restarts >= 1 && actor.last_error.is_some());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_owner_fences_the_earlier() {
    let node = node(brisk()).await;
    let id = create(&node, DeliveryMode::Ordered).await;
    publish(&node, 1).await;
    settled(&node, id, "it delivers", all(DeliveryStatus::Delivered, 1)).await;
    let successor = node.successor().await;
    eventually("the successor runs it", async || {
        let actor = successor.introspection().get(&format!("webhook/{id}"));
        actor.filter(|actor| actor.state == "running")
    })
    .await;
    publish(&node, 1).await;
    eventually("the first life is over", async || {
        node.runtime
            .introspection()
            .get(&format!("webhook/{id}"))
            .is_none()
            .then_some(())
    })
    .await;
    settled(
        &node,
        id,
        "the successor delivers",
        all(DeliveryStatus::Delivered, 2),
    )
    .await;
    successor.stop().await;
    node.runtime.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_restart_and_stop_a_deliverer_by_its_path() {
    let node = node(brisk()).await;
    let id = create(&node, DeliveryMode::Ordered).await;
    publish(&node, 1).await;
    settled(&node, id, "it delivers", all(DeliveryStatus::Delivered, 1)).await;
    let path = format!("webhook/{id}");
    node.runtime.restart_actor(&path).await.unwrap();
    publish(&node, 1).await;
    settled(&node, id, "it delivers again", all(DeliveryStatus::Delivered, 2)).await;
    node.runtime.stop_actor(&path).await.unwrap();
    eventually("its actor is gone", async || {
        node.runtime.introspection().get(&path).is_none().then_some(())
    })
    .await;
    publish(&node, 1).await;
    node.runtime.webhooks().resume(node.tenant, id).await.unwrap();
    settled(
        &node,
        id,
        "a call of its tenant starts it",
        all(DeliveryStatus::Delivered, 3),
    )
    .await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_has_a_limit_of_webhooks_and_knows_only_its_own() {
    let settings = WebhookSettings {
        per_tenant_max: 2,
        ..brisk()
    };
    let node = node(settings).await;
    let first = create(&node, DeliveryMode::Ordered).await;
    create(&node, DeliveryMode::Ordered).await;
    let webhooks = node.runtime.webhooks();
    let third = request("https://example.org/", DeliveryMode::Ordered);
    let third = webhooks.create(node.tenant, third, None).await;
    assert!(matches!(third, Err(CallError::LimitReached { .. })), "{third:?}");
    let forbidden = request("https://forbidden.example", DeliveryMode::Ordered);
    let forbidden = webhooks.create(node.tenant, forbidden, None).await;
    assert!(matches!(forbidden, Err(CallError::Invalid { field: "url", .. })));
    let stranger = roost_domain::TenantId::from_parts(1, 1);
    assert_eq!(webhooks.get(stranger, first).await, Err(CallError::NotFound));
    assert_eq!(webhooks.delete(stranger, first).await, Err(CallError::NotFound));
    assert_eq!(webhooks.resume(stranger, first).await, Err(CallError::NotFound));
    assert!(matches!(
        webhooks.secret(stranger, first).await,
        Err(CallError::NotFound)
    ));
    assert!(matches!(
        webhooks.stats(stranger, first).await,
        Err(CallError::NotFound)
    ));
    assert!(matches!(
        webhooks.test(stranger, first).await,
        Err(CallError::NotFound)
    ));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_asks_for_a_pause_gets_it_and_failures_are_told_as_they_were() {
    let node = node(brisk()).await;
    let id = create(&node, DeliveryMode::Ordered).await;
    let mut calls = 0;
    node.endpoint.says(move |_| {
        calls += 1;
        match calls {
            1 => Says::RetryAfter(429, Duration::from_millis(200)),
            2 => Says::Fail(CallFailure::Tls("the certificate has expired".to_owned())),
            3 => Says::Fail(CallFailure::Forbidden("10.0.0.1 is private".to_owned())),
            _ => Says::Status(200),
        }
    });
    publish(&node, 1).await;
    let rows = settled(&node, id, "it is delivered", all(DeliveryStatus::Delivered, 1)).await;
    let webhooks = node.runtime.webhooks();
    let attempts = webhooks.delivery(node.tenant, rows[0].id).await.unwrap().attempts;
    let codes = attempts
        .iter()
        .map(|attempt| attempt.error.as_ref().map(|error| error.code.as_str()));
    assert_eq!(
        codes.collect::<Vec<_>>(),
        [None, Some("tls"), Some("forbidden_address"), None]
    );
    assert_eq!((attempts[0].status, attempts[3].number), (Some(429), 4));
    assert!(attempts[1].at.since(attempts[0].at) >= Duration::from_millis(199));
    let numbers = webhooks.numbers();
    assert_eq!((numbers.delivered, numbers.failed, numbers.refused), (1, 2, 1));
    node.stop().await;
}
