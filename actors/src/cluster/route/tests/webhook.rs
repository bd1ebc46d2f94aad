use roost_domain::event::CustomType;
use roost_domain::page::PageRequest;
use roost_domain::webhook::store::{DeliveryFilter, WebhookPatch};
use roost_domain::webhook::{Delivery, DeliveryMode, DeliveryStatus, WebhookFilter, WebhookState};
use roost_domain::{Timestamp, WebhookId};
use serde_json::value::RawValue;

use super::*;
use crate::webhook::{CreateWebhook, PublishEvent, RedriveRequest, ReplayRequest, WebhookSettings};

/// Limits that keep tests short; every attempt is the last.
fn brisk() -> Settings {
    let webhooks = WebhookSettings {
        schedule: vec![Duration::ZERO],
        breaker_failures: 1_000,
        breaker_percent: 101,
        settle_every: Duration::from_millis(5),
        drain_timeout: Duration::from_millis(100),
        ..WebhookSettings::default()
    };
    Settings {
        webhooks,
        subscription_poll: Duration::from_millis(20),
        ..quick()
    }
}

impl Stage {
    /// A webhook for a tenant's own events whose slot is here; made through another node.
    async fn webhook_on(&self, owner: &Node, through: &Node) -> WebhookId {
        loop {
            let create = CreateWebhook {
                url: "https://example.org/hook".to_owned(),
                description: None,
                filter: WebhookFilter {
                    events: vec!["custom.*".parse().unwrap()],
                    ..WebhookFilter::default()
                },
                mode: DeliveryMode::Ordered,
                headers: std::collections::BTreeMap::new(),
                max_concurrency: None,
                rate_per_second: None,
                api_version: None,
                legacy_signature: false,
                secret: None,
                webhooks_max: None,
            };
            let webhooks = through.runtime.webhooks();
            let Outcome::Done((webhook, _)) = webhooks.create(self.tenant(), create, None).await.unwrap()
            else {
                panic!("nothing to replay");
            };
            if owner.owns(Slot::of_webhook(webhook.id)) {
                return webhook.id;
            }
            webhooks.delete(self.tenant(), webhook.id).await.unwrap();
        }
    }

    async fn publish(&self, through: &Node) -> i64 {
        let event = PublishEvent {
            kind: CustomType::from_name("custom.test").unwrap(),
            instance_id: None,
            chat: None,
            data: RawValue::from_string("{}".to_owned()).unwrap(),
        };
        let webhooks = through.runtime.webhooks();
        let published = webhooks.publish(self.tenant(), event, Stamp::default());
        let Outcome::Done(event) = published.await.unwrap() else {
            panic!("nothing to replay");
        };
        event.seq
    }

    /// Waits until so many deliveries of a webhook have a status.
    async fn deliveries(&self, id: WebhookId, status: DeliveryStatus, count: usize) -> Vec<Delivery> {
        let what = format!("{count} deliveries are {}", status.as_str());
        eventually(&what, async || {
            let store = &self.world.store;
            let page = PageRequest::new(None, 500);
            let filter = DeliveryFilter::default();
            let rows = roost_domain::store::Webhooks::deliveries(&**store, self.tenant(), id, &filter, page);
            let mut rows = rows.await.unwrap().rows;
            rows.retain(|row| row.status == status);
            (rows.len() == count).then_some(rows)
        })
        .await
    }

    fn posted(&self, seq: i64) -> usize {
        self.world
            .endpoint
            .customs()
            .iter()
            .filter(|posted| **posted == seq)
            .count()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_run_by_its_owner_and_changed_through_any_node() {
    let (stage, [a, b]) = Stage::with(brisk(), ["a", "b"]).await;
    let (tenant, id) = (stage.tenant(), stage.webhook_on(&b, &a).await);
    let webhooks = a.runtime.webhooks();
    eventually("its owner runs it", async || b.runs("webhook", id).then_some(())).await;
    assert!(!a.runs("webhook", id));
    stage.publish(&a).await;
    stage.deliveries(id, DeliveryStatus::Delivered, 1).await;

    webhooks.pause(tenant, id, None).await.unwrap();
    let waits = stage.publish(&a).await;
    let stats = webhooks.stats(tenant, id).await.unwrap();
    assert_eq!(
        (stats.cursor, stats.last_seq),
        (waits - 1, waits),
        "it stands still"
    );
    webhooks.resume(tenant, id).await.unwrap();
    stage.deliveries(id, DeliveryStatus::Delivered, 2).await;
    let stats = webhooks.stats(tenant, id).await.unwrap();
    // Whether the actor had ended before it was to go on is a matter of time.
    assert!((1..=2).contains(&stats.recent_attempts), "{stats:?}");
    assert_eq!(stats.success_rate, Some(1.0), "what its actor knows");

    let patch = WebhookPatch {
        url: Some("https://example.net/other".to_owned()),
        ..WebhookPatch::default()
    };
    webhooks.patch(tenant, id, patch).await.unwrap();
    webhooks.rotate_secret(tenant, id, None, None).await.unwrap();
    stage.publish(&a).await;
    stage.deliveries(id, DeliveryStatus::Delivered, 3).await;
    let received = stage.world.endpoint.received();
    let last = received.last().unwrap();
    assert_eq!(last.url, "https://example.net/other");
    assert_eq!(
        last.headers["webhook-signature"].split(' ').count(),
        2,
        "both secrets sign"
    );

    let tested = webhooks.test(tenant, id).await.unwrap();
    assert!(tested.delivered);
    assert_eq!(
        b.runtime.webhooks().numbers().delivered,
        4,
        "its owner has posted all"
    );
    webhooks.delete(tenant, id).await.unwrap();
    eventually("it has ended", async || (!b.runs("webhook", id)).then_some(())).await;
    assert_eq!(webhooks.stats(tenant, id).await, Err(CallError::NotFound));
    stage.end([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_are_driven_again_through_any_node() {
    let (stage, [a, b]) = Stage::with(brisk(), ["a", "b"]).await;
    let (tenant, id) = (stage.tenant(), stage.webhook_on(&b, &a).await);
    let webhooks = a.runtime.webhooks();
    stage.world.endpoint.says(|_| crate::webhook::Says::Status(500));
    let mut seqs = Vec::new();
    for _ in 0..4 {
        seqs.push(stage.publish(&b).await);
    }
    let dead = stage.deliveries(id, DeliveryStatus::Dead, 4).await;
    stage.world.endpoint.says(|_| crate::webhook::Says::Status(200));

    let again = webhooks.retry(tenant, dead[0].id).await.unwrap();
    assert_eq!(again.id, dead[0].id);
    stage.deliveries(id, DeliveryStatus::Delivered, 1).await;
    let some = RedriveRequest::Seqs(vec![dead[1].id.seq]);
    let started = webhooks.redrive(tenant, id, some).await.unwrap();
    assert_eq!(
        (started.from_seq, started.deliveries),
        (Some(dead[1].id.seq), Some(1))
    );
    stage.deliveries(id, DeliveryStatus::Delivered, 2).await;
    webhooks.redrive_dead(tenant, id, None).await.unwrap();
    stage.deliveries(id, DeliveryStatus::Delivered, 4).await;
    let everything = ReplayRequest::Range {
        from: Timestamp::from_unix_ms(0),
        to: Timestamp::from_unix_ms(i64::MAX),
    };
    let started = webhooks.replay(tenant, id, everything).await.unwrap();
    assert_eq!(started.to_seq, seqs.last().copied());
    eventually("all came again", async || {
        seqs.iter().all(|&seq| stage.posted(seq) == 3).then_some(())
    })
    .await;

    // One that rests: its rows wait, under its owner's epoch.
    webhooks.pause(tenant, id, None).await.unwrap();
    let row = webhooks
        .redrive(tenant, id, RedriveRequest::Seqs(seqs.clone()))
        .await
        .unwrap();
    assert_eq!(row.deliveries, Some(4));
    assert_eq!(
        webhooks.get(tenant, id).await.unwrap().state,
        WebhookState::Paused
    );
    webhooks.resume(tenant, id).await.unwrap();
    eventually("they came once more", async || {
        seqs.iter().all(|&seq| stage.posted(seq) == 4).then_some(())
    })
    .await;
    stage.end([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_cannot_be_told_at_once_is_told_when_the_link_is_back() {
    let (stage, [a, b]) = Stage::with(brisk(), ["a", "b"]).await;
    let (tenant, id) = (stage.tenant(), stage.webhook_on(&b, &a).await);
    eventually("its owner runs it", async || b.runs("webhook", id).then_some(())).await;
    stage.net.cut(&name("b"), true);
    let patch = WebhookPatch {
        url: Some("https://example.net/other".to_owned()),
        ..WebhookPatch::default()
    };
    a.runtime.webhooks().patch(tenant, id, patch).await.unwrap();
    stage.net.cut(&name("b"), false);
    eventually("it was told", async || {
        stage.publish(&b).await;
        let received = stage.world.endpoint.received();
        let last = received.last()?;
        (last.url == "https://example.net/other").then_some(())
    })
    .await;
    stage.end([a, b]).await;
}
