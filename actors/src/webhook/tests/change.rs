//! How webhooks change, stop, and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use roost_domain::event::{EventFilter, EventType};
use roost_domain::webhook::store::WebhookPatch;
use roost_domain::webhook::{DeadReason, DeliveryStatus, WebhookState};

use super::endpoint::Says;
use super::*;
use crate::CallError;
use crate::registry::Operation;

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
    publish(&node, 1).await;
    settled(&node, id, "it delivers", all(DeliveryStatus::Delivered, 2)).await;
    assert!(node.endpoint.received()[1].url.ends_with("other"));
    let patch = WebhookPatch {
        chats: Some(vec!["+4915100000009".parse().unwrap()]),
        ..WebhookPatch::default()
    };
    node.runtime
        .webhooks()
        .patch(node.tenant, id, patch)
        .await
        .unwrap();
    publish(&node, 1).await;
    let ninth = publish(&node, 9).await;
    let rows = settled(
        &node,
        id,
        "the wanted one is delivered",
        all(DeliveryStatus::Delivered, 3),
    )
    .await;
    assert_eq!(rows[2].id.seq, ninth);
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
    node.operate(&path, Operation::Restart).await.unwrap();
    publish(&node, 1).await;
    settled(&node, id, "it delivers again", all(DeliveryStatus::Delivered, 2)).await;
    node.operate(&path, Operation::Stop).await.unwrap();
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
