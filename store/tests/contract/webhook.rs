//! Webhooks as their tenants make and change them, and short ways to fill them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use roost_domain::event::{Event, EventType, NewEvent};
use roost_domain::page::PageRequest;
use roost_domain::store::{Outcome, Replay, Stamp, StoreError, Webhooks};
use roost_domain::time::Entropy;
use roost_domain::webhook::store::{DeliveryChange, Settlement, WebhookPatch};
use roost_domain::webhook::{
    ApiVersion, Attempt, AttemptError, DeliveryMode, DeliveryStatus, Webhook, WebhookFilter, WebhookOwner,
    WebhookSecret, WebhookState,
};
use roost_domain::{Address, Epoch, InstanceId, Slot, TenantId, WebhookId};
use serde_json::value::RawValue;

use crate::fixture::{Fixture, START_MS, chat};

crate::on_both!(
    a_new_webhook_begins_at_the_end_of_the_log,
    webhooks_are_listed_by_id_in_pages,
    a_tenant_has_at_most_so_many_webhooks,
    a_repeated_creation_gives_the_kept_answer,
    every_field_can_be_changed_and_the_optional_ones_removed,
    two_changes_of_parts_of_a_filter_keep_each_other,
    enabling_ends_the_time_of_failures,
    hostile_text_is_kept_and_zero_bytes_are_replaced,
    enabled_webhooks_of_every_tenant_are_listed,
);

pub const HOSTILE: &str = "\"q' \\ {rows} $1 😀\u{202e}\r\n";

pub fn new_webhook(f: &Fixture, tenant: TenantId) -> Webhook {
    Webhook {
        id: WebhookId::from_parts(START_MS as u64, f.entropy.bits()),
        tenant_id: tenant,
        url: "https://example.org/hook".to_owned(),
        description: None,
        filter: WebhookFilter {
            events: vec!["custom.*".parse().unwrap()],
            ..WebhookFilter::default()
        },
        mode: DeliveryMode::Ordered,
        headers: BTreeMap::new(),
        max_concurrency: 16,
        rate_per_second: None,
        api_version: ApiVersion::LATEST,
        legacy_signature: false,
        state: WebhookState::Enabled,
        state_reason: None,
        created_at: f.now(),
        updated_at: f.now(),
    }
}

pub fn secret(byte: u8) -> WebhookSecret {
    WebhookSecret {
        key: vec![byte; 32],
        expires_at: None,
    }
}

/// Makes it, and takes it with epoch 1.
pub async fn put(f: &Fixture, webhook: Webhook) -> WebhookOwner {
    let owner = WebhookOwner {
        tenant: webhook.tenant_id,
        webhook: webhook.id,
        epoch: Epoch(1),
    };
    let made = f.store.create_webhook(webhook, secret(1), 100, None).await;
    assert!(matches!(made, Ok(Outcome::Done(_))), "{made:?}");
    f.store.activate_webhook(owner).await.unwrap();
    owner
}

/// A tenant with a webhook for its own events.
pub async fn hooked(f: &Fixture) -> WebhookOwner {
    let tenant = f.tenant().await;
    put(f, new_webhook(f, tenant)).await
}

pub fn new_event(kind: &str, instance_id: Option<InstanceId>, chat: Option<Address>) -> NewEvent {
    NewEvent {
        kind: EventType::from_name(kind).unwrap(),
        instance_id,
        chat,
        data: RawValue::from_string(r#"{"n":1,"nul":"a\u0000b"}"#.to_owned()).unwrap(),
    }
}

pub async fn publish_new(f: &Fixture, tenant: TenantId, event: NewEvent) -> Arc<Event> {
    match f.store.publish(tenant, event, Stamp::default()).await.unwrap() {
        Outcome::Done(event) => event,
        Outcome::Replayed(_) => panic!("replayed"),
    }
}

/// `custom.a` in the n-th customer's chat.
pub async fn publish(f: &Fixture, tenant: TenantId, n: u64) -> Arc<Event> {
    publish_new(f, tenant, new_event("custom.a", None, Some(chat(n).id))).await
}

pub fn attempt(f: &Fixture, number: u32, status: Option<u16>) -> Attempt {
    Attempt {
        number,
        at: f.now(),
        duration_ms: 7,
        status,
        error: status.is_none().then(|| AttemptError {
            code: "timeout".to_owned(),
            detail: HOSTILE.to_owned(),
        }),
        answer: status.map(|status| format!("{status} {HOSTILE}\0")),
    }
}

/// An event's delivery with this status, and no attempts.
pub fn change(event: &Arc<Event>, status: DeliveryStatus) -> DeliveryChange {
    DeliveryChange {
        event: event.clone(),
        order_key: event.chat.as_ref().map(ToString::to_string).unwrap_or_default(),
        status,
        dead_reason: None,
        round: 1,
        next_attempt_at: None,
        attempts: Vec::new(),
    }
}

pub async fn settle(f: &Fixture, owner: WebhookOwner, deliveries: Vec<DeliveryChange>) {
    let settlement = Settlement {
        deliveries,
        ..Settlement::default()
    };
    f.store.settle(owner, settlement).await.unwrap();
}

async fn a_new_webhook_begins_at_the_end_of_the_log(f: Fixture) {
    let tenant = f.tenant().await;
    publish(&f, tenant, 1).await;
    let webhook = Webhook {
        headers: [("x-key".to_owned(), "v".to_owned())].into(),
        rate_per_second: Some(9),
        ..new_webhook(&f, tenant)
    };
    let made = f
        .store
        .create_webhook(webhook.clone(), secret(1), 1, None)
        .await
        .unwrap();
    assert_eq!(made, Outcome::Done(webhook.clone()));
    let log = f.log(tenant).await;
    assert_eq!(log[1].kind, EventType::WebhookCreated);
    let data: serde_json::Value = serde_json::from_str(log[1].data.get()).unwrap();
    assert_eq!(data["webhook"]["id"], webhook.id.to_string());
    assert_eq!(
        data["webhook"]["headers"]["x-key"], "***",
        "an event does not tell credentials"
    );
    assert_eq!(f.store.webhook(tenant, webhook.id).await.unwrap(), webhook);
    assert_eq!(
        f.store.webhook_secrets(tenant, webhook.id).await.unwrap(),
        [secret(1)]
    );
    let owner = WebhookOwner {
        tenant,
        webhook: webhook.id,
        epoch: Epoch(1),
    };
    let duty = f.store.activate_webhook(owner).await.unwrap();
    assert_eq!((duty.cursor, duty.failing_since), (2, None));
    assert_eq!((duty.webhook, duty.secrets), (webhook, vec![secret(1)]));
    assert_eq!(duty.replays, []);
    let orphan = new_webhook(&f, TenantId::from_parts(1, 1));
    let refused = f.store.create_webhook(orphan, secret(1), 1, None).await;
    assert_eq!(refused, Err(StoreError::NotFound));
}

async fn webhooks_are_listed_by_id_in_pages(f: Fixture) {
    let tenant = f.tenant().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(put(&f, new_webhook(&f, tenant)).await.webhook);
    }
    hooked(&f).await;
    ids.sort();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = f
            .store
            .webhooks(tenant, PageRequest::new(after, 2))
            .await
            .unwrap();
        found.extend(page.rows.into_iter().map(|webhook| webhook.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, ids);
}

async fn a_tenant_has_at_most_so_many_webhooks(f: Fixture) {
    let tenant = f.tenant().await;
    let creations = (0..6).map(|_| {
        f.store
            .create_webhook(new_webhook(&f, tenant), secret(1), 2, None)
    });
    let results = futures::future::join_all(creations).await;
    let made = results.iter().filter(|made| made.is_ok()).count();
    let refused = results
        .iter()
        .filter(|made| matches!(made, Err(StoreError::Conflict(_))));
    assert_eq!((made, refused.count()), (2, 4));
    assert_eq!(f.kinds(tenant).await, ["webhook.created"; 2]);
    let another = hooked(&f).await;
    let one_more = new_webhook(&f, another.tenant);
    assert!(f.store.create_webhook(one_more, secret(1), 2, None).await.is_ok());
}

async fn a_repeated_creation_gives_the_kept_answer(f: Fixture) {
    let tenant = f.tenant().await;
    let first = new_webhook(&f, tenant);
    let reply = first.created_json(None).unwrap();
    assert!(!reply.contains("whsec_"));
    let kept = |fingerprint| Some((f.idempotency("k", fingerprint), reply.clone()));
    f.store
        .create_webhook(first.clone(), secret(1), 1, kept(1))
        .await
        .unwrap();
    let again = f
        .store
        .create_webhook(new_webhook(&f, tenant), secret(2), 1, kept(1))
        .await;
    let replay = Replay {
        status: 202,
        body: reply.clone(),
    };
    assert_eq!(again, Ok(Outcome::Replayed(replay)));
    let other = f
        .store
        .create_webhook(new_webhook(&f, tenant), secret(2), 1, kept(2))
        .await;
    assert_eq!(other, Err(StoreError::IdempotencyKeyReused));
    let page = f.store.webhooks(tenant, PageRequest::new(None, 5)).await.unwrap();
    assert_eq!(page.rows, [first]);
    assert_eq!(f.kinds(tenant).await, ["webhook.created"]);
}

async fn every_field_can_be_changed_and_the_optional_ones_removed(mut f: Fixture) {
    let owner = hooked(&f).await;
    let before = f.store.webhook(owner.tenant, owner.webhook).await.unwrap();
    f.clock.advance(Duration::from_secs(5));
    let filter = WebhookFilter {
        events: vec!["message.*".parse().unwrap(), "custom.a.b".parse().unwrap()],
        instances: vec![InstanceId::from_parts(1, 1)],
        chats: vec![chat(1).id],
    };
    let patch = WebhookPatch {
        url: Some("http://other/".to_owned()),
        description: Some(Some("mine".to_owned())),
        events: Some(filter.events.clone()),
        instances: Some(filter.instances.clone()),
        chats: Some(filter.chats.clone()),
        mode: Some(DeliveryMode::Unordered),
        headers: Some([("authorization".to_owned(), HOSTILE.to_owned())].into()),
        max_concurrency: Some(3),
        rate_per_second: Some(Some(u32::MAX)),
        api_version: Some(ApiVersion::V20261101),
        legacy_signature: Some(true),
        state: Some((WebhookState::Paused, Some("holidays".to_owned()))),
    };
    let expected = Webhook {
        url: "http://other/".to_owned(),
        description: Some("mine".to_owned()),
        filter,
        mode: DeliveryMode::Unordered,
        headers: [("authorization".to_owned(), HOSTILE.to_owned())].into(),
        max_concurrency: 3,
        rate_per_second: Some(u32::MAX),
        legacy_signature: true,
        state: WebhookState::Paused,
        state_reason: Some("holidays".to_owned()),
        updated_at: f.now(),
        ..before.clone()
    };
    let patch_with = async |f: &Fixture, patch| {
        let (tenant, id) = (owner.tenant, owner.webhook);
        let patched = f.store.patch_webhook(tenant, id, patch, f.now()).await.unwrap();
        assert_eq!(f.store.webhook(tenant, id).await.unwrap(), patched);
        patched
    };
    assert_eq!(patch_with(&f, patch).await, expected);
    f.reopen().await;
    assert_eq!(patch_with(&f, WebhookPatch::default()).await, expected);
    let removals = WebhookPatch {
        description: Some(None),
        headers: Some(BTreeMap::new()),
        rate_per_second: Some(None),
        state: Some((WebhookState::Enabled, None)),
        ..WebhookPatch::default()
    };
    let removed = Webhook {
        description: None,
        headers: BTreeMap::new(),
        rate_per_second: None,
        state: WebhookState::Enabled,
        state_reason: None,
        ..expected
    };
    assert_eq!(patch_with(&f, removals).await, removed);
    let duty = f.store.webhook_duty(owner).await.unwrap();
    assert_eq!((duty.cursor, duty.webhook), (1, removed));
}

async fn two_changes_of_parts_of_a_filter_keep_each_other(f: Fixture) {
    let owner = hooked(&f).await;
    let patch = |patch| f.store.patch_webhook(owner.tenant, owner.webhook, patch, f.now());
    let (events, chats) = (vec!["message.*".parse().unwrap()], vec![chat(1).id]);
    let (one, other) = tokio::join!(
        patch(WebhookPatch {
            events: Some(events.clone()),
            ..WebhookPatch::default()
        }),
        patch(WebhookPatch {
            chats: Some(chats.clone()),
            ..WebhookPatch::default()
        }),
    );
    one.unwrap();
    other.unwrap();
    let filter = f.store.webhook(owner.tenant, owner.webhook).await.unwrap().filter;
    assert_eq!((filter.events, filter.chats), (events, chats));
}

async fn enabling_ends_the_time_of_failures(f: Fixture) {
    let owner = hooked(&f).await;
    let failing = Settlement {
        failing_since: Some(Some(f.now())),
        ..Settlement::default()
    };
    f.store.settle(owner, failing).await.unwrap();
    for (state, failing_since) in [
        (WebhookState::Paused, Some(f.now())),
        (WebhookState::Enabled, None),
    ] {
        let patch = WebhookPatch {
            state: Some((state, None)),
            ..WebhookPatch::default()
        };
        f.store
            .patch_webhook(owner.tenant, owner.webhook, patch, f.now())
            .await
            .unwrap();
        let duty = f.store.webhook_duty(owner).await.unwrap();
        assert_eq!((duty.webhook.state, duty.failing_since), (state, failing_since));
    }
}

async fn hostile_text_is_kept_and_zero_bytes_are_replaced(f: Fixture) {
    let tenant = f.tenant().await;
    let webhook = Webhook {
        url: format!("https://e/{HOSTILE}\0"),
        description: Some(format!("\0{HOSTILE}")),
        headers: [(HOSTILE.to_owned(), format!("{HOSTILE}\0"))].into(),
        state_reason: Some(format!("{HOSTILE}\0")),
        ..new_webhook(&f, tenant)
    };
    let owner = put(&f, webhook.clone()).await;
    let stored = |text: &str| text.replace('\0', "\u{fffd}");
    let expected = Webhook {
        url: stored(&webhook.url),
        description: webhook.description.as_deref().map(stored),
        state_reason: webhook.state_reason.as_deref().map(stored),
        ..webhook
    };
    assert_eq!(f.store.webhook(tenant, owner.webhook).await.unwrap(), expected);
}

async fn enabled_webhooks_of_every_tenant_are_listed(f: Fixture) {
    let mut enabled = Vec::new();
    for state in [
        WebhookState::Enabled,
        WebhookState::Paused,
        WebhookState::Enabled,
        WebhookState::Disabled,
        WebhookState::Enabled,
    ] {
        let tenant = f.tenant().await;
        let webhook = Webhook {
            state,
            ..new_webhook(&f, tenant)
        };
        let owner = put(&f, webhook).await;
        if state == WebhookState::Enabled {
            enabled.push((owner.webhook, tenant));
        }
    }
    enabled.sort();
    let page = async |after, limit| {
        f.store
            .enabled_webhooks(Slot::EVERY, PageRequest::new(after, limit))
            .await
            .unwrap()
    };
    let first = page(None, 2).await;
    assert_eq!((&first.rows[..], first.next), (&enabled[..2], Some(enabled[1].0)));
    let rest = page(first.next, 2).await;
    assert_eq!((&rest.rows[..], rest.next), (&enabled[2..], None));
}
