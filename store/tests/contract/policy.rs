//! What an instance may not do, how fast it sends, and who has written to it.

use std::num::NonZeroU32;
use std::time::Duration;

use roost_domain::instance::{InstancePatch, Pacing, PacingPatch, Policy};
use roost_domain::message::{Chat, InboundBody, NewMessage};
use roost_domain::store::{Instances, Messages, Node, Outcome, Stamp, StoreError};
use roost_domain::{Address, Owner};

use crate::fixture::{Fixture, chat};

crate::on_both!(
    an_instance_has_a_pace_and_a_policy,
    a_reply_only_instance_writes_to_nobody_who_never_wrote,
    a_chat_is_known_under_each_of_its_names,
    what_is_no_message_of_others_opens_no_chat,
    a_chat_of_one_instance_is_not_known_to_another,
    who_has_written_outlives_the_message,
    an_accept_and_the_message_it_answers_may_come_together,
    a_repetition_is_answered_whatever_the_policy_is,
    chats_of_before_the_upgrade_are_known,
);

const REPLY_ONLY: Policy = Policy { reply_only: true };

fn pacing(messages_per_minute: u32) -> Pacing {
    Pacing {
        messages_per_minute: NonZeroU32::new(messages_per_minute).unwrap(),
        jitter_percent: 30,
        typing: true,
    }
}

async fn change(f: &Fixture, owner: Owner, patch: InstancePatch) {
    f.store
        .patch_instance(owner.tenant, owner.instance, patch, f.now())
        .await
        .unwrap();
}

async fn reply_only(f: &Fixture) -> Owner {
    let owner = f.owner().await;
    let policy = Some(REPLY_ONLY);
    let patch = InstancePatch {
        policy,
        ..InstancePatch::default()
    };
    change(f, owner, patch).await;
    owner
}

async fn write(f: &Fixture, owner: Owner, to: Address) -> Result<(), StoreError> {
    let new = NewMessage {
        chat: Chat::of(to),
        ..f.new_message("hi")
    };
    f.store.accept(owner, new, Stamp::default()).await.map(drop)
}

fn phone(number: u64) -> Address {
    Address::Phone(chat(number).phone_number.unwrap())
}

async fn an_instance_has_a_pace_and_a_policy(f: Fixture) {
    let tenant = f.tenant().await;
    let plain = f.instance(tenant).await;
    let row = f.store.instance(tenant, plain.instance).await.unwrap();
    assert_eq!((row.pacing, row.policy), (None, Policy::default()));
    let mut new = f.new_instance();
    (new.pacing, new.policy) = (Some(pacing(20)), REPLY_ONLY);
    let id = new.id;
    let made = f.store.create_instance(tenant, new, None, Stamp::default()).await;
    let Ok(Outcome::Done(made)) = made else {
        panic!("{made:?}")
    };
    assert_eq!((made.pacing, made.policy), (Some(pacing(20)), REPLY_ONLY));
    assert_eq!(f.store.instance(tenant, id).await.unwrap(), made);
    let owner = Owner {
        instance: id,
        ..plain
    };
    let patch = InstancePatch {
        pacing: Some(Some(pacing(6).into())),
        ..InstancePatch::default()
    };
    change(&f, owner, patch).await;
    // What a session writes of its own leaves both alone.
    let row = f.store.activate(owner).await.unwrap();
    assert_eq!((row.pacing, row.policy), (Some(pacing(6)), REPLY_ONLY));
    let row = f.store.instance(tenant, id).await.unwrap();
    assert_eq!((row.pacing, row.policy), (Some(pacing(6)), REPLY_ONLY));
    let typing = PacingPatch {
        typing: Some(false),
        ..PacingPatch::default()
    };
    let patch = InstancePatch {
        pacing: Some(Some(typing)),
        ..InstancePatch::default()
    };
    change(&f, owner, patch.clone()).await;
    let row = f.store.instance(tenant, id).await.unwrap();
    let untyped = Pacing {
        typing: false,
        ..pacing(6)
    };
    assert_eq!(row.pacing, Some(untyped));
    let refused = f
        .store
        .patch_instance(tenant, plain.instance, patch, f.now())
        .await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    let patch = InstancePatch {
        pacing: Some(None),
        policy: Some(Policy::default()),
        ..InstancePatch::default()
    };
    change(&f, owner, patch).await;
    let row = f.store.instance(tenant, id).await.unwrap();
    assert_eq!((row.pacing, row.policy), (None, Policy::default()));
}

async fn a_reply_only_instance_writes_to_nobody_who_never_wrote(f: Fixture) {
    let owner = reply_only(&f).await;
    assert_eq!(write(&f, owner, phone(1)).await, Err(StoreError::NeverWritten));
    assert_eq!(f.store.pending_count(owner).await.unwrap(), 0);
    f.store
        .record_inbound(owner, vec![f.inbound_text("A1", "hello")])
        .await
        .unwrap();
    assert_eq!(write(&f, owner, phone(1)).await, Ok(()));
    assert_eq!(write(&f, owner, phone(2)).await, Err(StoreError::NeverWritten));
    let patch = InstancePatch {
        policy: Some(Policy::default()),
        ..InstancePatch::default()
    };
    change(&f, owner, patch).await;
    assert_eq!(write(&f, owner, phone(2)).await, Ok(()));
}

async fn a_chat_is_known_under_each_of_its_names(f: Fixture) {
    let owner = reply_only(&f).await;
    let inbound = f.inbound_text("A1", "hello");
    let lid = inbound.chat.lid.clone().unwrap();
    assert_eq!(write(&f, owner, lid.clone()).await, Err(StoreError::NeverWritten));
    f.store.record_inbound(owner, vec![inbound]).await.unwrap();
    assert_eq!(write(&f, owner, lid).await, Ok(()));
    assert_eq!(write(&f, owner, phone(1)).await, Ok(()));
    let group: Address = "120363000000000001@g.us".parse().unwrap();
    let mut said = f.inbound_text("G1", "all");
    said.chat = Chat::of(group.clone());
    said.sender.id = phone(3);
    (said.sender.phone_number, said.sender.lid) = (None, None);
    assert_eq!(
        write(&f, owner, group.clone()).await,
        Err(StoreError::NeverWritten)
    );
    f.store.record_inbound(owner, vec![said]).await.unwrap();
    assert_eq!(write(&f, owner, group).await, Ok(()));
    // Whoever wrote in a group has not written to the instance alone.
    assert_eq!(write(&f, owner, phone(3)).await, Err(StoreError::NeverWritten));
}

async fn what_is_no_message_of_others_opens_no_chat(f: Fixture) {
    let owner = reply_only(&f).await;
    let mut own = f.inbound_text("A1", "from the phone");
    own.from_me = true;
    let reaction = InboundBody::Reaction {
        target: "A1".to_owned(),
        emoji: Some("👍".to_owned()),
    };
    f.store
        .record_inbound(owner, vec![own, f.inbound("A2", reaction)])
        .await
        .unwrap();
    assert_eq!(write(&f, owner, phone(1)).await, Err(StoreError::NeverWritten));
}

async fn a_chat_of_one_instance_is_not_known_to_another(f: Fixture) {
    let (owner, other) = (reply_only(&f).await, reply_only(&f).await);
    f.store
        .record_inbound(other, vec![f.inbound_text("A1", "hello")])
        .await
        .unwrap();
    assert_eq!(write(&f, owner, phone(1)).await, Err(StoreError::NeverWritten));
    assert_eq!(write(&f, other, phone(1)).await, Ok(()));
}

async fn who_has_written_outlives_the_message(f: Fixture) {
    let owner = reply_only(&f).await;
    f.store
        .record_inbound(owner, vec![f.inbound_text("A1", "hello")])
        .await
        .unwrap();
    f.clock.advance(Duration::from_secs(3600));
    while f.store.sweep(f.now(), Duration::from_secs(60)).await.unwrap() > 0 {}
    let gone = f
        .store
        .message_by_whatsapp_id(owner.tenant, owner.instance, "A1")
        .await;
    assert_eq!(gone, Ok(None));
    assert_eq!(write(&f, owner, phone(1)).await, Ok(()));
    f.store.delete_instance(owner, f.now()).await.unwrap();
    assert_eq!(f.sql("SELECT chat FROM known_chat").await, Vec::<String>::new());
}

async fn an_accept_and_the_message_it_answers_may_come_together(f: Fixture) {
    let owner = reply_only(&f).await;
    let batch = vec![f.inbound_text("A1", "hello")];
    // Queued in this order, and so written in this order, in one transaction or in two.
    let (recorded, accepted) = tokio::join!(
        biased;
        f.store.record_inbound(owner, batch),
        write(&f, owner, phone(1))
    );
    recorded.unwrap();
    assert_eq!(accepted, Ok(()));
}

async fn a_repetition_is_answered_whatever_the_policy_is(f: Fixture) {
    let owner = f.owner().await;
    let accept = || f.store.accept(owner, f.new_message("hi"), f.stamp("key", 1));
    assert!(matches!(accept().await, Ok(Outcome::Done(_))));
    let patch = InstancePatch {
        policy: Some(REPLY_ONLY),
        ..InstancePatch::default()
    };
    change(&f, owner, patch).await;
    assert!(matches!(accept().await, Ok(Outcome::Replayed(_))));
}

async fn chats_of_before_the_upgrade_are_known(mut f: Fixture) {
    let owner = f.owner().await;
    f.store
        .record_inbound(owner, vec![f.inbound_text("A1", "hello")])
        .await
        .unwrap();
    f.accept(owner, "to the same").await;
    let stranger = NewMessage {
        chat: chat(2),
        ..f.new_message("cold")
    };
    f.store.accept(owner, stranger, Stamp::default()).await.unwrap();
    f.store.close().await;
    for statement in [
        "DROP TABLE known_chat",
        "ALTER TABLE instance DROP COLUMN pacing",
        "ALTER TABLE instance DROP COLUMN reply_only",
        "DELETE FROM _sqlx_migrations WHERE version = 5",
    ] {
        f.sql(statement).await;
    }
    f.reopen().await;
    let patch = InstancePatch {
        policy: Some(REPLY_ONLY),
        ..InstancePatch::default()
    };
    change(&f, owner, patch).await;
    assert_eq!(write(&f, owner, phone(1)).await, Ok(()));
    assert_eq!(write(&f, owner, chat(1).lid.unwrap()).await, Ok(()));
    assert_eq!(write(&f, owner, phone(2)).await, Err(StoreError::NeverWritten));
}
