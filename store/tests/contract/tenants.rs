use roost_domain::ApiKeyId;
use roost_domain::api_key::{ApiKey, KeySecret, Principal, Scopes};
use roost_domain::page::PageRequest;
use roost_domain::store::{Keys, Node, Outcome, Stamp, StoreError, Tenants};
use roost_domain::time::Entropy;

use crate::fixture::Fixture;

crate::on_both!(
    tenants_are_found_and_listed,
    keys_are_found_by_their_prefix,
    epochs_grow_over_restarts,
    a_check_proves_that_writes_work,
);

fn key(f: &Fixture, principal: Principal) -> ApiKey {
    ApiKey {
        id: ApiKeyId::from_parts(1, f.entropy.bits()),
        principal,
        name: "ci".to_owned(),
        scopes: Scopes::All,
        instances: Vec::new(),
        allowed_networks: Vec::new(),
        calls_per_minute: None,
        expires_at: None,
        last_used_at: None,
        created_at: f.now(),
        updated_at: f.now(),
    }
}

fn secret(f: &Fixture, prefix: &str) -> KeySecret {
    KeySecret {
        prefix: prefix.to_owned(),
        hash: f.store.key_hash(&format!("rst_{prefix}_secret")),
        expires_at: None,
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
        f.store.create_tenant(&again, None, Stamp::default()).await,
        Err(StoreError::Conflict(_))
    ));
}

async fn keys_are_found_by_their_prefix(f: Fixture) {
    let tenant = f.tenant().await;
    let theirs = key(&f, Principal::Tenant(tenant));
    let operators = key(&f, Principal::Operator);
    for (key, prefix) in [(&theirs, "abc"), (&operators, "xyz")] {
        let secret = secret(&f, prefix);
        let made = f.store.create_key(key, &secret, Stamp::default()).await;
        assert_eq!(made, Ok(Outcome::Done(key.clone())));
        let found = f.store.credential(prefix).await.unwrap().unwrap();
        assert_eq!((&found.key, &found.secret), (key, &secret));
        assert_eq!(found.tenant.map(|tenant| tenant.id), key.principal.tenant());
    }
    assert!(f.store.credential("none").await.unwrap().is_none());
    let twice = key(&f, Principal::Operator);
    let refused = f
        .store
        .create_key(&twice, &secret(&f, "abc"), Stamp::default())
        .await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))));
    let nobody = key(&f, Principal::Tenant(roost_domain::TenantId::from_parts(1, 1)));
    let refused = f
        .store
        .create_key(&nobody, &secret(&f, "new"), Stamp::default())
        .await;
    assert_eq!(refused, Err(StoreError::NotFound));
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
