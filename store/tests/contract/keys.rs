//! API keys and their secrets.

use std::time::Duration;

use roost_domain::api_key::{ApiKey, KeyPatch, KeySecret, Principal, Scope, Scopes};
use roost_domain::page::PageRequest;
use roost_domain::store::{Instances, Keys, Node, Outcome, Stamp, StoreError};
use roost_domain::time::Entropy;
use roost_domain::{ApiKeyId, InstanceId, TenantId};

use crate::fixture::{Fixture, START_MS};

crate::on_both!(
    keys_are_found_by_their_prefix,
    keys_are_listed_and_found_for_their_owner_only,
    a_key_keeps_everything_that_it_is_made_with,
    a_repeated_creation_makes_one_key_and_shows_no_secret,
    a_patch_changes_what_it_names,
    two_secrets_open_a_key_while_it_is_rotated,
    secrets_that_are_over_are_swept_a_day_later,
    a_revoked_key_is_gone,
    times_of_use_do_not_go_backwards,
    a_key_is_made_with_its_instance,
    what_secrets_and_tokens_are_hashed_with_differs,
);

impl Fixture {
    pub fn new_key(&self, principal: Principal) -> ApiKey {
        ApiKey {
            id: ApiKeyId::from_parts(START_MS as u64, self.entropy.bits()),
            principal,
            name: "ci".to_owned(),
            scopes: Scopes::All,
            instances: Vec::new(),
            allowed_networks: Vec::new(),
            calls_per_minute: None,
            expires_at: None,
            last_used_at: None,
            created_at: self.now(),
            updated_at: self.now(),
        }
    }

    pub fn new_secret(&self, prefix: &str) -> KeySecret {
        KeySecret {
            prefix: prefix.to_owned(),
            hash: self.store.key_hash(&format!("rst_{prefix}_secret")),
            expires_at: None,
        }
    }
}

async fn create(f: &Fixture, key: &ApiKey, prefix: &str) {
    let made = f
        .store
        .create_key(key, &f.new_secret(prefix), Stamp::default())
        .await;
    assert_eq!(made, Ok(Outcome::Done(key.clone())));
}

async fn new_key(f: &Fixture, prefix: &str) -> ApiKey {
    let key = f.new_key(Principal::Tenant(f.tenant().await));
    create(f, &key, prefix).await;
    key
}

async fn keys_are_found_by_their_prefix(f: Fixture) {
    let tenant = f.tenant().await;
    for (principal, prefix) in [(Principal::Tenant(tenant), "abc"), (Principal::Operator, "xyz")] {
        let key = f.new_key(principal);
        create(&f, &key, prefix).await;
        let found = f.store.credential(prefix).await.unwrap().unwrap();
        assert_eq!((found.key, found.secret), (key, f.new_secret(prefix)));
        assert_eq!(found.tenant.map(|tenant| tenant.id), principal.tenant());
    }
    assert!(f.store.credential("none").await.unwrap().is_none());
    let twice = f.new_key(Principal::Operator);
    let secret = f.new_secret("abc");
    let refused = f.store.create_key(&twice, &secret, Stamp::default()).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))));
    assert_eq!(
        f.store.key(Principal::Operator, twice.id).await,
        Err(StoreError::NotFound)
    );
    let nobody = f.new_key(Principal::Tenant(TenantId::from_parts(1, 1)));
    let secret = f.new_secret("new");
    let refused = f.store.create_key(&nobody, &secret, Stamp::default()).await;
    assert_eq!(refused, Err(StoreError::NotFound));
}

async fn keys_are_listed_and_found_for_their_owner_only(f: Fixture) {
    let owners = [
        Principal::Tenant(f.tenant().await),
        Principal::Tenant(f.tenant().await),
        Principal::Operator,
    ];
    let mut keys = Vec::new();
    for n in 0..9 {
        let key = f.new_key(owners[n % 3]);
        create(&f, &key, &format!("p{n}")).await;
        keys.push(key);
    }
    for of in owners {
        let mut expected: Vec<_> = keys.iter().filter(|key| key.principal == of).cloned().collect();
        expected.sort_by_key(|key| key.id);
        let first = f.store.keys(of, PageRequest::new(None, 2)).await.unwrap();
        let rest = f.store.keys(of, PageRequest::new(first.next, 2)).await.unwrap();
        assert_eq!([first.rows, rest.rows].concat(), expected);
        assert_eq!(rest.next, None);
        for key in &keys {
            let found = f.store.key(of, key.id).await;
            if key.principal == of {
                assert_eq!(found.as_ref(), Ok(key));
                continue;
            }
            assert_eq!(found, Err(StoreError::NotFound));
            let patched = f.store.patch_key(of, key.id, KeyPatch::default(), f.now()).await;
            assert_eq!(patched, Err(StoreError::NotFound));
            let secret = f.new_secret("thief");
            let rotated = f.store.rotate_key(of, key.id, &secret, f.now(), f.now()).await;
            assert_eq!(rotated, Err(StoreError::NotFound));
            assert_eq!(f.store.revoke_key(of, key.id).await, Err(StoreError::NotFound));
        }
    }
    assert!(f.store.credential("thief").await.unwrap().is_none());
}

async fn a_key_keeps_everything_that_it_is_made_with(f: Fixture) {
    let key = ApiKey {
        name: crate::webhook::HOSTILE.to_owned(),
        scopes: Scopes::these(vec![Scope::MessagesSend, Scope::EventsRead]),
        instances: vec![InstanceId::from_parts(1, 2), InstanceId::from_parts(1, 1)],
        allowed_networks: vec![
            "203.0.113.0/24".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ],
        calls_per_minute: Some(u32::MAX),
        expires_at: Some(f.now().plus(Duration::from_secs(60))),
        ..f.new_key(Principal::Tenant(f.tenant().await))
    };
    create(&f, &key, "abc").await;
    assert_eq!(f.store.key(key.principal, key.id).await, Ok(key));
}

async fn a_repeated_creation_makes_one_key_and_shows_no_secret(f: Fixture) {
    let tenant = f.tenant().await;
    for of in [Principal::Tenant(tenant), Principal::Operator] {
        let prefix = if of == Principal::Operator { "op" } else { "te" };
        let key = f.new_key(of);
        let secret = f.new_secret(prefix);
        let made = f.store.create_key(&key, &secret, f.stamp("k", 1)).await;
        assert_eq!(made, Ok(Outcome::Done(key.clone())));
        let again = f.new_key(of);
        let Ok(Outcome::Replayed(replay)) = f.store.create_key(&again, &secret, f.stamp("k", 1)).await else {
            panic!("made twice")
        };
        let body: serde_json::Value = serde_json::from_str(&replay.body).unwrap();
        assert_eq!(body["id"], key.id.to_string());
        assert_eq!(body["scopes"], serde_json::json!(["*"]));
        assert!(body["key"].is_null() && body.as_object().unwrap().contains_key("key"));
        assert_eq!(
            f.store.keys(of, PageRequest::new(None, 9)).await.unwrap().rows,
            [key]
        );
        let other = f.store.create_key(&again, &secret, f.stamp("k", 2)).await;
        assert_eq!(other, Err(StoreError::IdempotencyKeyReused));
    }
}

async fn a_patch_changes_what_it_names(f: Fixture) {
    let key = new_key(&f, "abc").await;
    f.clock.advance(Duration::from_secs(1));
    let patch = KeyPatch {
        scopes: Some(Scopes::these(vec![Scope::AuditRead])),
        instances: Some(vec![InstanceId::from_parts(1, 1)]),
        calls_per_minute: Some(Some(7)),
        expires_at: Some(Some(f.now())),
        ..KeyPatch::default()
    };
    let changed = f
        .store
        .patch_key(key.principal, key.id, patch, f.now())
        .await
        .unwrap();
    let expected = ApiKey {
        scopes: Scopes::these(vec![Scope::AuditRead]),
        instances: vec![InstanceId::from_parts(1, 1)],
        calls_per_minute: Some(7),
        expires_at: Some(f.now()),
        updated_at: f.now(),
        ..key.clone()
    };
    assert_eq!(changed, expected);
    assert_eq!(f.store.credential("abc").await.unwrap().unwrap().key, expected);
    let back = KeyPatch {
        name: Some("other".to_owned()),
        scopes: Some(Scopes::All),
        instances: Some(Vec::new()),
        allowed_networks: Some(vec!["10.0.0.0/8".parse().unwrap()]),
        calls_per_minute: Some(None),
        expires_at: Some(None),
    };
    let changed = f
        .store
        .patch_key(key.principal, key.id, back, f.now())
        .await
        .unwrap();
    let expected = ApiKey {
        name: "other".to_owned(),
        allowed_networks: vec!["10.0.0.0/8".parse().unwrap()],
        updated_at: f.now(),
        ..key
    };
    assert_eq!(changed, expected);
}

async fn two_secrets_open_a_key_while_it_is_rotated(f: Fixture) {
    let key = new_key(&f, "one").await;
    let end = async |prefix: &str| {
        let found = f.store.credential(prefix).await.unwrap();
        found.map(|found| found.secret.expires_at)
    };
    let rotate = async |prefix: &str, until| {
        let secret = f.new_secret(prefix);
        f.store
            .rotate_key(key.principal, key.id, &secret, until, f.now())
            .await
            .unwrap()
    };
    f.clock.advance(Duration::from_secs(1));
    let hour = f.now().plus(Duration::from_secs(3600));
    let rotated = rotate("two", hour).await;
    assert_eq!(
        rotated,
        ApiKey {
            updated_at: f.now(),
            ..key.clone()
        }
    );
    assert_eq!(
        (end("one").await, end("two").await),
        (Some(Some(hour)), Some(None))
    );
    assert_eq!(f.store.credential("one").await.unwrap().unwrap().key, rotated);
    // Nobody gets a longer overlap than was said.
    f.clock.advance(Duration::from_secs(1));
    let day = f.now().plus(Duration::from_secs(86_400));
    rotate("three", day).await;
    assert_eq!(
        (end("one").await, end("two").await),
        (Some(Some(hour)), Some(Some(day)))
    );
    f.clock.advance(Duration::from_secs(1));
    rotate("four", day).await;
    assert_eq!(end("one").await, None, "the oldest gives room");
    assert_eq!(
        (end("three").await, end("four").await),
        (Some(Some(day)), Some(None))
    );
    // Without an overlap the old ones are over at once.
    f.clock.advance(Duration::from_secs(1));
    rotate("five", f.now()).await;
    assert_eq!(end("four").await, None);
    assert_eq!(end("five").await, Some(None));
    let taken = f.new_secret("five");
    let refused = f
        .store
        .rotate_key(key.principal, key.id, &taken, day, f.now())
        .await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))));
}

async fn secrets_that_are_over_are_swept_a_day_later(f: Fixture) {
    let key = new_key(&f, "old").await;
    let hour = f.now().plus(Duration::from_secs(3600));
    let secret = f.new_secret("new");
    f.store
        .rotate_key(key.principal, key.id, &secret, hour, f.now())
        .await
        .unwrap();
    let month = Duration::from_secs(30 * 86_400);
    for (ahead, left) in [(3600, true), (86_400 - 3600, true), (3600, false)] {
        f.clock.advance(Duration::from_secs(ahead));
        f.store.sweep(f.now(), month).await.unwrap();
        assert_eq!(f.store.credential("old").await.unwrap().is_some(), left);
    }
    assert!(f.store.credential("new").await.unwrap().is_some());
}

async fn a_revoked_key_is_gone(f: Fixture) {
    let key = new_key(&f, "one").await;
    let other = new_key(&f, "other").await;
    let (secret, later) = (f.new_secret("two"), f.now().plus(Duration::from_secs(60)));
    f.store
        .rotate_key(key.principal, key.id, &secret, later, f.now())
        .await
        .unwrap();
    f.store.revoke_key(key.principal, key.id).await.unwrap();
    for prefix in ["one", "two"] {
        assert!(f.store.credential(prefix).await.unwrap().is_none());
    }
    assert_eq!(
        f.store.key(key.principal, key.id).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(
        f.store.revoke_key(key.principal, key.id).await,
        Err(StoreError::NotFound)
    );
    assert!(f.store.key(other.principal, other.id).await.is_ok());
}

async fn times_of_use_do_not_go_backwards(f: Fixture) {
    let (a, b) = (new_key(&f, "a").await, new_key(&f, "b").await);
    let gone = ApiKeyId::from_parts(1, 1);
    let later = f.now().plus(Duration::from_secs(60));
    let used = async |key: &ApiKey| f.store.key(key.principal, key.id).await.unwrap().last_used_at;
    assert_eq!(used(&a).await, None);
    f.store.touch_keys(vec![]).await.unwrap();
    f.store
        .touch_keys(vec![(a.id, later), (gone, later), (b.id, f.now())])
        .await
        .unwrap();
    f.store
        .touch_keys(vec![(a.id, f.now()), (b.id, later)])
        .await
        .unwrap();
    assert_eq!((used(&a).await, used(&b).await), (Some(later), Some(later)));
    assert_eq!(
        f.store.key(a.principal, a.id).await.unwrap().updated_at,
        a.updated_at
    );
}

async fn a_key_is_made_with_its_instance(f: Fixture) {
    let tenant = f.tenant().await;
    let new = f.new_instance();
    let key = ApiKey {
        instances: vec![new.id],
        ..f.new_key(Principal::Tenant(tenant))
    };
    let secret = f.new_secret("bound");
    let create = async |key: &ApiKey, stamp| {
        let new = new.clone();
        f.store
            .create_instance(tenant, new, Some((key, &secret)), stamp)
            .await
    };
    let strangers = ApiKey {
        principal: Principal::Tenant(f.tenant().await),
        ..key.clone()
    };
    assert_eq!(
        create(&strangers, Stamp::default()).await,
        Err(StoreError::NotFound)
    );
    assert!(matches!(
        create(&key, f.stamp("k", 1)).await,
        Ok(Outcome::Done(_))
    ));
    assert_eq!(f.store.credential("bound").await.unwrap().unwrap().key, key);
    let Ok(Outcome::Replayed(replay)) = create(&key, f.stamp("k", 1)).await else {
        panic!("made twice")
    };
    let body: serde_json::Value = serde_json::from_str(&replay.body).unwrap();
    assert_eq!(body["id"], new.id.to_string());
    assert_eq!(
        body["api_key"]["instances"],
        serde_json::json!([new.id.to_string()])
    );
    assert!(body["api_key"]["key"].is_null());
    assert_eq!(f.store.instance_count(tenant).await, Ok(1));
}

async fn what_secrets_and_tokens_are_hashed_with_differs(f: Fixture) {
    let text = "rst_prefix_secret";
    assert_ne!(f.store.key_hash(text), f.store.key_hash("rst_prefix_secreu"));
    assert_ne!(f.store.key_hash(text), f.store.stream_token_mac(text.as_bytes()));
    assert_eq!(f.store.stream_token_mac(b"x"), f.store.stream_token_mac(b"x"));
}
