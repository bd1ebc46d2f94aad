//! Sessions as callers see them: the real runtime on the real store, with a scripted engine.

use std::time::Duration;

use roost_domain::engine::{LinkEnd, LinkFact};
use roost_domain::event::{EventFilter, EventType};
use roost_domain::instance::{DesiredState, InstanceState};
use roost_domain::message::{FailureReason, MessageStatus};
use roost_domain::page::PageRequest;
use roost_domain::{Address, Clock as _, TenantId};

use super::message_in;
use crate::instance::{CreateInstance, SendRequest};
use crate::testing::{Lock, SystemClock, TestNode, account, eventually, inbound, quick};
use crate::{CallError, Settings};

const PHONE: &str = "+4915188888888";

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_pairs_connects_sends_and_receives_and_all_of_it_is_on_the_stream() {
    let node = TestNode::start(quick()).await;
    let mut stream = node.streams.tail(node.tenant, 0, EventFilter::default()).unwrap();
    let id = node.create().await;
    let row = node.instances().connect(node.tenant, id, None).await.unwrap();
    assert_eq!(
        (row.state, row.desired_state),
        (InstanceState::Connecting, DesiredState::Running)
    );
    // Asked at once: the answer waits for the first code.
    let code = node.instances().qr(node.tenant, id).await.unwrap();
    assert_eq!(code.code, "2@code");
    assert!(matches!(
        node.instances().pairing_code(node.tenant, id).await,
        Err(CallError::WrongState { .. })
    ));
    assert!(matches!(
        node.send(id, PHONE, "early", None).await,
        Err(CallError::WrongState { .. })
    ));

    let link = node.link(id).await;
    link.says(LinkFact::Paired(account(1)));
    link.says(LinkFact::Connected(account(1)));
    let row = node.in_state(id, InstanceState::Connected).await;
    assert_eq!(row.phone_number, Some(account(1).phone_number));
    assert!(matches!(
        node.instances().qr(node.tenant, id).await,
        Err(CallError::WrongState { .. })
    ));

    let message = node
        .send(id, PHONE, "hello", Some(Duration::from_secs(10)))
        .await
        .unwrap();
    assert_eq!(message.status, MessageStatus::Sent);
    assert_eq!(node.engine.sent(id)[0].whatsapp_id, message.whatsapp_id);
    let whatsapp_ids = vec![message.whatsapp_id.clone()];
    let at = SystemClock.now();
    link.says(LinkFact::Receipt {
        whatsapp_ids,
        status: MessageStatus::Delivered,
        inbound: false,
        at,
    });
    message_in(&node, message.id, MessageStatus::Delivered).await;

    link.observer.inbound(vec![inbound("IN1", "hi")]).await.unwrap();
    link.observer.inbound(vec![inbound("IN1", "hi")]).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&EventType::MessageReceived) {
        seen.extend(
            stream
                .next(100)
                .await
                .unwrap()
                .iter()
                .map(|event| event.kind.clone()),
        );
    }
    assert_eq!(
        seen,
        [
            EventType::InstanceCreated,
            EventType::InstanceStateChanged,
            EventType::InstanceStateChanged,
            EventType::InstanceQr,
            EventType::InstanceStateChanged,
            EventType::InstanceStateChanged,
            EventType::MessageSent,
            EventType::MessageDelivered,
            EventType::MessageReceived,
        ]
    );
    drop(stream);
    assert_eq!(node.stop().await.sessions_killed, 0);
    assert_eq!(node.streams.subscriptions(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_link_comes_back_and_unacknowledged_messages_go_again() {
    let node = TestNode::start(quick()).await;
    node.engine.set(|script| script.acks = false);
    let id = node.connected().await;
    let message = node.send(id, PHONE, "one", None).await.unwrap();
    eventually("it is on the wire", async || {
        (node.engine.sent(id).len() == 1).then_some(())
    })
    .await;
    node.engine.set(|script| script.acks = true);
    let old = node.link(id).await;
    old.says(LinkFact::Ended(LinkEnd::Lost {
        reason: "reset by peer".into(),
    }));
    message_in(&node, message.id, MessageStatus::Sent).await;
    assert!(old.is_closed());
    assert_eq!(node.engine.live_max(), 1);
    let history = node
        .instances()
        .history(node.tenant, id, PageRequest::new(None, 50))
        .await
        .unwrap();
    let lost = history
        .rows
        .iter()
        .find(|entry| entry.state == InstanceState::Reconnecting)
        .unwrap();
    assert_eq!(lost.reason.as_deref(), Some("reset by peer"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_tenants_instance_is_not_found() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    let other = TenantId::from_parts(1_700_000_000_000, 99);
    let instances = node.instances();
    let to: Address = PHONE.parse().unwrap();
    let content = roost_domain::message::Content::text("x");
    let request = SendRequest {
        to,
        content,
        reply_to: None,
        wait: None,
    };
    assert_eq!(
        instances
            .send(other, id, request, roost_domain::store::Stamp::default())
            .await,
        Err(CallError::NotFound)
    );
    assert_eq!(instances.disconnect(other, id).await, Err(CallError::NotFound));
    assert_eq!(instances.qr(other, id).await, Err(CallError::NotFound));
    assert_eq!(instances.delete(other, id).await, Err(CallError::NotFound));
    assert_eq!(instances.get(other, id).await, Err(CallError::NotFound));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_fails_what_was_not_sent_and_a_delete_leaves_nothing() {
    let node = TestNode::start(quick()).await;
    node.engine.set(|script| script.acks = false);
    let id = node.connected().await;
    let message = node.send(id, PHONE, "one", None).await.unwrap();
    let row = node.instances().logout(node.tenant, id).await.unwrap();
    assert_eq!(
        (row.state, row.desired_state),
        (InstanceState::LoggedOut, DesiredState::Stopped)
    );
    assert_eq!(row.phone_number, None);
    let message = message_in(&node, message.id, MessageStatus::Failed).await;
    assert_eq!(message.failure, Some(FailureReason::InstanceGone));
    assert!(matches!(
        node.instances().logout(node.tenant, id).await,
        Err(CallError::WrongState { .. })
    ));
    node.instances().delete(node.tenant, id).await.unwrap();
    assert_eq!(
        node.instances().get(node.tenant, id).await,
        Err(CallError::NotFound)
    );
    eventually("its actor is gone", async || (node.sessions() == 0).then_some(())).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_session_leaves_memory_and_comes_back_when_it_is_needed() {
    let node = TestNode::start(Settings {
        passivate_after: Duration::from_millis(20),
        ..quick()
    })
    .await;
    let id = node.connected().await;
    let row = node.instances().disconnect(node.tenant, id).await.unwrap();
    assert_eq!(
        (row.state, row.desired_state),
        (InstanceState::Disconnected, DesiredState::Stopped)
    );
    eventually("its actor is gone", async || (node.sessions() == 0).then_some(())).await;
    assert!(matches!(
        node.send(id, PHONE, "x", None).await,
        Err(CallError::WrongState { .. })
    ));
    assert_eq!(node.sessions(), 0);
    node.instances().connect(node.tenant, id, None).await.unwrap();
    node.in_state(id, InstanceState::Connected).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_proxies_are_checked() {
    let node = TestNode::start(quick()).await;
    for (name, proxy, field) in [
        ("", None, "name"),
        ("a\u{7}", None, "name"),
        ("a", Some("ftp://x"), "proxy"),
        ("a", Some("http://a b"), "proxy"),
    ] {
        let create = CreateInstance {
            name: name.to_owned(),
            proxy: proxy.map(str::to_owned),
            ..CreateInstance::default()
        };
        let refused = node
            .instances()
            .create(node.tenant, create, None, roost_domain::store::Stamp::default())
            .await;
        assert!(matches!(refused, Err(CallError::Invalid { field: found, .. }) if found == field));
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_was_taken_over_ends_and_its_link_is_closed() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    let old = node.link(id).await;
    let successor = node.successor().await;
    eventually("the successor has it", async || {
        successor.introspection().get(&format!("instance/{id}"))
    })
    .await;
    eventually("a second link is open", async || {
        (node.engine.opened() == 2).then_some(())
    })
    .await;
    assert!(old.observer.inbound(vec![inbound("IN1", "hi")]).await.is_err());
    eventually("the fenced session is gone", async || {
        (node.sessions() == 0).then_some(())
    })
    .await;
    eventually("its link is closed", async || old.is_closed().then_some(())).await;
    assert!(successor.stop().await.complete);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_locked_calls_say_so_and_afterwards_everything_goes_on() {
    let node = TestNode::start(quick()).await;
    node.engine.set(|script| script.acks = false);
    let id = node.connected().await;
    let stopped = node.connected().await;
    node.instances().disconnect(node.tenant, stopped).await.unwrap();
    let before = node.send(id, PHONE, "before", None).await.unwrap();
    let link = eventually("it is on the wire", async || {
        node.engine
            .link(id)
            .filter(|link| !link.sent.lock().unwrap().is_empty())
    })
    .await;

    let lock = Lock::take(&node).await;
    // What the link learns meanwhile waits.
    link.acks(&before.whatsapp_id);
    let received = tokio::spawn({
        let link = node.link(id).await;
        async move { link.observer.inbound(vec![inbound("IN1", "hi")]).await }
    });
    let refused = node.send(id, PHONE, "meanwhile", None).await;
    assert!(
        matches!(refused, Err(CallError::Unavailable { .. })),
        "{refused:?}"
    );
    let refused = node.instances().connect(node.tenant, stopped, None).await;
    assert!(
        matches!(refused, Err(CallError::Unavailable { .. })),
        "{refused:?}"
    );
    assert!(!received.is_finished());
    lock.release().await;

    received.await.unwrap().unwrap();
    message_in(&node, before.id, MessageStatus::Sent).await;
    assert_eq!(node.row(stopped).await.state, InstanceState::Disconnected);
    node.engine.set(|script| script.acks = true);
    node.instances()
        .connect(node.tenant, stopped, None)
        .await
        .unwrap();
    node.in_state(stopped, InstanceState::Connected).await;
    let after = node
        .send(stopped, PHONE, "after", Some(Duration::from_secs(10)))
        .await
        .unwrap();
    assert_eq!(after.status, MessageStatus::Sent);
    assert_eq!(node.engine.opened(), 3);
    node.stop().await;
}
