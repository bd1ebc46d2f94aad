//! Tenants that keep things for a time of their own.

use std::time::Duration;

use roost_domain::event::EventFilter;
use roost_domain::page::PageRequest;
use roost_domain::store::{EventLog, Messages, Node, Stamp, Tenants, Webhooks};
use roost_domain::tenant::TenantPatch;
use roost_domain::webhook::store::DeliveryFilter;
use roost_domain::webhook::{DeadReason, DeliveryStatus};
use roost_domain::{Owner, TenantId};

use crate::fixture::Fixture;
use crate::webhook::{change, new_event, new_webhook, publish, put, settle};

crate::on_both!(
    each_tenant_keeps_things_for_its_own_time,
    a_time_that_becomes_shorter_counts_for_what_is_there,
    more_than_one_window_is_gone_through,
    what_a_webhook_did_not_get_dies_at_its_tenants_time,
);

const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 24 * 3600)
}

async fn keep_for(f: &Fixture, tenant: TenantId, days: Option<u32>) {
    let patch = TenantPatch {
        retention_days: Some(days),
        ..TenantPatch::default()
    };
    f.store.patch_tenant(tenant, patch, f.now()).await.unwrap();
}

async fn sweep(f: &Fixture) -> u64 {
    f.store.sweep(f.now(), days(30)).await.unwrap()
}

/// Whether an event and a message of the tenant are there.
async fn is_there(f: &Fixture, owner: Owner, whatsapp_id: &str) -> (bool, bool) {
    let message = f
        .store
        .message_by_whatsapp_id(owner.tenant, owner.instance, whatsapp_id)
        .await
        .unwrap();
    let all = EventFilter::default();
    let events = f.store.events(owner.tenant, 0, 10, &all).await.unwrap().events;
    let told = |event: &&std::sync::Arc<roost_domain::event::Event>| event.data.get().contains(whatsapp_id);
    (events.iter().any(|event| told(&event)), message.is_some())
}

async fn each_tenant_keeps_things_for_its_own_time(f: Fixture) {
    let owners = [f.owner().await, f.owner().await, f.owner().await];
    keep_for(&f, owners[0].tenant, Some(7)).await;
    keep_for(&f, owners[2].tenant, Some(90)).await;
    for owner in owners {
        f.store
            .record_inbound(owner, vec![f.inbound_text("WA1", "x")])
            .await
            .unwrap();
    }
    let there = async || {
        let mut there = Vec::new();
        for owner in owners {
            let (event, message) = is_there(&f, owner, "WA1").await;
            assert_eq!(event, message);
            there.push(message);
        }
        there
    };
    assert_eq!(sweep(&f).await, 0);
    f.clock.advance(days(7) + Duration::from_millis(1));
    // The message, its event, and that of the instance.
    assert_eq!(sweep(&f).await, 3);
    assert_eq!(there().await, [false, true, true]);
    assert_eq!(sweep(&f).await, 0);
    f.clock.advance(days(23));
    assert_eq!(sweep(&f).await, 3);
    assert_eq!(there().await, [false, false, true]);
    f.clock.advance(days(60) - Duration::from_millis(2));
    assert_eq!(sweep(&f).await, 0);
    f.clock.advance(Duration::from_millis(2));
    assert_eq!(sweep(&f).await, 3);
    assert_eq!(there().await, [false, false, false]);
}

async fn a_time_that_becomes_shorter_counts_for_what_is_there(f: Fixture) {
    let (owner, other) = (f.owner().await, f.owner().await);
    keep_for(&f, owner.tenant, Some(365)).await;
    for owner in [owner, other] {
        f.store
            .record_inbound(owner, vec![f.inbound_text("WA1", "x")])
            .await
            .unwrap();
    }
    f.clock.advance(days(100));
    assert_eq!(sweep(&f).await, 3);
    assert_eq!(is_there(&f, owner, "WA1").await, (true, true));
    keep_for(&f, owner.tenant, Some(99)).await;
    assert_eq!(sweep(&f).await, 3);
    assert_eq!(is_there(&f, owner, "WA1").await, (false, false));
}

async fn more_than_one_window_is_gone_through(f: Fixture) {
    let (long, short) = (f.owner().await, f.owner().await);
    keep_for(&f, long.tenant, Some(60)).await;
    for part in 0..3 {
        for owner in [long, short] {
            let batch: Vec<_> = (0..400)
                .map(|n| f.inbound_text(&format!("WA{part}-{n}"), "x"))
                .collect();
            f.store.record_inbound(owner, batch).await.unwrap();
        }
        f.clock.advance(Duration::from_secs(1));
    }
    f.clock.advance(days(31));
    assert_eq!(sweep(&f).await, 2401);
    assert_eq!(f.store.storage_bytes(short.tenant).await, Ok(0));
    assert!(f.store.storage_bytes(long.tenant).await.unwrap() > 0);
    f.clock.advance(days(30));
    assert_eq!(sweep(&f).await, 2401);
    assert_eq!(f.store.storage_bytes(long.tenant).await, Ok(0));
}

async fn what_a_webhook_did_not_get_dies_at_its_tenants_time(f: Fixture) {
    let (short, long) = (f.tenant().await, f.tenant().await);
    keep_for(&f, short, Some(2)).await;
    let hooks = [
        put(&f, new_webhook(&f, short)).await,
        put(&f, new_webhook(&f, long)).await,
    ];
    for hook in hooks {
        let event = publish(&f, hook.tenant, 1).await;
        settle(&f, hook, vec![change(&event, DeliveryStatus::Pending)]).await;
        f.store
            .publish(hook.tenant, new_event("custom.a", None, None), Stamp::default())
            .await
            .unwrap();
    }
    f.clock.advance(days(3));
    sweep(&f).await;
    for (hook, dead) in hooks.into_iter().zip([2, 0]) {
        let (all, page) = (DeliveryFilter::default(), PageRequest::new(None, 9));
        let rows = f
            .store
            .deliveries(hook.tenant, hook.webhook, &all, page)
            .await
            .unwrap()
            .rows;
        let expired = rows
            .iter()
            .filter(|row| row.dead_reason == Some(DeadReason::Expired));
        assert_eq!(expired.count(), dead);
    }
    f.clock.advance(days(3));
    sweep(&f).await;
    let (all, page) = (DeliveryFilter::default(), PageRequest::new(None, 9));
    let rows = f
        .store
        .deliveries(short, hooks[0].webhook, &all, page)
        .await
        .unwrap()
        .rows;
    assert_eq!(rows, [], "dead letters have the tenant's time too");
}
