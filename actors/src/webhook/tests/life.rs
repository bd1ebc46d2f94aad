//! How webhooks deliver and fail.

use std::sync::Arc;

use roost_domain::event::EventFilter;
use roost_domain::webhook::client::CallFailure;
use roost_domain::webhook::{DeadReason, DeliveryStatus};
use tokio::sync::Semaphore;

use super::endpoint::Says;
use super::*;
use crate::ActorFilter;
use crate::testing::Lock;

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
    let settings = WebhookSettings {
        schedule: vec![Duration::from_millis(10); 30],
        ..brisk()
    };
    let node = node(settings).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_locked_deliveries_go_on_up_to_a_bound_and_none_is_lost() {
    let settings = WebhookSettings {
        unsettled_max: 20,
        settle_batch: 4,
        ..brisk()
    };
    let node = node(settings).await;
    let mut narrow = request("https://example.org/hook", DeliveryMode::Unordered);
    narrow.max_concurrency = Some(5);
    let id = create_as(&node, narrow).await;
    let gate = Arc::new(Semaphore::new(0));
    let opens = Arc::clone(&gate);
    node.endpoint.says(move |_| Says::WhenOpen(Arc::clone(&opens)));
    for _ in 0..60 {
        publish(&node, 1).await;
    }
    let lock = Lock::take(&node).await;
    gate.add_permits(Semaphore::MAX_PERMITS / 2);
    // One that got its row under way counts twice until that is written.
    eventually("the bound is reached", async || {
        let stats = node.runtime.webhooks().numbers();
        (stats.delivered > 14 && node.endpoint.in_flight() == 0).then_some(())
    })
    .await;
    assert!(node.endpoint.received().len() <= 20);
    lock.release().await;
    let rows = settled(&node, id, "all are delivered", all(DeliveryStatus::Delivered, 60)).await;
    assert!(rows.iter().all(|row| row.attempts == 1));
    assert_eq!(node.endpoint.received().len(), 60);
    node.stop().await;
}
