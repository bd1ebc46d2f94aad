use std::time::Duration;

use bytes::Bytes;
use roost_domain::instance::{
    Account, AccountChange, DesiredState, InstancePatch, InstanceState, StateChange,
};
use roost_domain::message::{FailureReason, MessageStatus};
use roost_domain::page::PageRequest;
use roost_domain::store::{Collection, Instances, LinkState, Messages, Outcome, Stamp, StateOp, StoreError};
use roost_domain::{Epoch, Owner, Slot};

use crate::fixture::Fixture;

crate::on_both!(
    a_new_instance_has_a_history_and_an_event,
    creating_twice_with_one_key_makes_one,
    a_patch_changes_what_it_names,
    a_step_is_a_row_a_history_entry_and_an_event,
    the_same_step_again_makes_no_event,
    an_account_is_learned_and_forgotten_with_its_state,
    an_earlier_epoch_is_fenced_off,
    running_instances_are_listed,
    a_deleted_instance_fails_its_queue_and_leaves_its_log,
);

pub fn change(f: &Fixture, state: InstanceState) -> StateChange {
    StateChange {
        state,
        reason: None,
        desired: None,
        account: AccountChange::Keep,
        at: f.now(),
    }
}

async fn a_new_instance_has_a_history_and_an_event(f: Fixture) {
    let tenant = f.tenant().await;
    let new = f.new_instance();
    let Outcome::Done(made) = f
        .store
        .create_instance(tenant, new, None, Stamp::default())
        .await
        .unwrap()
    else {
        panic!()
    };
    assert_eq!(
        (made.state, made.desired_state),
        (InstanceState::Created, DesiredState::Stopped)
    );
    assert_eq!(f.store.instance(tenant, made.id).await.unwrap(), made);
    let history = f
        .store
        .history(tenant, made.id, PageRequest::new(None, 10))
        .await
        .unwrap();
    assert_eq!((history.rows.len(), history.rows[0].number), (1, 1));
    assert_eq!(f.kinds(tenant).await, ["instance.created"]);
    assert_eq!(f.store.instance_count(tenant).await.unwrap(), 1);
    assert_eq!(f.told.0.lock().unwrap().len(), 1);
    let stranger = roost_domain::TenantId::from_parts(1, 1);
    assert_eq!(
        f.store
            .create_instance(stranger, f.new_instance(), None, Stamp::default())
            .await,
        Err(StoreError::NotFound)
    );
}

async fn creating_twice_with_one_key_makes_one(f: Fixture) {
    let tenant = f.tenant().await;
    let mut new = f.new_instance();
    new.proxy = Some("socks5://user:hidden-word@127.0.0.1:1080".to_owned());
    let first = f
        .store
        .create_instance(tenant, new.clone(), None, f.stamp("key", 1))
        .await
        .unwrap();
    let Outcome::Done(first) = first else {
        panic!("replayed")
    };
    assert_eq!(f.store.instance(tenant, first.id).await.unwrap().proxy, new.proxy);
    let again = f
        .store
        .create_instance(tenant, f.new_instance(), None, f.stamp("key", 1))
        .await
        .unwrap();
    let Outcome::Replayed(replay) = again else {
        panic!("made twice")
    };
    assert_eq!(replay.body, serde_json::to_string(&first).unwrap());
    assert!(!replay.body.contains("hidden-word"));
    let reused = f
        .store
        .create_instance(tenant, f.new_instance(), None, f.stamp("key", 2))
        .await;
    assert_eq!(reused, Err(StoreError::IdempotencyKeyReused));
    assert_eq!(f.store.instance_count(tenant).await.unwrap(), 1);
}

async fn a_patch_changes_what_it_names(f: Fixture) {
    let owner = f.owner().await;
    let proxy = Some("http://127.0.0.1:3128".to_owned());
    let patch = InstancePatch {
        name: Some("desk".to_owned()),
        proxy: Some(proxy.clone()),
        ..InstancePatch::default()
    };
    f.clock.advance(Duration::from_secs(1));
    let patched = f
        .store
        .patch_instance(owner.tenant, owner.instance, patch, f.now())
        .await
        .unwrap();
    assert_eq!(
        (patched.name.as_str(), &patched.proxy, patched.updated_at),
        ("desk", &proxy, f.now())
    );
    assert_eq!(
        f.store.instance(owner.tenant, owner.instance).await.unwrap(),
        patched
    );
    let patch = InstancePatch {
        name: None,
        proxy: Some(None),
        ..InstancePatch::default()
    };
    f.store
        .patch_instance(owner.tenant, owner.instance, patch, f.now())
        .await
        .unwrap();
    let now = f.store.instance(owner.tenant, owner.instance).await.unwrap();
    assert_eq!((now.name.as_str(), now.proxy), ("desk", None));
}

async fn a_step_is_a_row_a_history_entry_and_an_event(f: Fixture) {
    let owner = f.owner().await;
    f.clock.advance(Duration::from_secs(1));
    let step = StateChange {
        desired: Some(DesiredState::Running),
        ..change(&f, InstanceState::Connecting)
    };
    f.store.change_state(owner, step).await.unwrap();
    let step = StateChange {
        reason: Some("scan".to_owned()),
        ..change(&f, InstanceState::Connected)
    };
    let now = f.store.change_state(owner, step).await.unwrap();
    assert_eq!(
        (now.state, now.connected_at),
        (InstanceState::Connected, Some(f.now()))
    );
    assert_eq!(now.desired_state, DesiredState::Running);
    assert_eq!(f.store.instance(owner.tenant, owner.instance).await.unwrap(), now);
    let first = f
        .store
        .history(owner.tenant, owner.instance, PageRequest::new(None, 2))
        .await
        .unwrap();
    assert_eq!(
        first.rows.iter().map(|entry| entry.number).collect::<Vec<_>>(),
        [3, 2]
    );
    assert_eq!(first.rows[0].reason.as_deref(), Some("scan"));
    let rest = f
        .store
        .history(owner.tenant, owner.instance, PageRequest::new(first.next, 2))
        .await
        .unwrap();
    assert_eq!((rest.rows.len(), rest.next), (1, None));
    let log = f.log(owner.tenant).await;
    let data: serde_json::Value = serde_json::from_str(log[2].data.get()).unwrap();
    assert_eq!(data["previous_state"], "connecting");
    assert_eq!(data["instance"]["state"], "connected");
}

async fn the_same_step_again_makes_no_event(f: Fixture) {
    let owner = f.owner().await;
    f.store
        .change_state(owner, change(&f, InstanceState::Reconnecting))
        .await
        .unwrap();
    let before = f.log(owner.tenant).await.len();
    let again = StateChange {
        desired: Some(DesiredState::Running),
        ..change(&f, InstanceState::Reconnecting)
    };
    let now = f.store.change_state(owner, again).await.unwrap();
    assert_eq!(now.desired_state, DesiredState::Running);
    assert_eq!(f.log(owner.tenant).await.len(), before);
    let other = StateChange {
        reason: Some("reset".to_owned()),
        ..change(&f, InstanceState::Reconnecting)
    };
    f.store.change_state(owner, other).await.unwrap();
    assert_eq!(f.log(owner.tenant).await.len(), before + 1);
}

async fn an_account_is_learned_and_forgotten_with_its_state(f: Fixture) {
    let owner = f.owner().await;
    let account = Account {
        phone_number: "+4915112345678".parse().unwrap(),
        lid: Some("77@lid".parse().unwrap()),
        push_name: None,
    };
    let paired = |account| StateChange {
        account: AccountChange::Paired(account),
        ..change(&f, InstanceState::Connected)
    };
    f.store
        .change_state(owner, paired(account.clone()))
        .await
        .unwrap();
    let renamed = Account {
        lid: None,
        push_name: Some("Shop".to_owned()),
        ..account.clone()
    };
    let now = f.store.change_state(owner, paired(renamed)).await.unwrap();
    assert_eq!(
        (now.lid, now.push_name.as_deref()),
        (account.lid.clone(), Some("Shop"))
    );
    let put = StateOp::Put {
        collection: Collection::Device,
        key: "device".to_owned(),
        value: Bytes::from_static(b"credentials"),
        expires_at: None,
    };
    f.store.apply(owner, vec![put]).await.unwrap();
    let unpaired = StateChange {
        account: AccountChange::Unpaired,
        ..change(&f, InstanceState::LoggedOut)
    };
    let now = f.store.change_state(owner, unpaired).await.unwrap();
    assert!(!now.is_paired() && now.lid.is_none() && now.push_name.is_none());
    assert_eq!(
        f.store.get(owner, Collection::Device, "device").await.unwrap(),
        None
    );
}

async fn an_earlier_epoch_is_fenced_off(f: Fixture) {
    let old = f.owner().await;
    let new = Owner {
        epoch: Epoch(2),
        ..old
    };
    assert_eq!(f.store.activate(new).await.unwrap().epoch, Epoch(2));
    assert_eq!(f.store.activate(old).await, Err(StoreError::Fenced));
    assert_eq!(
        f.store
            .change_state(old, change(&f, InstanceState::Connected))
            .await,
        Err(StoreError::Fenced)
    );
    assert_eq!(
        f.store.accept(old, f.new_message("x"), Stamp::default()).await,
        Err(StoreError::Fenced)
    );
    assert_eq!(
        f.store.record_inbound(old, vec![f.inbound_text("A", "x")]).await,
        Err(StoreError::Fenced)
    );
    assert_eq!(
        f.store
            .fail_pending(old, FailureReason::InstanceGone, f.now())
            .await,
        Err(StoreError::Fenced)
    );
    assert_eq!(
        f.store.delete_instance(old, f.now()).await,
        Err(StoreError::Fenced)
    );
    let clear = StateOp::Clear {
        collection: Collection::Session,
        prefix: String::new(),
    };
    assert_eq!(f.store.apply(old, vec![clear]).await, Err(StoreError::Fenced));
    assert!(
        f.store
            .accept(new, f.new_message("x"), Stamp::default())
            .await
            .is_ok()
    );
}

async fn running_instances_are_listed(f: Fixture) {
    let mut running = Vec::new();
    for n in 0..4 {
        let owner = f.owner().await;
        if n != 1 {
            let step = StateChange {
                desired: Some(DesiredState::Running),
                ..change(&f, InstanceState::Connecting)
            };
            f.store.change_state(owner, step).await.unwrap();
            running.push(owner.instance);
        }
    }
    running.sort();
    let page = f
        .store
        .running_instances(Slot::EVERY, PageRequest::new(None, 2))
        .await
        .unwrap();
    let rest = f
        .store
        .running_instances(Slot::EVERY, PageRequest::new(page.next, 2))
        .await
        .unwrap();
    let listed: Vec<_> = page
        .rows
        .iter()
        .chain(&rest.rows)
        .map(|instance| instance.id)
        .collect();
    assert_eq!(listed, running);
}

async fn a_deleted_instance_fails_its_queue_and_leaves_its_log(f: Fixture) {
    let owner = f.owner().await;
    let message = f.accept(owner, "too late").await;
    let put = StateOp::Put {
        collection: Collection::Device,
        key: "device".to_owned(),
        value: Bytes::from_static(b"credentials"),
        expires_at: None,
    };
    f.store.apply(owner, vec![put]).await.unwrap();
    f.store.delete_instance(owner, f.now()).await.unwrap();
    assert_eq!(
        f.store.instance(owner.tenant, owner.instance).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(
        f.store.get(owner, Collection::Device, "device").await.unwrap(),
        None
    );
    let history = f
        .store
        .history(owner.tenant, owner.instance, PageRequest::new(None, 1))
        .await;
    assert_eq!(history, Err(StoreError::NotFound));
    let message = f.store.message(owner.tenant, message.id).await.unwrap();
    assert_eq!(
        (message.status, message.failure),
        (MessageStatus::Failed, Some(FailureReason::InstanceGone))
    );
    assert_eq!(
        f.kinds(owner.tenant).await,
        ["instance.created", "message.failed", "instance.deleted"]
    );
    assert_eq!(
        f.store.delete_instance(owner, f.now()).await,
        Err(StoreError::NotFound)
    );
}
