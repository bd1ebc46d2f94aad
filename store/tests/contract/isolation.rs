use bytes::Bytes;
use roost_domain::Owner;
use roost_domain::event::{EventFilter, EventType, NewEvent};
use roost_domain::instance::{InstancePatch, InstanceState};
use roost_domain::message::{FailureReason, MessageFilter, MessageStatus};
use roost_domain::page::PageRequest;
use roost_domain::store::{Collection, EventLog, Instances, LinkState, Messages, Stamp, StateOp, StoreError};

use crate::fixture::Fixture;
use crate::instances::change;
use crate::messages::step;

crate::on_both!(
    another_tenants_rows_cannot_be_read,
    another_tenants_rows_cannot_be_written
);

/// A tenant with an instance that has a message and some state, and a stranger who knows every id.
async fn victim_and_thief(f: &Fixture) -> (Owner, Owner, roost_domain::message::Message) {
    let victim = f.owner().await;
    let message = f.accept(victim, "private").await;
    let put = StateOp::Put {
        collection: Collection::Session,
        key: "k".to_owned(),
        value: Bytes::from_static(b"v"),
        expires_at: None,
    };
    f.store.apply(victim, vec![put]).await.unwrap();
    let thief = Owner {
        tenant: f.tenant().await,
        ..victim
    };
    (victim, thief, message)
}

async fn another_tenants_rows_cannot_be_read(f: Fixture) {
    let (victim, thief, message) = victim_and_thief(&f).await;
    let (tenant, instance) = (thief.tenant, victim.instance);
    assert_eq!(
        f.store.instance(tenant, instance).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(
        f.store.history(tenant, instance, PageRequest::new(None, 5)).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(
        f.store.message(tenant, message.id).await,
        Err(StoreError::NotFound)
    );
    let found = f
        .store
        .message_by_whatsapp_id(tenant, instance, &message.whatsapp_id)
        .await;
    assert_eq!(found, Ok(None));
    let list = f
        .store
        .messages(
            tenant,
            instance,
            MessageFilter::default(),
            PageRequest::new(None, 5),
        )
        .await;
    assert_eq!(list, Err(StoreError::NotFound));
    assert_eq!(f.store.pending(thief, None, 5).await, Ok(vec![]));
    assert_eq!(f.store.pending_count(thief).await, Ok(0));
    assert_eq!(
        f.store
            .instances(tenant, &[], PageRequest::new(None, 5))
            .await
            .unwrap()
            .rows,
        []
    );
    assert_eq!(f.store.instance_count(tenant).await, Ok(0));
    assert!(
        f.store
            .events(tenant, 0, 5, &EventFilter::default())
            .await
            .unwrap()
            .events
            .is_empty()
    );
    assert_eq!(f.store.get(thief, Collection::Session, "k").await, Ok(None));
    assert_eq!(
        f.store
            .get_many(thief, Collection::Session, &["k".to_owned()])
            .await,
        Ok(vec![])
    );
    assert_eq!(f.store.scan(thief, Collection::Session, "", 5).await, Ok(vec![]));
    assert_eq!(f.store.last_key(thief, Collection::Session).await, Ok(None));
}

async fn another_tenants_rows_cannot_be_written(f: Fixture) {
    let (victim, thief, message) = victim_and_thief(&f).await;
    let before = f.store.instance(victim.tenant, victim.instance).await.unwrap();
    let patch = InstancePatch {
        name: Some("mine".to_owned()),
        proxy: None,
        ..InstancePatch::default()
    };
    let patched = f
        .store
        .patch_instance(thief.tenant, victim.instance, patch, f.now())
        .await;
    assert_eq!(patched, Err(StoreError::NotFound));
    assert_eq!(f.store.activate(thief).await, Err(StoreError::NotFound));
    assert_eq!(
        f.store
            .change_state(thief, change(&f, InstanceState::Failed))
            .await,
        Err(StoreError::NotFound)
    );
    assert_eq!(
        f.store.delete_instance(thief, f.now()).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(
        f.store.accept(thief, f.new_message("x"), Stamp::default()).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(
        f.store
            .record_inbound(thief, vec![f.inbound_text("A", "x")])
            .await,
        Err(StoreError::NotFound)
    );
    let advance = vec![step(&message.whatsapp_id, MessageStatus::Sent, &f)];
    assert_eq!(f.store.advance(thief, advance).await, Err(StoreError::NotFound));
    let failed = f
        .store
        .fail_pending(thief, FailureReason::InstanceGone, f.now())
        .await;
    assert_eq!(failed, Err(StoreError::NotFound));
    let event = NewEvent::code(EventType::InstanceQr, victim.instance, "x", f.now());
    assert_eq!(
        f.store.append(thief, vec![event]).await,
        Err(StoreError::NotFound)
    );
    let clear = StateOp::Clear {
        collection: Collection::Session,
        prefix: String::new(),
    };
    assert_eq!(f.store.apply(thief, vec![clear]).await, Err(StoreError::NotFound));
    assert_eq!(
        f.store.instance(victim.tenant, victim.instance).await.unwrap(),
        before
    );
    assert_eq!(f.store.message(victim.tenant, message.id).await.unwrap(), message);
    assert!(
        f.store
            .get(victim, Collection::Session, "k")
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(f.kinds(victim.tenant).await, ["instance.created"]);
}
