use std::num::NonZeroU32;
use std::time::Duration;

use roost_domain::api_key::{ApiKey, Principal};
use roost_domain::instance::{DesiredState, InstanceState, StateChange};
use roost_domain::limit::Limits;
use roost_domain::page::PageRequest;
use roost_domain::store::{Instances, Keys, Node, Outcome, Stamp, StoreError, Tenants, Webhooks};
use roost_domain::tenant::{Tenant, TenantPatch, TenantState};
use roost_domain::{Slot, TenantId};

use crate::fixture::Fixture;
use crate::instances::change;
use crate::webhook::{HOSTILE, new_webhook, put};

crate::on_both!(
    tenants_are_found_and_listed,
    a_patch_changes_what_it_names_and_nothing_else,
    a_tenant_is_made_once_with_its_key,
    what_a_suspended_tenant_runs_is_not_started,
    epochs_grow_over_restarts,
    a_check_proves_that_writes_work,
);

async fn tenants_are_found_and_listed(f: Fixture) {
    let mut ids = [f.tenant().await, f.tenant().await, f.tenant().await];
    ids.sort();
    assert_eq!(f.store.tenant(ids[0]).await.unwrap().name, "acme");
    let page = f.store.tenants(PageRequest::new(None, 2)).await.unwrap();
    assert_eq!(
        page.rows.iter().map(|tenant| tenant.id).collect::<Vec<_>>(),
        ids[..2]
    );
    let page = f.store.tenants(PageRequest::new(page.next, 2)).await.unwrap();
    assert_eq!(
        page.rows.iter().map(|tenant| tenant.id).collect::<Vec<_>>(),
        ids[2..]
    );
    assert_eq!(page.next, None);
    let again = f.store.tenant(ids[0]).await.unwrap();
    assert!(matches!(
        f.store.create_tenant(&again, None, Stamp::default()).await,
        Err(StoreError::Conflict(_))
    ));
}

async fn a_patch_changes_what_it_names_and_nothing_else(f: Fixture) {
    let id = f.tenant().await;
    let made = f.store.tenant(id).await.unwrap();
    let limits = Limits {
        messages_per_hour: NonZeroU32::new(100),
        storage_bytes: Some(1 << 40),
        ..Limits::default()
    };
    f.clock.advance(Duration::from_secs(1));
    let patch = TenantPatch {
        plan: Some(Some("pro".to_owned())),
        limits: Some(limits),
        retention_days: Some(Some(7)),
        suspended: Some(true),
        ..TenantPatch::default()
    };
    let changed = f.store.patch_tenant(id, patch, f.now()).await.unwrap();
    assert_eq!(
        changed,
        Tenant {
            plan: Some("pro".to_owned()),
            limits,
            retention_days: Some(7),
            state: TenantState::Suspended,
            updated_at: f.now(),
            ..made.clone()
        }
    );
    assert_eq!(f.store.tenant(id).await.unwrap(), changed);
    let back = TenantPatch {
        name: Some(HOSTILE.to_owned()),
        plan: Some(None),
        limits: Some(Limits::default()),
        retention_days: Some(None),
        suspended: Some(false),
    };
    let changed = f.store.patch_tenant(id, back, f.now()).await.unwrap();
    assert_eq!(
        changed,
        Tenant {
            name: HOSTILE.to_owned(),
            updated_at: f.now(),
            ..made
        }
    );
    let nobody = TenantId::from_parts(1, 1);
    let refused = f.store.patch_tenant(nobody, TenantPatch::default(), f.now());
    assert_eq!(refused.await, Err(StoreError::NotFound));
}

async fn a_tenant_is_made_once_with_its_key(f: Fixture) {
    let tenant = Tenant::new(TenantId::from_parts(5, 5), "acme".to_owned(), f.now());
    let (key, secret) = (f.new_key(Principal::Tenant(tenant.id)), f.new_secret("first"));
    let create = async |key: &ApiKey, fingerprint| {
        let stamp = f.stamp("k", fingerprint);
        f.store.create_tenant(&tenant, Some((key, &secret)), stamp).await
    };
    assert_eq!(create(&key, 1).await, Ok(Outcome::Done(tenant.clone())));
    let found = f.store.credential("first").await.unwrap().unwrap();
    assert_eq!((found.key, found.tenant), (key.clone(), Some(tenant.clone())));
    let Ok(Outcome::Replayed(replay)) = create(&key, 1).await else {
        panic!("made twice")
    };
    let body: serde_json::Value = serde_json::from_str(&replay.body).unwrap();
    assert_eq!(body["id"], tenant.id.to_string());
    assert_eq!(body["api_key"]["id"], key.id.to_string());
    assert!(body["api_key"]["key"].is_null(), "{body}");
    assert_eq!(create(&key, 2).await, Err(StoreError::IdempotencyKeyReused));
    let another = Tenant::new(TenantId::from_parts(5, 6), "other".to_owned(), f.now());
    let refused = f
        .store
        .create_tenant(&another, Some((&key, &secret)), Stamp::default());
    assert_eq!(refused.await, Err(StoreError::NotFound), "the key of another");
    assert_eq!(f.store.tenant(another.id).await, Err(StoreError::NotFound));
}

async fn what_a_suspended_tenant_runs_is_not_started(f: Fixture) {
    let owner = f.owner().await;
    let change = StateChange {
        desired: Some(DesiredState::Running),
        ..change(&f, InstanceState::Connecting)
    };
    f.store.change_state(owner, change).await.unwrap();
    put(&f, new_webhook(&f, owner.tenant)).await;
    let running = async || {
        let instances = f
            .store
            .running_instances(Slot::EVERY, PageRequest::new(None, 5))
            .await
            .unwrap();
        let webhooks = f
            .store
            .enabled_webhooks(Slot::EVERY, PageRequest::new(None, 5))
            .await
            .unwrap();
        (instances.rows.len(), webhooks.rows.len())
    };
    assert_eq!(running().await, (1, 1));
    for (suspended, expected) in [(true, (0, 0)), (false, (1, 1))] {
        let patch = TenantPatch {
            suspended: Some(suspended),
            ..TenantPatch::default()
        };
        f.store.patch_tenant(owner.tenant, patch, f.now()).await.unwrap();
        assert_eq!(running().await, expected);
    }
}

async fn epochs_grow_over_restarts(mut f: Fixture) {
    let first = f.store.next_epoch().await.unwrap();
    let second = f.store.next_epoch().await.unwrap();
    f.reopen().await;
    let third = f.store.next_epoch().await.unwrap();
    assert!(first < second && second < third);
}

async fn a_check_proves_that_writes_work(f: Fixture) {
    f.store.check().await.unwrap();
    f.store.check().await.unwrap();
    f.store.close().await;
    assert!(matches!(f.store.check().await, Err(StoreError::Unavailable(_))));
}
