use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use roost_domain::instance::InstanceState;
use roost_domain::slot::Slot;
use roost_domain::{Epoch, InstanceId, Timestamp};

use super::wire::{Listed, OperatorAnswer};
use super::*;
use crate::Runtime;
use crate::cluster::rendezvous;
use crate::cluster::steward::tests::Stage;
use crate::cluster::testing::{Node, name};
use crate::index::{ActorFilter, ActorIndex, ActorView, Grade};
use crate::registry::Operation;
use crate::testing::{TestNode, eventually, quick};

async fn all(operator: &Operator, filter: &ActorFilter, limit: usize) -> Vec<ActorPlace> {
    let (mut places, mut after) = (Vec::new(), None);
    loop {
        let order = Order::Path { after };
        let page = operator.actors(filter, None, &order, limit).await.unwrap();
        assert!(page.rows.len() <= limit);
        assert!(
            page.nodes.iter().all(|node| node.status == NodeStatus::Ok),
            "{:?}",
            page.nodes
        );
        places.extend(page.rows.iter().map(|row| ActorPlace {
            path: row.path.clone(),
            node: row.node.clone(),
        }));
        after = page.next;
        if after.is_none() {
            return places;
        }
    }
}

/// Two nodes that share some numbers: each has at least one.
async fn two(numbers: usize) -> (Stage, Node, Node) {
    let names = [name("a"), name("b")];
    let nodes: Vec<&NodeName> = names.iter().collect();
    let stage = loop {
        let stage = Stage::new(numbers).await;
        let owners = stage.numbers.iter().map(|&id| rendezvous(Slot::of(id), &nodes));
        if owners.collect::<BTreeSet<_>>().len() == nodes.len() {
            break stage;
        }
    };
    let (a, b) = (stage.node("a").await, stage.node("b").await);
    stage.shared_by(&[&a, &b]).await;
    eventually("they know each other", async || {
        let others = [&a, &b].map(|node| node.runtime.operator().others().len());
        (others == [1, 1]).then_some(())
    })
    .await;
    (stage, a, b)
}

/// A number that runs on this node.
fn number_of(stage: &Stage, node: &Node) -> InstanceId {
    let here = |id: &&InstanceId| node.placement.owned().contains_key(&Slot::of(**id));
    *stage.numbers.iter().find(here).expect("the node has one of them")
}

fn view_of(runtime: &Runtime, path: &str) -> Option<ActorView> {
    runtime.introspection().get(path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_actors_of_every_node_are_listed_page_by_page_by_any_of_them() {
    let (stage, a, b) = two(12).await;
    for node in [&a, &b] {
        let operator = node.runtime.operator();
        let filter = ActorFilter::default();
        let pages = all(&operator, &filter, 3).await;
        assert!(pages.is_sorted(), "{pages:?}");
        let unique: BTreeSet<_> = pages.iter().collect();
        assert_eq!(unique.len(), pages.len(), "none comes twice");
        assert_eq!(
            pages,
            all(&operator, &filter, 500).await,
            "whatever the page's size"
        );
        for id in &stage.numbers {
            let path = format!("instance/{id}");
            assert_eq!(pages.iter().filter(|place| place.path == path).count(), 1);
        }
        let stewards: Vec<_> = pages.iter().filter(|place| place.path == "steward").collect();
        assert_eq!(
            stewards.iter().map(|place| &*place.node).collect::<Vec<_>>(),
            ["a", "b"]
        );
        let filter = ActorFilter {
            kind: Some("instance".into()),
            state: Some("connected".into()),
        };
        eventually("every number is shown as connected", async || {
            (all(&operator, &filter, 5).await.len() == stage.numbers.len()).then_some(())
        })
        .await;
        let only = operator
            .actors(&filter, Some("b"), &Order::Path { after: None }, 500)
            .await;
        let only = only.unwrap();
        assert!(!only.rows.is_empty() && only.rows.iter().all(|row| row.node == "b"));
        assert_eq!(only.nodes.len(), 1);
    }
    let operator = a.runtime.operator();
    let none = operator
        .actors(
            &ActorFilter::default(),
            Some("c"),
            &Order::Path { after: None },
            5,
        )
        .await;
    assert_eq!(none, Err(OperatorError::NoSuchNode { node: "c".into() }));
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_answer_is_named_and_not_left_out() {
    let (stage, a, b) = two(8).await;
    let (operator, id) = (a.runtime.operator(), number_of(&stage, &b));
    stage.net.cut(&name("b"), true);
    let page = operator
        .actors(&ActorFilter::default(), None, &Order::Path { after: None }, 500)
        .await
        .unwrap();
    let status = |name: &str| {
        let node = page.nodes.iter().find(|node| node.node == name).unwrap();
        (node.status, node.error.is_some())
    };
    assert_eq!(status("a"), (NodeStatus::Ok, false));
    assert_eq!(status("b"), (NodeStatus::Unreachable, true));
    assert!(!page.rows.is_empty() && page.rows.iter().all(|row| row.node == "a"));

    let rows = operator.nodes().await.unwrap();
    let b_row = rows.iter().find(|row| row.node == "b").unwrap();
    assert_eq!(
        (b_row.status, b_row.load.is_some()),
        (NodeStatus::Unreachable, false)
    );
    assert!(b_row.slots.owned > 0 && !b_row.link.as_ref().unwrap().connected);
    assert_eq!(b_row.lease.as_ref().unwrap().state, LeaseState::Live);

    let path = format!("instance/{id}");
    let one = operator.actor(&path, None).await;
    assert!(
        matches!(&one, Err(OperatorError::Unreachable { node, .. }) if node == "b"),
        "{one:?}"
    );
    let done = operator.operate(&path, None, Operation::Restart).await;
    assert!(
        matches!(&done, Err(OperatorError::Unreachable { node, .. }) if node == "b"),
        "{done:?}"
    );
    stage.net.cut(&name("b"), false);
    assert_eq!(operator.actor(&path, None).await.unwrap().node, "b");
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_actor_is_found_and_ordered_about_wherever_it_lives() {
    let (stage, a, b) = two(8).await;
    let (operator, id) = (a.runtime.operator(), number_of(&stage, &b));
    let path = format!("instance/{id}");
    let view = operator.actor(&path, None).await.unwrap();
    assert_eq!(
        (view.node.as_str(), &*view.state, view.slot),
        ("b", "connected", Some(Slot::of(id)))
    );
    assert_eq!(view.epoch, Some(b.placement.owned()[&Slot::of(id)]));

    operator.operate(&path, None, Operation::Restart).await.unwrap();
    eventually("it was started again", async || {
        let view = operator.actor(&path, None).await.ok()?;
        (view.restarts == 1 && view.state == "connected").then_some(())
    })
    .await;

    // Parts of nodes have the same path everywhere.
    assert_eq!(
        operator.actor("steward", None).await,
        Err(OperatorError::WhichNode)
    );
    // So have buckets of addresses, where there is one.
    assert_eq!(
        operator.actor("bucket/ip:203.0.113.9", None).await,
        Err(OperatorError::WhichNode)
    );
    assert_eq!(operator.actor("steward", Some("b")).await.unwrap().node, "b");
    assert_eq!(operator.actor("steward", Some("a")).await.unwrap().node, "a");
    for (path, node) in [
        ("nothing", None),
        ("nothing", Some("b")),
        ("instance/none", None),
        (path.as_str(), Some("a")),
    ] {
        assert_eq!(
            operator.actor(path, node).await,
            Err(OperatorError::NoSuchActor),
            "{path} {node:?}"
        );
        let done = operator.operate(path, node, Operation::Stop).await;
        assert_eq!(done, Err(OperatorError::NoSuchActor), "{path} {node:?}");
    }
    let at_c = OperatorError::NoSuchNode { node: "c".into() };
    assert_eq!(operator.actor("steward", Some("c")).await, Err(at_c));
    let refused = operator.operate("steward", Some("b"), Operation::Stop).await;
    assert!(
        matches!(refused, Err(OperatorError::Call(CallError::WrongMessage { .. }))),
        "{refused:?}"
    );
    // Where nothing of it runs, its owner says so.
    operator.operate(&path, None, Operation::Stop).await.unwrap();
    eventually("it is gone", async || {
        (operator.actor(&path, None).await == Err(OperatorError::NoSuchActor)).then_some(())
    })
    .await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_and_slots_are_shown_as_the_rows_have_them() {
    let (_stage, a, b) = two(6).await;
    let rows = a.runtime.operator().nodes().await.unwrap();
    let names: Vec<_> = rows.iter().map(|row| row.node.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(rows.iter().map(|row| row.here).collect::<Vec<_>>(), [true, false]);
    for row in &rows {
        assert_eq!((row.status, &row.error), (NodeStatus::Ok, &None));
        assert_eq!(row.slots.owned, row.slots.desired);
        assert!(row.lease.as_ref().unwrap().expires_in_ms.is_some());
        let load = row.load.as_ref().unwrap();
        assert!(load.ready && load.sessions.count > 0, "{load:?}");
        assert_eq!(load.sessions.states.values().sum::<usize>(), load.sessions.count);
    }
    assert!(rows[0].link.is_none() && rows[1].link.as_ref().unwrap().connected);
    assert_eq!(rows.iter().map(|row| row.slots.owned).sum::<usize>(), 1024);

    let slots = b.runtime.operator().slots(None).await.unwrap();
    assert_eq!(slots.len(), 1024);
    for slot in &slots {
        assert!(slot.held && !slot.moving, "{slot:?}");
        assert_eq!(slot.owner, slot.desired_owner);
        let owned = if slot.owner.as_deref() == Some("a") {
            a.placement.owned()
        } else {
            b.placement.owned()
        };
        assert_eq!(slot.epoch, Some(owned[&slot.slot]));
    }
    let of_b = a.runtime.operator().slots(Some("b")).await.unwrap();
    assert_eq!(of_b.len(), b.placement.owned().len());
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_drained_keeps_nothing_and_answers_until_it_is_taken_back() {
    let (stage, a, b) = two(6).await;
    let operator = a.runtime.operator();
    assert!(operator.drain(&name("b"), true).await.unwrap().draining);
    stage.shared_by(&[&a]).await;
    eventually("the node knows", async || b.runtime.drains().then_some(())).await;
    let rows = b.runtime.operator().nodes().await.unwrap();
    let row = rows.iter().find(|row| row.node == "b").unwrap();
    assert_eq!((row.slots.owned, row.slots.desired), (0, 0));
    assert_eq!(row.load.as_ref().unwrap().sessions.count, 0);
    // It speaks for the others.
    let path = format!("instance/{}", stage.numbers[0]);
    assert_eq!(b.runtime.operator().actor(&path, None).await.unwrap().node, "a");

    let last = OperatorError::LastNode { node: "a".into() };
    assert_eq!(operator.drain(&name("a"), true).await, Err(last));
    let unknown = OperatorError::NoSuchNode { node: "c".into() };
    assert_eq!(operator.drain(&name("c"), true).await, Err(unknown));

    assert!(!operator.drain(&name("b"), false).await.unwrap().draining);
    stage.shared_by(&[&a, &b]).await;
    eventually("the node knows", async || (!b.runtime.drains()).then_some(())).await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_an_operator_puts_into_quarantine_runs_again_when_that_is_cleared() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    let (operator, path) = (node.runtime.operator(), format!("instance/{id}"));
    for _ in 0..2 {
        // It ends first; asked for twice, it stays.
        eventually("the order is taken", async || {
            operator.operate(&path, None, Operation::Quarantine).await.ok()
        })
        .await;
    }
    let view = eventually("it is in quarantine", async || {
        view_of(&node.runtime, &path).filter(|view| view.state == "quarantined")
    })
    .await;
    assert!(view.needs_operator && view.urgency().grade() == Grade::Quarantined);
    assert_eq!(view.last_error, None);
    node.in_state(id, InstanceState::Disconnected).await;
    assert_eq!(node.engine.live(), 0);
    let refused = node.instances().connect(node.tenant, id, None).await;
    assert!(
        matches!(refused, Err(CallError::Unavailable { .. })),
        "{refused:?}"
    );
    let worst = operator
        .actors(&ActorFilter::default(), None, &Order::Worst, 1)
        .await
        .unwrap();
    assert_eq!((worst.rows[0].path.as_str(), worst.next), (path.as_str(), None));

    operator
        .operate(&path, None, Operation::ClearQuarantine)
        .await
        .unwrap();
    node.in_state(id, InstanceState::Connected).await;
    assert!(!view_of(&node.runtime, &path).unwrap().needs_operator);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_cluster_shows_itself() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    let operator = node.runtime.operator();
    let rows = operator.nodes().await.unwrap();
    assert_eq!(rows.len(), 1);
    assert!(rows[0].here && rows[0].lease.is_none() && !rows[0].draining);
    assert_eq!(
        rows[0].slots,
        SlotCount {
            owned: 1024,
            desired: 1024
        }
    );
    assert_eq!(rows[0].load.as_ref().unwrap().sessions.count, 1);
    let slots = operator.slots(Some(&rows[0].node)).await.unwrap();
    assert_eq!(slots.len(), 1024);
    assert_eq!(operator.slots(Some("other")).await.unwrap(), []);
    assert_eq!(
        operator.drain(&name("local"), true).await,
        Err(OperatorError::NoCluster)
    );
    // There is no other node that could be meant.
    assert_eq!(operator.actor("upkeep", None).await.unwrap().kind, "upkeep");
    let path = format!("instance/{id}");
    assert_eq!(
        operator.actor(&path, Some(&rows[0].node)).await.unwrap().path,
        path
    );
    node.stop().await;
}

fn index(count: usize, text: &str) -> ActorIndex {
    struct Noon;
    impl roost_domain::Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_ms(1_800_000_000_000)
        }
    }
    let index = ActorIndex::new("a-node-with-a-name-of-some-length.example.org", Arc::new(Noon));
    for number in 0..count {
        let id = InstanceId::from_parts(1_800_000_000_000, number as u128);
        let meta = index.open(&format!("instance/{id}"), "instance", Some(Slot::of(id)));
        meta.failed("panic", text.to_owned());
        meta.retries_at(Some(Timestamp::from_unix_ms(1_800_000_000_000)), true);
        meta.queued();
        meta.queued();
        meta.handling("facts_due");
    }
    index
}

#[test]
fn a_page_of_broken_actors_fits_into_one_answer_and_a_longer_one_is_cut() {
    let index = index(500, &"a long story ".repeat(1_000));
    let (mut rows, _) = index.list(&ActorFilter::default(), None, 500);
    for row in &mut rows {
        row.epoch = Some(Epoch(i64::MAX));
        row.permits = ["send", "query", "control"]
            .map(|class| crate::PermitView {
                class: class.into(),
                used: 64,
                max: 64,
            })
            .to_vec();
    }
    let listed = |rows: Vec<ActorView>| Listed { rows, more: false };
    let bytes = listed(rows.clone()).fit(1 << 20).unwrap();
    let read = |bytes: &[u8]| match super::wire::decode(bytes).unwrap() {
        OperatorAnswer::Actors(listed) => listed,
        other => panic!("{other:?}"),
    };
    let whole = read(&bytes);
    assert_eq!((whole.rows.len(), whole.more), (500, false));
    assert_eq!(whole.rows, rows);
    let cut = listed(rows.clone()).fit(64 << 10).unwrap();
    assert!(cut.len() <= 64 << 10);
    let part = read(&cut);
    assert!(part.more && !part.rows.is_empty());
    assert_eq!(part.rows, rows[..part.rows.len()]);
}

#[test]
fn an_actor_whose_messages_grow_old_is_shown_before_the_others() {
    let index = index(3, "x");
    let (rows, _) = index.list(&ActorFilter::default(), None, 3);
    let mut stuck = rows[0].clone();
    (stuck.needs_operator, stuck.mailbox.oldest_ms) = (false, 60_000);
    let mut waits = stuck.clone();
    (waits.mailbox.oldest_ms, waits.state) = (0, "backing_off".into());
    let mut fine = waits.clone();
    fine.state = "connected".into();
    let grades = [&fine, &waits, &stuck, &rows[0]].map(|row| row.urgency().grade());
    assert_eq!(
        grades,
        [Grade::Fine, Grade::BacksOff, Grade::Stuck, Grade::Quarantined]
    );
    assert!(rows[0].urgency() > stuck.urgency() && stuck.urgency() > waits.urgency());
    assert!(waits.urgency() > fine.urgency());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_a_node_does_not_know_is_refused() {
    let (stage, a, b) = two(2).await;
    let peers = a.runtime.operator().node().peers().cloned().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    let to = name("b");
    let call = peers.call(&to, Kind::OPERATOR, "nonsense".into(), deadline);
    assert!(matches!(call.await, Err(PeerError::Refused(WireError::Bad(_)))));
    drop(stage);
    a.stop().await;
    b.stop().await;
}
