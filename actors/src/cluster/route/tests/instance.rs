use roost_domain::Timestamp;
use roost_domain::instance::{InstancePatch, PacingPatch, PairingMethod};
use roost_domain::message::{MessageFilter, MessageStatus};
use roost_domain::page::PageRequest;
use roost_domain::store::Idempotency;

use super::*;
use crate::testing::inbound;

pub(super) fn key(key: &str, request: u8) -> Stamp {
    let idempotency = Idempotency {
        key: key.to_owned(),
        fingerprint: [request; 32],
        status: 202,
        expires_at: Timestamp::from_unix_ms(i64::MAX),
    };
    Stamp {
        idempotency: Some(idempotency),
        ..Stamp::default()
    }
}

fn done(outcome: Outcome<Message>) -> Message {
    match outcome {
        Outcome::Done(message) => message,
        Outcome::Replayed(_) => panic!("nothing to replay"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_is_run_by_its_owner_and_called_through_any_node() {
    let (stage, [a, b]) = Stage::nodes(["a", "b"]).await;
    let (tenant, id) = (stage.tenant(), stage.instance_on(&b, &a).await);
    let other = a.instances();

    let qr = Some(PairingMethod::Qr);
    let row = other.connect(tenant, id, qr).await.unwrap();
    assert_eq!((row.id, row.tenant_id), (id, tenant));
    assert!(b.runs("instance", id) && !a.runs("instance", id));
    assert_eq!(other.qr(tenant, id).await.unwrap().code, "2@code");
    let refused = other.pairing_code(tenant, id).await;
    assert!(
        matches!(refused, Err(CallError::WrongState { .. })),
        "{refused:?}"
    );

    other.disconnect(tenant, id).await.unwrap();
    stage.world.engine.pair(id);
    other.connect(tenant, id, None).await.unwrap();
    stage.in_state(&a, id, InstanceState::Connected).await;

    let sent = stage.send(&a, id, "one", None, Stamp::default()).await;
    let sent = done(sent.unwrap());
    assert_eq!((sent.tenant_id, sent.content), (tenant, Content::text("one")));
    let wait = Some(Duration::from_secs(10));
    let acknowledged = done(stage.send(&a, id, "two", wait, Stamp::default()).await.unwrap());
    assert_eq!(acknowledged.status, MessageStatus::Sent);

    other.logout(tenant, id).await.unwrap();
    stage.in_state(&a, id, InstanceState::LoggedOut).await;
    let refused = stage.send(&a, id, "three", None, Stamp::default()).await;
    assert!(
        matches!(refused, Err(CallError::WrongState { .. })),
        "{refused:?}"
    );
    other.delete(tenant, id).await.unwrap();
    assert_eq!(other.get(tenant, id).await, Err(CallError::NotFound));
    eventually("its session has ended", async || {
        (!b.runs("instance", id)).then_some(())
    })
    .await;
    let gone = stage.send(&a, id, "four", None, Stamp::default()).await;
    assert_eq!(gone, Err(CallError::NotFound));
    assert!(stage.net.calls() > 8);
    stage.end([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repetition_through_another_node_gets_the_first_answer() {
    let (stage, [a, b]) = Stage::nodes(["a", "b"]).await;
    let id = stage.number_on(&b, &a).await;
    let first = stage.send(&b, id, "once", None, key("k", 1)).await;
    let first = done(first.unwrap());
    for node in [&a, &b, &a] {
        let Ok(Outcome::Replayed(replay)) = stage.send(node, id, "once", None, key("k", 1)).await else {
            panic!("not replayed")
        };
        assert!(replay.body.contains(&first.id.to_string()));
    }
    let other = stage.send(&a, id, "twice", None, key("k", 2)).await;
    assert_eq!(other, Err(CallError::IdempotencyKeyReused));

    let (one, two) = tokio::join!(
        stage.send(&a, id, "both", None, key("l", 3)),
        stage.send(&b, id, "both", None, key("l", 3)),
    );
    let made = [one.unwrap(), two.unwrap()];
    let made = made.iter().filter(|made| matches!(made, Outcome::Done(_)));
    assert_eq!(made.count(), 1);
    eventually("both messages are out, and no other", async || {
        (stage.world.engine.sent(id).len() == 2).then_some(())
    })
    .await;
    stage.end([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_received_message_is_marked_as_read_through_any_node() {
    let (stage, [a, b]) = Stage::nodes(["a", "b"]).await;
    let (tenant, id) = (stage.tenant(), stage.number_on(&b, &a).await);
    let link = stage.world.link(id).await;
    link.observer
        .inbound(vec![inbound("ABC", "hello")])
        .await
        .unwrap();
    let page = PageRequest::new(None, 10);
    let instances = a.instances();
    let messages = instances.messages(tenant, id, MessageFilter::default(), page);
    let received = messages.await.unwrap().rows.remove(0);
    let read = a.instances().mark_read(tenant, received.id).await.unwrap();
    assert_eq!((read.id, read.status), (received.id, MessageStatus::Read));
    assert_eq!(a.instances().mark_read(tenant, received.id).await, Ok(read));
    stage.end([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pace_that_was_set_through_another_node_holds_when_the_call_returns() {
    let (stage, [a, b]) = Stage::nodes(["a", "b"]).await;
    let (tenant, id) = (stage.tenant(), stage.number_on(&b, &a).await);
    let pacing = PacingPatch {
        messages_per_minute: std::num::NonZeroU32::new(1),
        ..PacingPatch::default()
    };
    let patch = InstancePatch {
        pacing: Some(Some(pacing)),
        ..InstancePatch::default()
    };
    a.instances().patch(tenant, id, patch).await.unwrap();
    let path = format!("instance/{id}");
    // Operators are shown it a moment later.
    eventually("its session has the pace", async || {
        b.runtime.introspection().get(&path)?.pacing.map(drop)
    })
    .await;
    stage.end([a, b]).await;
}
