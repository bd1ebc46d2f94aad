//! The end of a tenant: its key, then its rows.

use bytes::Bytes;
use roost_domain::api_key::Principal;
use roost_domain::audit::AuditFilter;
use roost_domain::instance::InstancePatch;
use roost_domain::page::PageRequest;
use roost_domain::store::{
    Audit, Collection, EventLog, Instances, Keys, LinkState, Messages, Replies, Stamp, StateOp, StoreError,
    Tenants, UsageLog, Webhooks,
};
use roost_domain::tenant::{TenantPatch, TenantState};
use roost_domain::usage::Day;
use roost_domain::webhook::store::ReplayScope;
use roost_domain::webhook::{DeliveryStatus, WebhookOwner};
use roost_domain::{Owner, TenantId};

use crate::fixture::Fixture;
use crate::webhook::{change, new_event, new_webhook, publish, put, settle};

crate::on_both!(
    a_destroyed_key_opens_nothing_and_no_api_key_is_left,
    every_row_goes_in_bounded_steps_and_others_stay,
    it_goes_on_after_a_restart_and_ends_once,
    nothing_can_be_written_once_rows_go,
    messages_of_a_tenant_that_goes_do_not_expire_and_keep_none_from_it,
    what_earlier_deletions_left_goes_too,
    a_tenant_that_is_not_being_deleted_keeps_its_rows,
);

/// Tenants of which rows are to be removed.
async fn being_deleted(f: &Fixture) -> Vec<TenantId> {
    let page = f.store.resting_tenants(PageRequest::new(None, 500)).await;
    let rows = page.unwrap().rows.into_iter();
    let deleting = rows.filter(|(_, state)| *state == TenantState::Deleting);
    deleting.map(|(tenant, _)| tenant).collect()
}

/// A tenant with a row in every table.
async fn full(f: &Fixture, key: &str) -> (Owner, WebhookOwner) {
    let owner = f.owner().await;
    let of = Principal::Tenant(owner.tenant);
    f.store
        .create_key(&f.new_key(of), &f.new_secret(key), Stamp::default())
        .await
        .unwrap();
    let patch = InstancePatch {
        name: None,
        proxy: Some(Some("http://u:p@h:1".to_owned())),
        ..InstancePatch::default()
    };
    f.store
        .patch_instance(owner.tenant, owner.instance, patch, f.now())
        .await
        .unwrap();
    let put_state = StateOp::Put {
        collection: Collection::Session,
        key: "k".to_owned(),
        value: Bytes::from_static(b"v"),
        expires_at: None,
    };
    f.store.apply(owner, vec![put_state]).await.unwrap();
    let audit = Some(f.act(of, "send_message"));
    let stamp = Stamp {
        audit,
        ..f.stamp("k", 1)
    };
    f.store.accept(owner, f.new_message("x"), stamp).await.unwrap();
    let edit = f.inbound(
        "E",
        roost_domain::message::InboundBody::Edit {
            target: "A".to_owned(),
            content: roost_domain::message::Content::text("edited"),
        },
    );
    f.store
        .record_inbound(owner, vec![f.inbound_text("A", "x"), edit])
        .await
        .unwrap();
    let mut webhook = new_webhook(f, owner.tenant);
    webhook.headers.insert("x-a".to_owned(), "secret".to_owned());
    let hook = put(f, webhook).await;
    for n in 0..3 {
        let event = publish(f, owner.tenant, n).await;
        settle(f, hook, vec![change(&event, DeliveryStatus::Pending)]).await;
    }
    f.store.add_replay(hook, 1, 2, ReplayScope::Events).await.unwrap();
    (owner, hook)
}

const KEPT: [&str; 2] = ["audit_event", "usage_day"];

/// Rows of a tenant, by table.
async fn rows(f: &Fixture, owner: Owner) -> Vec<(String, u64)> {
    let tables = if f.is_sqlite() {
        "SELECT m.name FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c \
         WHERE m.type = 'table' AND c.name = 'tenant_id' ORDER BY m.name"
    } else {
        "SELECT table_name::text FROM information_schema.columns WHERE column_name = 'tenant_id' \
         AND table_schema = 'public' ORDER BY 1"
    };
    let mut counts = Vec::new();
    for table in f.sql(tables).await {
        let count = format!(
            "SELECT CAST(count(*) AS text) FROM {table} WHERE tenant_id = '{}'",
            owner.tenant
        );
        counts.push((table, f.sql(&count).await[0].parse().unwrap()));
    }
    counts
}

async fn remove_all(f: &Fixture, owner: Owner, limit: u32) -> u64 {
    let mut total = 0;
    loop {
        let removed = f.store.remove_rows(owner.tenant, limit, f.now()).await.unwrap();
        total += removed;
        if removed < u64::from(limit) {
            return total;
        }
    }
}

async fn a_destroyed_key_opens_nothing_and_no_api_key_is_left(f: Fixture) {
    let (owner, _) = full(&f, "a").await;
    let (others, _) = full(&f, "b").await;
    let salt = f
        .sql(&format!(
            "SELECT {} FROM tenant WHERE id = '{}'",
            if f.is_sqlite() {
                "hex(key_salt)"
            } else {
                "encode(key_salt, 'hex')"
            },
            owner.tenant
        ))
        .await;
    let destroyed = f.store.destroy_tenant(owner.tenant, f.now()).await.unwrap();
    assert_eq!(destroyed.state, TenantState::Deleting);
    assert_eq!(being_deleted(&f).await, [owner.tenant]);
    assert!(f.store.credential("a").await.unwrap().is_none());
    assert!(f.store.credential("b").await.unwrap().is_some());
    assert_eq!(
        f.store.get(owner, Collection::Session, "k").await,
        Err(StoreError::NotFound),
        "there is no key any more"
    );
    assert!(
        f.store
            .get(others, Collection::Session, "k")
            .await
            .unwrap()
            .is_some()
    );
    let row = f.store.instance(owner.tenant, owner.instance).await.unwrap();
    assert_eq!(
        row.proxy, None,
        "what was sealed is gone, the row can still be read"
    );
    let page = PageRequest::new(None, 9);
    assert!(
        f.store.webhooks(owner.tenant, page).await.unwrap().rows[0]
            .headers
            .is_empty()
    );
    let key = f.new_key(Principal::Tenant(owner.tenant));
    let refused = f
        .store
        .create_key(&key, &f.new_secret("c"), Stamp::default())
        .await;
    assert_eq!(refused, Err(StoreError::NotFound));
    let refused = f
        .store
        .patch_tenant(owner.tenant, TenantPatch::default(), f.now())
        .await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))));
    assert_eq!(f.store.destroy_tenant(owner.tenant, f.now()).await, Ok(destroyed));
    if f.is_sqlite() {
        f.store.close().await;
        let salt = hex(&salt[0]);
        assert_eq!(salt.len(), 32);
        let file = std::fs::read(f.path()).unwrap();
        assert!(
            !file.windows(32).any(|window| window == salt),
            "overwritten in the file"
        );
    }
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).unwrap())
        .collect()
}

async fn every_row_goes_in_bounded_steps_and_others_stay(f: Fixture) {
    let (owner, _) = full(&f, "a").await;
    let (others, _) = full(&f, "b").await;
    let empty: Vec<_> = rows(&f, owner)
        .await
        .into_iter()
        .filter(|(_, count)| *count == 0)
        .collect();
    assert_eq!(
        empty,
        [("remains".to_owned(), 0)],
        "a table that this test does not fill"
    );
    let theirs = rows(&f, others).await;
    f.store.destroy_tenant(owner.tenant, f.now()).await.unwrap();
    let mut steps = 0;
    loop {
        let removed = f.store.remove_rows(owner.tenant, 2, f.now()).await.unwrap();
        assert!(removed <= 3, "about two");
        steps += 1;
        if f.store.tenant(owner.tenant).await.unwrap().state == TenantState::Deleted {
            break;
        }
    }
    assert!(steps > 8, "{steps}");
    for (table, count) in rows(&f, owner).await {
        assert_eq!(count > 0, KEPT.contains(&table.as_str()), "{table} has {count}");
    }
    assert_eq!(rows(&f, others).await, theirs);
    let gone = f.store.tenant(owner.tenant).await.unwrap();
    assert_eq!(gone.deleted_at, Some(f.now()));
    assert_eq!(being_deleted(&f).await, []);
    let of = Principal::Tenant(owner.tenant);
    let log = f
        .store
        .audit_events(of, &AuditFilter::default(), PageRequest::new(None, 9))
        .await;
    assert_eq!(log.unwrap().rows.len(), 1);
    let today = Day::of(f.now());
    assert_eq!(
        f.store.usage(owner.tenant, today, today).await.unwrap()[0]
            .usage
            .messages_out,
        1
    );
    assert_eq!(f.store.storage_bytes(owner.tenant).await, Ok(0));
    assert!(f.store.storage_bytes(others.tenant).await.unwrap() > 0);
    // Its name in the list of tenants is all that is left.
    assert_eq!(f.store.remove_rows(owner.tenant, 2, f.now()).await, Ok(0));
}

async fn it_goes_on_after_a_restart_and_ends_once(mut f: Fixture) {
    let (owner, _) = full(&f, "a").await;
    f.store.destroy_tenant(owner.tenant, f.now()).await.unwrap();
    for _ in 0..4 {
        f.store.remove_rows(owner.tenant, 1, f.now()).await.unwrap();
        f.reopen().await;
        assert_eq!(being_deleted(&f).await, [owner.tenant]);
        f.store.destroy_tenant(owner.tenant, f.now()).await.unwrap();
    }
    remove_all(&f, owner, 1000).await;
    let ended = f.now();
    f.clock.advance(std::time::Duration::from_secs(1));
    f.reopen().await;
    let gone = f.store.destroy_tenant(owner.tenant, f.now()).await.unwrap();
    assert_eq!((gone.state, gone.deleted_at), (TenantState::Deleted, Some(ended)));
}

async fn nothing_can_be_written_once_rows_go(f: Fixture) {
    let (owner, hook) = full(&f, "a").await;
    f.store.destroy_tenant(owner.tenant, f.now()).await.unwrap();
    let late = publish(&f, owner.tenant, 9).await;
    // The counter, the instance and the webhook go first.
    f.store.remove_rows(owner.tenant, 3, f.now()).await.unwrap();
    let not_found = StoreError::NotFound;
    let paused = roost_domain::webhook::store::Settlement {
        disabled: Some("gone".to_owned()),
        ..Default::default()
    };
    assert_eq!(f.store.settle(hook, paused).await, Err(not_found.clone()));
    let accepted = f.store.accept(owner, f.new_message("x"), Stamp::default()).await;
    assert_eq!(accepted, Err(not_found.clone()));
    let inbound = f
        .store
        .record_inbound(owner, vec![f.inbound_text("B", "x")])
        .await;
    assert_eq!(inbound, Err(not_found.clone()));
    let new = new_event("custom.a", None, None);
    let published = f.store.publish(owner.tenant, new, Stamp::default()).await;
    assert_eq!(published.err(), Some(not_found.clone()));
    let settlement = roost_domain::webhook::store::Settlement {
        deliveries: vec![change(&late, DeliveryStatus::Pending)],
        ..Default::default()
    };
    assert_eq!(f.store.settle(hook, settlement).await, Err(not_found.clone()));
    let made = f
        .store
        .create_instance(owner.tenant, f.new_instance(), None, Stamp::default())
        .await;
    assert_eq!(made, Err(not_found.clone()));
    let webhook = new_webhook(&f, owner.tenant);
    let made = f
        .store
        .create_webhook(webhook, crate::webhook::secret(1), 9, None)
        .await;
    assert_eq!(made, Err(not_found.clone()));
    let kept = f
        .store
        .keep_reply(owner.tenant, f.idempotency("l", 1), "{}".to_owned())
        .await;
    assert_eq!(kept, Err(not_found.clone()));
    let put_state = StateOp::Put {
        collection: Collection::Session,
        key: "late".to_owned(),
        value: Bytes::from_static(b"v"),
        expires_at: None,
    };
    assert_eq!(
        f.store.apply(owner, vec![put_state]).await,
        Err(not_found.clone())
    );
    assert_eq!(f.store.last_seq(owner.tenant).await, Err(not_found));
    remove_all(&f, owner, 1000).await;
    for (table, count) in rows(&f, owner).await {
        assert_eq!(count > 0, KEPT.contains(&table.as_str()), "{table} has {count}");
    }
}

async fn messages_of_a_tenant_that_goes_do_not_expire_and_keep_none_from_it(f: Fixture) {
    let (owner, hook) = full(&f, "a").await;
    let others = f.owner().await;
    let message = f.accept(others, "late").await;
    f.store.destroy_tenant(owner.tenant, f.now()).await.unwrap();
    f.store.remove_rows(owner.tenant, 1, f.now()).await.unwrap();
    f.clock.advance(std::time::Duration::from_secs(3600));
    assert_eq!(f.store.expire_due(f.now(), 1).await, Ok(1));
    let message = f.store.message(others.tenant, message.id).await.unwrap();
    assert_eq!(message.status, roost_domain::message::MessageStatus::Expired);
    assert_eq!(f.store.expire_due(f.now(), 9).await, Ok(0));
    // With the counter gone first, a webhook that is still there can tell nothing.
    let disabled = roost_domain::webhook::store::Settlement {
        disabled: Some("410".to_owned()),
        ..Default::default()
    };
    assert_eq!(f.store.settle(hook, disabled).await, Err(StoreError::NotFound));
    remove_all(&f, owner, 1000).await;
}

async fn what_earlier_deletions_left_goes_too(f: Fixture) {
    let (owner, hook) = full(&f, "a").await;
    f.store.delete_instance(owner, f.now()).await.unwrap();
    // As a crash in the middle of its deletion leaves it.
    f.sql(&format!("DELETE FROM webhook WHERE id = '{}'", hook.webhook))
        .await;
    f.sql(&format!(
        "INSERT INTO remains (tenant_id, id, at) VALUES ('{}', '{}', 1)",
        owner.tenant, hook.webhook
    ))
    .await;
    let left = rows(&f, owner).await;
    for table in ["message", "delivery", "remains"] {
        assert!(
            left.iter().any(|(name, count)| name == table && *count > 0),
            "{left:?}"
        );
    }
    f.store.destroy_tenant(owner.tenant, f.now()).await.unwrap();
    remove_all(&f, owner, 3).await;
    for (table, count) in rows(&f, owner).await {
        assert_eq!(count > 0, KEPT.contains(&table.as_str()), "{table} has {count}");
    }
}

async fn a_tenant_that_is_not_being_deleted_keeps_its_rows(f: Fixture) {
    let (owner, hook) = full(&f, "a").await;
    let refused = f.store.remove_rows(owner.tenant, 9, f.now()).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))));
    let nobody = roost_domain::TenantId::from_parts(1, 1);
    assert_eq!(
        f.store.remove_rows(nobody, 9, f.now()).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(
        f.store.destroy_tenant(nobody, f.now()).await,
        Err(StoreError::NotFound)
    );
    f.store.delete_webhook(owner.tenant, hook.webhook).await.unwrap();
    let left = rows(&f, owner).await;
    assert!(left.contains(&("delivery".to_owned(), 0)) && left.contains(&("remains".to_owned(), 0)));
    assert!(
        f.store
            .get(owner, Collection::Session, "k")
            .await
            .unwrap()
            .is_some()
    );
}
