//! Retry, redrive, replay, test, secrets and stats.

use roost_domain::Timestamp;
use roost_domain::webhook::{DeliveryId, DeliveryStatus};

use super::endpoint::Says;
use super::*;
use crate::CallError;
use crate::webhook::{BreakerState, RedriveRequest, ReplayRequest};

/// A webhook with as many dead letters.
async fn with_dead(node: &TestNode, count: usize) -> WebhookId {
    node.endpoint.says(|_| Says::Status(500));
    let id = create(node, DeliveryMode::Ordered).await;
    for number in 0..count {
        publish(node, number as u64).await;
    }
    settled(node, id, "all are dead", |rows| {
        rows.len() == count && rows.iter().all(|row| row.status == DeliveryStatus::Dead)
    })
    .await;
    node.endpoint.says(|_| Says::Status(200));
    id
}

/// Every attempt is the last.
fn mortal() -> WebhookSettings {
    WebhookSettings {
        schedule: vec![Duration::ZERO],
        breaker_failures: 1_000,
        breaker_percent: 101,
        ..brisk()
    }
}

async fn delivered(node: &TestNode, id: WebhookId, count: usize) -> Vec<Delivery> {
    settled(node, id, "as many are delivered", |rows| {
        let delivered = rows.iter().filter(|row| row.status == DeliveryStatus::Delivered);
        delivered.count() == count
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_driven_again_one_some_or_all() {
    let node = node(mortal()).await;
    let id = with_dead(&node, 10).await;
    let webhooks = node.runtime.webhooks();
    let rows = deliveries(&node, id).await;
    webhooks.retry(node.tenant, rows[0].id).await.unwrap();
    delivered(&node, id, 1).await;
    let some = vec![rows[1].id, rows[2].id];
    let started = webhooks.redrive_dead(node.tenant, id, Some(some)).await.unwrap();
    assert_eq!(started.deliveries, Some(2));
    delivered(&node, id, 3).await;
    let by_event = RedriveRequest::Events(vec![rows[3].event_id]);
    assert_eq!(
        webhooks
            .redrive(node.tenant, id, by_event)
            .await
            .unwrap()
            .deliveries,
        Some(1)
    );
    delivered(&node, id, 4).await;
    webhooks.redrive_dead(node.tenant, id, None).await.unwrap();
    let rows = delivered(&node, id, 10).await;
    assert!(
        rows.iter()
            .all(|row| row.attempts == 2 && row.dead_reason.is_none())
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_gives_a_range_again() {
    let node = node(brisk()).await;
    let id = create(&node, DeliveryMode::Ordered).await;
    for number in 0..30 {
        publish(&node, number % 3).await;
    }
    delivered(&node, id, 30).await;
    let webhooks = node.runtime.webhooks();
    let everything = ReplayRequest::Range {
        from: Timestamp::from_unix_ms(0),
        to: Timestamp::from_unix_ms(i64::MAX),
    };
    let started = webhooks.replay(node.tenant, id, everything).await.unwrap();
    assert!(started.from_seq.is_some());
    settled(&node, id, "all came twice", |rows| {
        rows.iter().all(|row| row.attempts == 2)
    })
    .await;
    eventually("the replay is done", async || {
        let stats = webhooks.stats(node.tenant, id).await.unwrap();
        (stats.replays == 0).then_some(())
    })
    .await;
    let nothing = ReplayRequest::Range {
        from: Timestamp::from_unix_ms(0),
        to: Timestamp::from_unix_ms(1),
    };
    let nothing = webhooks.replay(node.tenant, id, nothing).await.unwrap();
    assert_eq!((nothing.from_seq, nothing.deliveries), (None, Some(0)));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_since_drives_dead_letters_only_and_a_paused_webhook_waits() {
    let node = node(mortal()).await;
    let id = with_dead(&node, 5).await;
    publish(&node, 1).await;
    delivered(&node, id, 1).await;
    let webhooks = node.runtime.webhooks();
    webhooks.pause(node.tenant, id, None).await.unwrap();
    eventually("its actor is gone", async || {
        let actor = node.runtime.introspection().get(&format!("webhook/{id}"));
        actor.is_none().then_some(())
    })
    .await;
    let since = ReplayRequest::FailedSince(Timestamp::from_unix_ms(0));
    webhooks.replay(node.tenant, id, since).await.unwrap();
    assert_eq!(webhooks.stats(node.tenant, id).await.unwrap().replays, 1);
    webhooks.resume(node.tenant, id).await.unwrap();
    let rows = delivered(&node, id, 6).await;
    assert_eq!(rows.iter().map(|row| row.attempts).sum::<u32>(), 11);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_name_too_much_or_strangers_are_refused() {
    let settings = WebhookSettings {
        redrive_max: 3,
        ..mortal()
    };
    let node = node(settings).await;
    let id = with_dead(&node, 1).await;
    let webhooks = node.runtime.webhooks();
    for seqs in [vec![], vec![1, 2, 3, 4]] {
        let refused = webhooks
            .redrive(node.tenant, id, RedriveRequest::Seqs(seqs))
            .await;
        assert!(matches!(refused, Err(CallError::Invalid { field: "seqs", .. })));
    }
    let other = DeliveryId {
        webhook: WebhookId::from_parts(1, 1),
        seq: 1,
    };
    let refused = webhooks.redrive_dead(node.tenant, id, Some(vec![other])).await;
    assert!(matches!(refused, Err(CallError::Invalid { .. })));
    assert_eq!(webhooks.retry(node.tenant, other).await, Err(CallError::NotFound));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_posts_one_event_that_is_not_in_the_log() {
    let node = node(brisk()).await;
    let id = create(&node, DeliveryMode::Ordered).await;
    let webhooks = node.runtime.webhooks();
    let result = webhooks.test(node.tenant, id).await.unwrap();
    assert!(result.delivered && result.attempt.status == Some(200));
    let call = node.endpoint.received().remove(0);
    assert_eq!(
        (call.body["type"].as_str(), call.seq()),
        (Some("webhook.test"), 0)
    );
    assert_eq!(call.headers["webhook-id"], result.event_id.to_string());
    node.endpoint.says(|_| Says::Status(301));
    webhooks.pause(node.tenant, id, None).await.unwrap();
    let result = webhooks.test(node.tenant, id).await.unwrap();
    assert!(!result.delivered && result.attempt.status == Some(301));
    assert!(deliveries(&node, id).await.is_empty());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_secret_signs_on_for_its_overlap() {
    let node = node(brisk()).await;
    let id = create(&node, DeliveryMode::Ordered).await;
    let webhooks = node.runtime.webhooks();
    let old = webhooks.secret(node.tenant, id).await.unwrap().remove(0);
    assert_eq!(old.key.len(), 32);
    let new = webhooks
        .rotate_secret(node.tenant, id, Some(vec![7; 24]), None)
        .await
        .unwrap();
    assert_eq!(new.key, [7; 24]);
    let secrets = webhooks.secret(node.tenant, id).await.unwrap();
    assert_eq!(
        (secrets[0].key.clone(), secrets[1].key.clone()),
        (new.key, old.key)
    );
    publish(&node, 1).await;
    delivered(&node, id, 1).await;
    let call = node.endpoint.received().remove(0);
    assert_eq!(call.headers["webhook-signature"].split(' ').count(), 2);
    let short = webhooks
        .rotate_secret(node.tenant, id, Some(vec![7; 23]), None)
        .await;
    assert!(matches!(short, Err(CallError::Invalid { field: "secret", .. })));
    let long = Some(Duration::from_secs(8 * 24 * 3600));
    let long = webhooks.rotate_secret(node.tenant, id, None, long).await;
    assert!(matches!(
        long,
        Err(CallError::Invalid {
            field: "overlap_seconds",
            ..
        })
    ));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stats_tell_how_a_webhook_does() {
    let settings = WebhookSettings {
        probe_first: Duration::from_secs(60),
        ..brisk()
    };
    let node = node(settings).await;
    let id = create(&node, DeliveryMode::Unordered).await;
    for _ in 0..10 {
        publish(&node, 1).await;
    }
    delivered(&node, id, 10).await;
    let webhooks = node.runtime.webhooks();
    let stats = webhooks.stats(node.tenant, id).await.unwrap();
    assert_eq!(
        (stats.success_rate, stats.recent_attempts, stats.breaker),
        (Some(1.0), 10, BreakerState::Closed)
    );
    assert_eq!((stats.lag_events, stats.pending, stats.dead), (0, 0, 0));
    assert!(stats.latency_ms.is_some());
    node.endpoint.says(|_| Says::Status(500));
    for _ in 0..10 {
        publish(&node, 1).await;
    }
    let stats = eventually("the breaker opens", async || {
        let stats = webhooks.stats(node.tenant, id).await.unwrap();
        (stats.breaker == BreakerState::Open && stats.pending > 0).then_some(stats)
    })
    .await;
    assert!(stats.next_probe_at.is_some() && stats.failing_since.is_some());
    assert!(stats.lag_seconds >= 0.0 && stats.success_rate < Some(1.0));
    node.stop().await;
}
