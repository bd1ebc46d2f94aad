use roost_domain::ApiKeyId;
use roost_domain::page::PageRequest;
use roost_domain::store::{Node, StoreError, Tenants};
use roost_domain::tenant::{ApiKey, Principal};
use roost_domain::time::Entropy;

use crate::fixture::Fixture;

crate::on_both!(
    tenants_are_found_and_listed,
    keys_are_found_by_their_prefix,
    epochs_grow_over_restarts,
    a_check_proves_that_writes_work,
);

fn key(f: &Fixture, principal: Principal, prefix: &str) -> ApiKey {
    ApiKey {
        id: ApiKeyId::from_parts(1, f.entropy.bits()),
        principal,
        name: "ci".to_owned(),
        prefix: prefix.to_owned(),
        hash: f.store.key_hash("rst_prefix_secret"),
        created_at: f.now(),
    }
}

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
        f.store.create_tenant(&again).await,
        Err(StoreError::Conflict(_))
    ));
}

async fn keys_are_found_by_their_prefix(f: Fixture) {
    let tenant = f.tenant().await;
    let theirs = key(&f, Principal::Tenant(tenant), "abc");
    let operators = key(&f, Principal::Operator, "xyz");
    for key in [&theirs, &operators] {
        f.store.create_key(key).await.unwrap();
        assert_eq!(
            f.store.key_by_prefix(&key.prefix).await.unwrap().as_ref(),
            Some(key)
        );
    }
    assert_eq!(f.store.key_by_prefix("none").await.unwrap(), None);
    let twice = key(&f, Principal::Operator, "abc");
    assert!(matches!(
        f.store.create_key(&twice).await,
        Err(StoreError::Conflict(_))
    ));
    let nobody = key(
        &f,
        Principal::Tenant(roost_domain::TenantId::from_parts(1, 1)),
        "new",
    );
    assert_eq!(f.store.create_key(&nobody).await, Err(StoreError::NotFound));
    assert_ne!(
        f.store.key_hash("rst_prefix_secret"),
        f.store.key_hash("rst_prefix_secreu")
    );
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
