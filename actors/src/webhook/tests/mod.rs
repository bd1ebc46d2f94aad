//! Webhooks on the real store, with endpoints that do what a test tells them.

mod change;
mod drive;
pub mod endpoint;
mod life;

use std::collections::BTreeMap;
use std::time::Duration;

use roost_domain::event::CustomType;
use roost_domain::page::PageRequest;
use roost_domain::store::{Outcome, Stamp};
use roost_domain::webhook::store::DeliveryFilter;
use roost_domain::webhook::{Delivery, DeliveryMode, DeliveryStatus, Webhook, WebhookFilter};
use roost_domain::{Address, WebhookId};
use serde_json::value::RawValue;

use super::{CreateWebhook, PublishEvent, WebhookSettings};
use crate::Settings;
use crate::testing::{TestNode, eventually, quick};

/// Limits that keep tests short.
fn brisk() -> WebhookSettings {
    let ms = Duration::from_millis;
    WebhookSettings {
        schedule: vec![ms(0), ms(20), ms(40), ms(80)],
        probe_first: ms(10),
        settle_every: ms(5),
        drain_timeout: ms(100),
        ..WebhookSettings::default()
    }
}

async fn node(webhooks: WebhookSettings) -> TestNode {
    let settings = Settings { webhooks, ..quick() };
    TestNode::start(settings).await
}

fn request(url: &str, mode: DeliveryMode) -> CreateWebhook {
    CreateWebhook {
        url: url.to_owned(),
        description: None,
        filter: WebhookFilter {
            events: vec!["custom.*".parse().unwrap()],
            ..WebhookFilter::default()
        },
        mode,
        headers: BTreeMap::new(),
        max_concurrency: None,
        rate_per_second: None,
        api_version: None,
        legacy_signature: false,
        secret: None,
        webhooks_max: None,
    }
}

async fn create(node: &TestNode, mode: DeliveryMode) -> WebhookId {
    create_as(node, request("https://example.org/hook", mode)).await
}

async fn create_as(node: &TestNode, request: CreateWebhook) -> WebhookId {
    match node
        .runtime
        .webhooks()
        .create(node.tenant, request, None)
        .await
        .unwrap()
    {
        Outcome::Done((webhook, _)) => webhook.id,
        Outcome::Replayed(_) => panic!("nothing to replay"),
    }
}

/// Appends an event about a chat. Returns its `seq`.
async fn publish(node: &TestNode, chat: u64) -> i64 {
    let chat: Address = format!("+49151000000{chat:02}").parse().unwrap();
    let event = PublishEvent {
        kind: CustomType::from_name("custom.test").unwrap(),
        instance_id: None,
        chat: Some(chat),
        data: RawValue::from_string("{\"n\":1}".to_owned()).unwrap(),
    };
    match node
        .runtime
        .webhooks()
        .publish(node.tenant, event, Stamp::default())
        .await
        .unwrap()
    {
        Outcome::Done(event) => event.seq,
        Outcome::Replayed(_) => panic!("nothing to replay"),
    }
}

async fn row(node: &TestNode, id: WebhookId) -> Webhook {
    node.runtime.webhooks().get(node.tenant, id).await.unwrap()
}

/// Every delivery, oldest first.
async fn deliveries(node: &TestNode, id: WebhookId) -> Vec<Delivery> {
    let page = PageRequest::new(None, 500);
    let filter = DeliveryFilter::default();
    let page = node
        .runtime
        .webhooks()
        .deliveries(node.tenant, id, &filter, page)
        .await;
    let mut rows = page.unwrap().rows;
    rows.reverse();
    rows
}

fn all(status: DeliveryStatus, count: usize) -> impl Fn(&[Delivery]) -> bool {
    move |rows| rows.len() == count && rows.iter().all(|row| row.status == status)
}

/// Waits until deliveries are as wanted.
async fn settled(
    node: &TestNode,
    id: WebhookId,
    what: &str,
    wanted: impl Fn(&[Delivery]) -> bool,
) -> Vec<Delivery> {
    eventually(what, async || {
        Some(deliveries(node, id).await).filter(|rows| wanted(rows))
    })
    .await
}
