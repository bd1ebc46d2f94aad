//! Nodes that cannot be reached, that do not understand, that are not the owner any more.

use std::collections::BTreeSet;

use bytes::Bytes;
use roost_domain::Epoch;
use roost_domain::ErrorCode;
use roost_domain::cluster::{ClusterView, Member, SlotOwner};
use roost_domain::peer::{Kind, PeerError, WireError};
use tokio::time::Instant;

use super::super::Tried;
use super::*;
use crate::cluster::testing::{Fault, live};
use crate::instance::ask::{InstanceAsk, RereadAsk};

/// Longer than any call that meets nobody may take, on a machine that is busy.
const AT_ONCE: Duration = Duration::from_secs(3);

fn is_refused<T: std::fmt::Debug>(answer: &Result<T, CallError>) {
    let error = answer.as_ref().unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable, "{error:?}");
    assert!(error.retry_after().is_some(), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_for_a_node_that_is_cut_off_are_held_for_a_moment_and_refused() {
    let (stage, [a, b]) = Stage::nodes(["a", "b"]).await;
    let (tenant, id) = (stage.tenant(), stage.number_on(&b, &a).await);
    stage.net.cut(&name("b"), true);
    let begun = Instant::now();
    let instances = a.instances();
    is_refused(&stage.send(&a, id, "one", None, Stamp::default()).await);
    is_refused(&stage.send(&a, id, "one", Some(AT_ONCE), Stamp::default()).await);
    is_refused(&instances.connect(tenant, id, None).await);
    is_refused(&instances.disconnect(tenant, id).await);
    is_refused(&instances.qr(tenant, id).await);
    is_refused(&instances.logout(tenant, id).await);
    is_refused(&instances.delete(tenant, id).await);
    assert!(begun.elapsed() >= 7 * settings().hold, "each was held");
    assert!(begun.elapsed() < 7 * AT_ONCE);
    // What only reads, and the owner itself, go on.
    instances.get(tenant, id).await.unwrap();
    stage.send(&b, id, "two", None, Stamp::default()).await.unwrap();

    let healed = async {
        tokio::time::sleep(settings().hold / 3).await;
        stage.net.cut(&name("b"), false);
    };
    let (sent, ()) = tokio::join!(stage.send(&a, id, "three", None, Stamp::default()), healed);
    sent.unwrap();
    eventually("what was accepted is out", async || {
        (stage.world.engine.sent(id).len() == 2).then_some(())
    })
    .await;
    stage.end([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_whose_answer_is_lost_is_repeated_only_where_that_does_no_harm() {
    let (stage, [a, b]) = Stage::nodes(["a", "b"]).await;
    let (tenant, id) = (stage.tenant(), stage.number_on(&b, &a).await);

    stage.net.lose_answers(1);
    let unknown = stage.send(&a, id, "one", None, Stamp::default()).await;
    assert_eq!(unknown, Err(CallError::Timeout), "nobody can say");

    stage.net.lose_answers(1);
    let sent = stage
        .send(&a, id, "two", None, super::instance::key("k", 1))
        .await;
    assert!(
        matches!(sent, Ok(Outcome::Replayed(_))),
        "the first one was carried out"
    );

    stage.net.lose_answers(1);
    a.instances().connect(tenant, id, None).await.unwrap();
    stage.net.lose_answers(2);
    let unknown = a.instances().connect(tenant, id, None).await;
    assert_eq!(unknown, Err(CallError::Timeout), "once is enough");
    stage.net.lose_answers(1);
    assert_eq!(a.instances().logout(tenant, id).await, Err(CallError::Timeout));
    stage.net.lose_answers(0);
    stage.in_state(&a, id, InstanceState::LoggedOut).await;
    assert_eq!(stage.world.engine.sent(id).len(), 2, "each once");
    stage.end([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_another_release_is_refused_and_nothing_is_done() {
    let (stage, [a, b]) = Stage::nodes(["a", "b"]).await;
    let peers = Arc::clone(a.runtime.node().peers().unwrap());
    let deadline = (Instant::now() + AT_ONCE).into_std();
    let unknown = PeerError::Refused(WireError::UnknownKind);
    for kind in [Kind::INSTANCE, Kind(999)] {
        #[derive(serde::Serialize)]
        enum Later {
            Dance { steps: u8 },
        }
        let body = rmp_serde::to_vec_named(&Later::Dance { steps: 3 }).unwrap();
        let answer = peers.call(&name("b"), kind, body.into(), deadline).await;
        assert_eq!(answer, Err(unknown.clone()), "{kind:?}");
    }
    let garbage = Bytes::from_static(b"\xc1");
    let answer = peers.call(&name("b"), Kind::INSTANCE, garbage, deadline).await;
    assert_eq!(answer, Err(unknown.clone()));
    let Tried::Answered::<()>(refused) = super::super::unanswered(&name("b"), "instance", unknown) else {
        panic!("held")
    };
    is_refused(&refused);
    stage.end([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_behind_is_sent_on_to_the_owner() {
    let (stage, [a, b, c]) = Stage::nodes(["a", "b", "c"]).await;
    let id = stage.number_on(&b, &a).await;
    stage.rows.fault(Fault::Refuses);
    let mut view = ClusterView::default();
    view.nodes.insert(name("c"), live("c", 1));
    let member = Some(Member {
        node: name("c"),
        incarnation: 1,
    });
    let epoch = Epoch(1);
    view.slots.insert(Slot::of(id), SlotOwner { member, epoch });
    let before = eventually("the rows cannot be read", async || {
        a.placement.learn(&view);
        tokio::time::sleep(settings().tick).await;
        (a.placement.place(Slot::of(id)) == Place::Node(name("c"))).then(|| stage.net.calls())
    })
    .await;
    stage.send(&a, id, "one", None, Stamp::default()).await.unwrap();
    assert_eq!(stage.net.calls(), before + 2, "to c, and from there on to b");
    stage.rows.fault(Fault::None);
    stage.end([a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_lost_its_lease_does_nothing_for_others() {
    let (stage, [a, b]) = Stage::nodes(["a", "b"]).await;
    let id = stage.number_on(&b, &a).await;
    let ask = InstanceAsk::Reread(RereadAsk {
        tenant: stage.tenant(),
        instance: id,
    });
    let body = Bytes::from(rmp_serde::to_vec_named(&ask).unwrap());
    let peers = Arc::clone(a.runtime.node().peers().unwrap());
    let deadline = (Instant::now() + AT_ONCE).into_std();
    b.lease.end();
    let refused = peers.call(&name("b"), Kind::INSTANCE, body, deadline).await;
    assert_eq!(refused, Err(PeerError::Refused(WireError::Fenced)));
    // It comes back as another life, and goes on.
    settled(&[&a, &b]).await;
    stage.send(&a, id, "one", None, Stamp::default()).await.unwrap();
    stage.end([a, b]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nodes_come_and_go_every_message_is_accepted_once_or_refused_for_now() {
    let (stage, [a, b]) = Stage::nodes(["a", "b"]).await;
    let (one, two) = (stage.number_on(&a, &b).await, stage.number_on(&b, &a).await);
    let stop = tokio_util::sync::CancellationToken::new();
    let sender = async |node: &Node, id: InstanceId| {
        let mut accepted = Vec::new();
        for number in 0.. {
            let text = format!("{}{number}", node.placement.node());
            while !stop.is_cancelled() {
                let begun = Instant::now();
                let sent = stage.send(node, id, &text, None, Stamp::default()).await;
                assert!(begun.elapsed() < AT_ONCE, "it hung");
                match sent {
                    Ok(_) => {
                        accepted.push(text.clone());
                        break;
                    }
                    Err(error) => assert_eq!(error.code(), ErrorCode::Unavailable, "{error:?}"),
                }
            }
            if stop.is_cancelled() {
                return (id, accepted);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        unreachable!("numbers do not end")
    };
    let changes = async {
        let c = stage.node("c").await;
        settled(&[&a, &b, &c]).await;
        assert!(c.runtime.stop().await.complete);
        settled(&[&a, &b]).await;
        stop.cancel();
    };
    let (from_a, from_b, over_a, over_b, ()) = tokio::join!(
        sender(&a, one),
        sender(&b, two),
        sender(&a, two),
        sender(&b, one),
        changes
    );
    for (id, accepted) in [from_a, from_b, over_a, over_b] {
        assert!(!accepted.is_empty());
        let ids = eventually("everything accepted is out", async || {
            let sent = stage.world.engine.sent(id);
            let of_text = |text: &String| {
                let same = sent.iter().filter(|sent| sent.content == Content::text(text));
                let ids: BTreeSet<String> = same.map(|sent| sent.whatsapp_id.clone()).collect();
                (!ids.is_empty()).then_some(ids.len())
            };
            accepted.iter().map(of_text).collect::<Option<Vec<_>>>()
        })
        .await;
        assert!(ids.iter().all(|&count| count == 1), "nothing was accepted twice");
    }
    stage.end([a, b]).await;
}
