//! Messages as callers see them: the real runtime on the real store, with a scripted engine.

use std::time::Duration;

use roost_domain::instance::InstanceState;
use roost_domain::message::{FailureReason, MessageFilter, MessageStatus};
use roost_domain::page::PageRequest;
use roost_domain::store::{Idempotency, Outcome, Stamp};
use roost_domain::{Address, Clock as _};

use super::message_in;
use crate::instance::{ReplyTo, SendRequest};
use crate::testing::{SystemClock, TestNode, eventually, inbound, quick};
use crate::{CallError, Settings};

const PHONE: &str = "+4915188888888";

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_ack_is_sent_again_under_its_id_after_a_restart() {
    let node = TestNode::start(quick()).await;
    node.engine.set(|script| script.acks = false);
    let id = node.connected().await;
    let first = node.send(id, PHONE, "one", None).await.unwrap();
    let second = node.send(id, PHONE, "two", None).await.unwrap();
    eventually("the first is on the wire", async || {
        (node.engine.sent(id).len() == 1).then_some(())
    })
    .await;
    node.engine.set(|script| script.acks = true);
    let node = node.restart().await;
    node.in_state(id, InstanceState::Connected).await;
    message_in(&node, second.id, MessageStatus::Sent).await;
    let sent: Vec<String> = node
        .engine
        .sent(id)
        .into_iter()
        .map(|sent| sent.whatsapp_id)
        .collect();
    assert_eq!(
        sent,
        [first.whatsapp_id.clone(), first.whatsapp_id, second.whatsapp_id]
    );
    let history = node
        .instances()
        .history(node.tenant, id, PageRequest::new(None, 50))
        .await
        .unwrap();
    assert!(
        !history
            .rows
            .iter()
            .any(|entry| entry.state == InstanceState::Pairing)
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_keeps_its_order_over_failures_and_beyond_what_memory_holds() {
    let settings = Settings {
        outbox_memory_max: 8,
        ..quick()
    };
    let node = TestNode::start(settings).await;
    node.engine.set(|script| script.transient_failures = 3);
    let id = node.connected().await;
    let mut expected = Vec::new();
    for number in 0..60 {
        let text = number.to_string();
        expected.push(node.send(id, PHONE, &text, None).await.unwrap().whatsapp_id);
    }
    eventually("all are sent", async || {
        let filter = MessageFilter {
            status: Some(MessageStatus::Sent),
            ..MessageFilter::default()
        };
        let page = PageRequest::new(None, 100);
        let sent = node
            .instances()
            .messages(node.tenant, id, filter, page)
            .await
            .unwrap();
        (sent.rows.len() == expected.len()).then_some(())
    })
    .await;
    let sent: Vec<String> = node
        .engine
        .sent(id)
        .into_iter()
        .map(|sent| sent.whatsapp_id)
        .collect();
    assert_eq!(sent, expected);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_idempotency_key_accepts_one_message() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    let send = async |text: &str, fingerprint: u8| {
        let to: Address = PHONE.parse().unwrap();
        let content = roost_domain::message::Content::text(text);
        let request = SendRequest {
            to,
            content,
            reply_to: None,
            wait: None,
        };
        let expires_at = SystemClock.now().plus(Duration::from_secs(60));
        let key = "key-1".to_owned();
        let idempotency = Idempotency {
            key,
            fingerprint: [fingerprint; 32],
            status: 202,
            expires_at,
        };
        node.instances()
            .send(
                node.tenant,
                id,
                request,
                Stamp {
                    idempotency: Some(idempotency),
                    audit: None,
                },
            )
            .await
    };
    let Ok(Outcome::Done(message)) = send("a", 1).await else {
        panic!("not accepted")
    };
    let Ok(Outcome::Replayed(replay)) = send("a", 1).await else {
        panic!("not replayed")
    };
    assert!(replay.body.contains(&message.id.to_string()));
    assert_eq!(send("b", 2).await, Err(CallError::IdempotencyKeyReused));
    message_in(&node, message.id, MessageStatus::Sent).await;
    assert_eq!(node.engine.sent(id).len(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_permits_are_refused_and_permits_come_back() {
    let node = TestNode::start(Settings {
        send_permits: 1,
        query_permits: 1,
        ..quick()
    })
    .await;
    let id = node.connected().await;
    let link = node.link(id).await;
    link.observer.inbound(vec![inbound("IN1", "hi")]).await.unwrap();
    let page = PageRequest::new(None, 1);
    let list = node
        .instances()
        .messages(node.tenant, id, MessageFilter::default(), page)
        .await
        .unwrap();
    let received = list.rows[0].id;
    // The link takes its time over the first receipt.
    let all = u32::try_from(node.engine.reads.available_permits().min(u32::MAX as usize)).unwrap();
    node.engine
        .reads
        .forget_permits(node.engine.reads.available_permits());
    let reading = tokio::spawn({
        let (instances, tenant) = (node.instances(), node.tenant);
        async move { instances.mark_read(tenant, received).await }
    });
    let path = format!("instance/{id}");
    eventually("the permit is taken", async || {
        let view = node.runtime.introspection().get(&path)?;
        view.permits
            .iter()
            .any(|permit| permit.class == "send" && permit.used == 1)
            .then_some(())
    })
    .await;
    let refused = node.send(id, PHONE, "x", None).await;
    assert!(
        matches!(refused, Err(CallError::Overloaded { .. })),
        "{refused:?}"
    );
    node.engine.reads.add_permits(all as usize);
    assert_eq!(reading.await.unwrap().unwrap().status, MessageStatus::Read);
    node.send(id, PHONE, "x", Some(Duration::from_secs(10)))
        .await
        .unwrap();
    let view = node.runtime.introspection().get(&path).unwrap();
    assert!(view.permits.iter().all(|permit| permit.used == 0), "{view:?}");
    assert_eq!((&*view.state, view.epoch.is_some()), ("connected", true));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_can_be_read_only_by_a_connected_instance_and_only_if_it_was_received() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    let message = node.send(id, PHONE, "x", None).await.unwrap();
    let refused = node.instances().mark_read(node.tenant, message.id).await;
    assert!(matches!(refused, Err(CallError::WrongMessage { .. })));
    node.link(id)
        .await
        .observer
        .inbound(vec![inbound("IN1", "hi")])
        .await
        .unwrap();
    node.instances().disconnect(node.tenant, id).await.unwrap();
    let filter = MessageFilter {
        status: Some(MessageStatus::Received),
        ..MessageFilter::default()
    };
    let page = PageRequest::new(None, 1);
    let list = node
        .instances()
        .messages(node.tenant, id, filter, page)
        .await
        .unwrap();
    let refused = node.instances().mark_read(node.tenant, list.rows[0].id).await;
    assert_eq!(refused, Err(CallError::NotConnected));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_quotes_a_message_of_the_same_instance() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    node.link(id)
        .await
        .observer
        .inbound(vec![inbound("IN1", "what?")])
        .await
        .unwrap();
    let reply = async |reply_to: ReplyTo| {
        let to: Address = PHONE.parse().unwrap();
        let content = roost_domain::message::Content::text("that");
        let request = SendRequest {
            to,
            content,
            reply_to: Some(reply_to),
            wait: None,
        };
        node.instances()
            .send(node.tenant, id, request, Stamp::default())
            .await
    };
    let Ok(Outcome::Done(message)) = reply(ReplyTo::WhatsappId("IN1".into())).await else {
        panic!("refused")
    };
    let quoted = message.reply_to.unwrap();
    assert_eq!(quoted.text.as_deref(), Some("what?"));
    let Ok(Outcome::Done(_)) = reply(ReplyTo::Message(quoted.message_id.unwrap())).await else {
        panic!("refused")
    };
    let unknown = reply(ReplyTo::WhatsappId("IN2".into())).await;
    assert!(matches!(
        unknown,
        Err(CallError::Invalid {
            field: "reply_to",
            ..
        })
    ));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_an_ack_ends_with_the_time_out() {
    let node = TestNode::start(quick()).await;
    node.engine.set(|script| script.acks = false);
    let id = node.connected().await;
    let message = node
        .send(id, PHONE, "x", Some(Duration::from_millis(50)))
        .await
        .unwrap();
    assert_eq!(message.status, MessageStatus::Accepted);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_never_sent_expires_at_its_deadline() {
    let settings = Settings {
        message_ttl: Duration::from_millis(200),
        ..quick()
    };
    let node = TestNode::start(settings).await;
    node.engine.set(|script| script.acks = false);
    let id = node.connected().await;
    let message = node
        .send(id, PHONE, "x", Some(Duration::from_secs(10)))
        .await
        .unwrap();
    assert_eq!(message.status, MessageStatus::Expired);
    assert_eq!(message.failure, Some(FailureReason::NotAcknowledged));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_the_acks_of_what_is_on_the_wire() {
    let node = TestNode::start(Settings {
        drain_timeout: Duration::from_secs(20),
        ..Settings::default()
    })
    .await;
    node.engine.set(|script| script.acks = false);
    let id = node.connected().await;
    let message = node.send(id, PHONE, "one", None).await.unwrap();
    eventually("it is on the wire", async || {
        (node.engine.sent(id).len() == 1).then_some(())
    })
    .await;
    let link = node.link(id).await;
    let acked = async {
        eventually("the stop has begun", async || {
            let refused = node.send(id, PHONE, "two", None).await;
            matches!(refused, Err(CallError::Moving { .. })).then_some(())
        })
        .await;
        assert!(!link.is_closed());
        link.acks(&message.whatsapp_id);
    };
    let (report, ()) = tokio::join!(node.stop(), acked);
    assert_eq!(report.sessions_killed, 0);
    let message = node.instances().message(node.tenant, message.id).await.unwrap();
    assert_eq!(message.status, MessageStatus::Sent);
}
