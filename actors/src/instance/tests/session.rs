//! Sessions as callers see them: the real runtime on the real store, with a scripted engine.

use std::time::Duration;

use roost_domain::engine::{LinkEnd, LinkFact};
use roost_domain::event::{EventFilter, EventType};
use roost_domain::instance::{DesiredState, InstanceState};
use roost_domain::message::{FailureReason, MessageFilter, MessageStatus};
use roost_domain::page::PageRequest;
use roost_domain::store::{Idempotency, Outcome};
use roost_domain::{Address, Clock as _, MessageId, TenantId};

use crate::instance::{CreateInstance, ReplyTo, SendRequest};
use crate::testing::{SystemClock, TestNode, account, eventually, inbound, quick};
use crate::{CallError, Settings};

const PHONE: &str = "+4915188888888";

async fn message_in(node: &TestNode, id: MessageId, status: MessageStatus) -> roost_domain::message::Message {
    eventually(&format!("{id} becomes {}", status.as_str()), async || {
        let message = node.instances().message(node.tenant, id).await.unwrap();
        Some(message).filter(|message| message.status == status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_pairs_connects_sends_and_receives_and_all_of_it_is_on_the_stream() {
    let node = TestNode::start(quick()).await;
    let mut stream = node.streams.tail(node.tenant, 0, EventFilter::default()).unwrap();
    let id = node.create().await;
    let row = node.instances().connect(node.tenant, id, None).await.unwrap();
    assert_eq!((row.state, row.desired_state), (InstanceState::Connecting, DesiredState::Running));
    // Asked at once: the answer waits for the first code.
    let code = node.instances().qr(node.tenant, id).await.unwrap();
    assert_eq!(code.code, "2@code");
    assert!(matches!(
        node.instances().pairing_code(node.tenant, id).await,
        Err(CallError::WrongState { state: InstanceState::Pairing, .. })
    ));
    assert!(matches!(node.send(id, PHONE, "early", None).await, Err(CallError::WrongState { .. })));

    let link = node.link(id).await;
    link.says(LinkFact::Paired(account(1)));
    link.says(LinkFact::Connected(account(1)));
    let row = node.in_state(id, InstanceState::Connected).await;
    assert_eq!(row.phone_number, Some(account(1).phone_number));
    assert!(matches!(node.instances().qr(node.tenant, id).await, Err(CallError::WrongState { .. })));

    let message = node.send(id, PHONE, "hello", Some(Duration::from_secs(10))).await.unwrap();
    assert_eq!(message.status, MessageStatus::Sent);
    assert_eq!(node.engine.sent(id)[0].whatsapp_id, message.whatsapp_id);
    let whatsapp_ids = vec![message.whatsapp_id.clone()];
    let at = SystemClock.now();
    link.says(LinkFact::Receipt { whatsapp_ids, status: MessageStatus::Delivered, inbound: false, at });
    message_in(&node, message.id, MessageStatus::Delivered).await;

    link.observer.inbound(vec![inbound("IN1", "hi")]).await.unwrap();
    link.observer.inbound(vec![inbound("IN1", "hi")]).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&EventType::MessageReceived) {
        seen.extend(stream.next(100).await.unwrap().iter().map(|event| event.kind));
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
async fn a_message_without_an_ack_is_sent_again_under_its_id_after_a_restart() {
    let node = TestNode::start(quick()).await;
    node.engine.set(|script| script.acks = false);
    let id = node.connected().await;
    let first = node.send(id, PHONE, "one", None).await.unwrap();
    let second = node.send(id, PHONE, "two", None).await.unwrap();
    eventually("the first is on the wire", async || (node.engine.sent(id).len() == 1).then_some(())).await;
    node.engine.set(|script| script.acks = true);
    let node = node.restart().await;
    node.in_state(id, InstanceState::Connected).await;
    message_in(&node, second.id, MessageStatus::Sent).await;
    let sent: Vec<String> = node.engine.sent(id).into_iter().map(|sent| sent.whatsapp_id).collect();
    assert_eq!(sent, [first.whatsapp_id.clone(), first.whatsapp_id, second.whatsapp_id]);
    let history = node.instances().history(node.tenant, id, PageRequest::new(None, 50)).await.unwrap();
    assert!(!history.rows.iter().any(|entry| entry.state == InstanceState::Pairing));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_link_comes_back_and_unacknowledged_messages_go_again() {
    let node = TestNode::start(quick()).await;
    node.engine.set(|script| script.acks = false);
    let id = node.connected().await;
    let message = node.send(id, PHONE, "one", None).await.unwrap();
    eventually("it is on the wire", async || (node.engine.sent(id).len() == 1).then_some(())).await;
    node.engine.set(|script| script.acks = true);
    let old = node.link(id).await;
    old.says(LinkFact::Ended(LinkEnd::Lost { reason: "reset by peer".into() }));
    message_in(&node, message.id, MessageStatus::Sent).await;
    assert!(old.is_closed());
    assert_eq!(node.engine.live_max(), 1);
    let history = node.instances().history(node.tenant, id, PageRequest::new(None, 50)).await.unwrap();
    let lost = history.rows.iter().find(|entry| entry.state == InstanceState::Reconnecting).unwrap();
    assert_eq!(lost.reason.as_deref(), Some("reset by peer"));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_keeps_its_order_over_failures_and_beyond_what_memory_holds() {
    let settings = Settings { outbox_memory_max: 8, ..quick() };
    let node = TestNode::start(settings).await;
    node.engine.set(|script| script.transient_failures = 3);
    let id = node.connected().await;
    let mut expected = Vec::new();
    for number in 0..60 {
        let text = number.to_string();
        expected.push(node.send(id, PHONE, &text, None).await.unwrap().whatsapp_id);
    }
    eventually("all are sent", async || {
        let filter = MessageFilter { status: Some(MessageStatus::Sent), ..MessageFilter::default() };
        let page = PageRequest::new(None, 100);
        let sent = node.instances().messages(node.tenant, id, filter, page).await.unwrap();
        (sent.rows.len() == expected.len()).then_some(())
    })
    .await;
    let sent: Vec<String> = node.engine.sent(id).into_iter().map(|sent| sent.whatsapp_id).collect();
    assert_eq!(sent, expected);
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
    let request = SendRequest { to, content, reply_to: None, wait: None };
    assert_eq!(instances.send(other, id, request, None).await, Err(CallError::NotFound));
    assert_eq!(instances.disconnect(other, id).await, Err(CallError::NotFound));
    assert_eq!(instances.qr(other, id).await, Err(CallError::NotFound));
    assert_eq!(instances.delete(other, id).await, Err(CallError::NotFound));
    assert_eq!(instances.get(other, id).await, Err(CallError::NotFound));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_idempotency_key_accepts_one_message() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    let send = async |text: &str, fingerprint: u8| {
        let to: Address = PHONE.parse().unwrap();
        let content = roost_domain::message::Content::text(text);
        let request = SendRequest { to, content, reply_to: None, wait: None };
        let expires_at = SystemClock.now().plus(Duration::from_secs(60));
        let key = "key-1".to_owned();
        let idempotency = Idempotency { key, fingerprint: [fingerprint; 32], status: 202, expires_at };
        node.instances().send(node.tenant, id, request, Some(idempotency)).await
    };
    let Ok(Outcome::Done(message)) = send("a", 1).await else { panic!("not accepted") };
    let Ok(Outcome::Replayed(replay)) = send("a", 1).await else { panic!("not replayed") };
    assert!(replay.body.contains(&message.id.to_string()));
    assert_eq!(send("b", 2).await, Err(CallError::IdempotencyKeyReused));
    message_in(&node, message.id, MessageStatus::Sent).await;
    assert_eq!(node.engine.sent(id).len(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logout_fails_what_was_not_sent_and_a_delete_leaves_nothing() {
    let node = TestNode::start(quick()).await;
    node.engine.set(|script| script.acks = false);
    let id = node.connected().await;
    let message = node.send(id, PHONE, "one", None).await.unwrap();
    let row = node.instances().logout(node.tenant, id).await.unwrap();
    assert_eq!((row.state, row.desired_state), (InstanceState::LoggedOut, DesiredState::Stopped));
    assert_eq!(row.phone_number, None);
    let message = message_in(&node, message.id, MessageStatus::Failed).await;
    assert_eq!(message.failure, Some(FailureReason::InstanceGone));
    assert!(matches!(node.instances().logout(node.tenant, id).await, Err(CallError::WrongState { .. })));
    node.instances().delete(node.tenant, id).await.unwrap();
    assert_eq!(node.instances().get(node.tenant, id).await, Err(CallError::NotFound));
    eventually("its actor is gone", async || (node.sessions() == 0).then_some(())).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_session_leaves_memory_and_comes_back_when_it_is_needed() {
    let node = TestNode::start(Settings { passivate_after: Duration::from_millis(20), ..quick() }).await;
    let id = node.connected().await;
    let row = node.instances().disconnect(node.tenant, id).await.unwrap();
    assert_eq!((row.state, row.desired_state), (InstanceState::Disconnected, DesiredState::Stopped));
    eventually("its actor is gone", async || (node.sessions() == 0).then_some(())).await;
    assert!(matches!(node.send(id, PHONE, "x", None).await, Err(CallError::WrongState { .. })));
    assert_eq!(node.sessions(), 0);
    node.instances().connect(node.tenant, id, None).await.unwrap();
    node.in_state(id, InstanceState::Connected).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_permits_are_refused_and_permits_come_back() {
    let node = TestNode::start(Settings { send_permits: 1, query_permits: 1, ..quick() }).await;
    let id = node.connected().await;
    let link = node.link(id).await;
    link.observer.inbound(vec![inbound("IN1", "hi")]).await.unwrap();
    let page = PageRequest::new(None, 1);
    let list = node.instances().messages(node.tenant, id, MessageFilter::default(), page).await.unwrap();
    let received = list.rows[0].id;
    // The link takes its time over the first receipt.
    let all = u32::try_from(node.engine.reads.available_permits().min(u32::MAX as usize)).unwrap();
    node.engine.reads.forget_permits(node.engine.reads.available_permits());
    let reading = tokio::spawn({
        let (instances, tenant) = (node.instances(), node.tenant);
        async move { instances.mark_read(tenant, received).await }
    });
    let path = format!("instance/{id}");
    eventually("the permit is taken", async || {
        let view = node.runtime.introspection().get(&path)?;
        view.permits.iter().any(|permit| permit.class == "send" && permit.used == 1).then_some(())
    })
    .await;
    let refused = node.send(id, PHONE, "x", None).await;
    assert!(matches!(refused, Err(CallError::Overloaded { .. })), "{refused:?}");
    node.engine.reads.add_permits(all as usize);
    assert_eq!(reading.await.unwrap().unwrap().status, MessageStatus::Read);
    node.send(id, PHONE, "x", Some(Duration::from_secs(10))).await.unwrap();
    let view = node.runtime.introspection().get(&path).unwrap();
    assert!(view.permits.iter().all(|permit| permit.used == 0), "{view:?}");
    assert_eq!((view.state, view.epoch.is_some()), ("connected", true));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_can_be_read_only_by_a_connected_instance_and_only_if_it_was_received() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    let message = node.send(id, PHONE, "x", None).await.unwrap();
    let refused = node.instances().mark_read(node.tenant, message.id).await;
    assert!(matches!(refused, Err(CallError::WrongMessage { .. })));
    node.link(id).await.observer.inbound(vec![inbound("IN1", "hi")]).await.unwrap();
    node.instances().disconnect(node.tenant, id).await.unwrap();
    let filter = MessageFilter { status: Some(MessageStatus::Received), ..MessageFilter::default() };
    let page = PageRequest::new(None, 1);
    let list = node.instances().messages(node.tenant, id, filter, page).await.unwrap();
    let refused = node.instances().mark_read(node.tenant, list.rows[0].id).await;
    assert_eq!(refused, Err(CallError::NotConnected));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_quotes_a_message_of_the_same_instance() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    node.link(id).await.observer.inbound(vec![inbound("IN1", "what?")]).await.unwrap();
    let reply = async |reply_to: ReplyTo| {
        let to: Address = PHONE.parse().unwrap();
        let content = roost_domain::message::Content::text("that");
        let request = SendRequest { to, content, reply_to: Some(reply_to), wait: None };
        node.instances().send(node.tenant, id, request, None).await
    };
    let Ok(Outcome::Done(message)) = reply(ReplyTo::WhatsappId("IN1".into())).await else { panic!("refused") };
    let quoted = message.reply_to.unwrap();
    assert_eq!(quoted.text.as_deref(), Some("what?"));
    let Ok(Outcome::Done(_)) = reply(ReplyTo::Message(quoted.message_id.unwrap())).await else {
        panic!("refused")
    };
    let unknown = reply(ReplyTo::WhatsappId("IN2".into())).await;
    assert!(matches!(unknown, Err(CallError::Invalid { field: "reply_to", .. })));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_an_ack_ends_with_the_time_out() {
    let node = TestNode::start(quick()).await;
    node.engine.set(|script| script.acks = false);
    let id = node.connected().await;
    let message = node.send(id, PHONE, "x", Some(Duration::from_millis(50))).await.unwrap();
    assert_eq!(message.status, MessageStatus::Accepted);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_never_sent_expires_at_its_deadline() {
    let settings = Settings { message_ttl: Duration::from_millis(200), ..quick() };
    let node = TestNode::start(settings).await;
    node.engine.set(|script| script.acks = false);
    let id = node.connected().await;
    let message = node.send(id, PHONE, "x", Some(Duration::from_secs(10))).await.unwrap();
    assert_eq!(message.status, MessageStatus::Expired);
    assert_eq!(message.failure, Some(FailureReason::NotAcknowledged));
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
        let create = CreateInstance { name: name.to_owned(), proxy: proxy.map(str::to_owned) };
        let refused = node.instances().create(node.tenant, create, None).await;
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
    eventually("the successor has it", async || successor.introspection().get(&format!("instance/{id}"))).await;
    eventually("a second link is open", async || (node.engine.opened() == 2).then_some(())).await;
    assert!(old.observer.inbound(vec![inbound("IN1", "hi")]).await.is_err());
    eventually("the fenced session is gone", async || (node.sessions() == 0).then_some(())).await;
    eventually("its link is closed", async || old.is_closed().then_some(())).await;
    assert!(successor.stop().await.complete);
    node.stop().await;
}
