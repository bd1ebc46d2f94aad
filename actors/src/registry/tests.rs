//! Restarts, quarantine, hand-off and the start gate, on real sessions.

mod fenced;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use roost_domain::instance::{DesiredState, InstanceState};
use roost_domain::message::MessageStatus;
use roost_domain::page::PageRequest;
use roost_domain::store::Messages as _;
use roost_domain::{MessageId, Slot};
use tokio::time::Instant;

use super::policy::{Class, Record, Verdict};
use super::{ActorExit, Operation};
use crate::testing::{SystemEntropy, TestNode, eventually, quick};
use crate::{ActorFilter, CallError, OperatorError, Settings};

#[test]
fn errors_decide_the_restart_class() {
    let class = |error: ActorExit| Class::of(&(Box::new(error) as ractor::ActorProcessingErr));
    assert_eq!(class(ActorExit::Fenced), Class::Final);
    assert_eq!(class(ActorExit::Retry("x".into())), Class::Retry);
    assert_eq!(class(ActorExit::Panic("x".into())), Class::Panic);
    assert_eq!(Class::of(&"anything else".into()), Class::Panic);
}

#[test]
fn only_panics_close_together_lead_to_quarantine() {
    let (settings, start) = (Settings::default(), Instant::now());
    let judge =
        |record: &mut Record, class, at| record.failed(class, Duration::ZERO, at, &settings, &SystemEntropy);
    let mut often = Record::default();
    for minute in 0..4 {
        let at = start + Duration::from_secs(60 * minute);
        assert!(matches!(judge(&mut often, Class::Panic, at), Verdict::Restart(_)));
        assert!(matches!(judge(&mut often, Class::Retry, at), Verdict::Restart(_)));
    }
    assert_eq!(
        judge(&mut often, Class::Panic, start + Duration::from_secs(300)),
        Verdict::Quarantine
    );
    let mut rarely = Record::default();
    for minute in (0..60).step_by(3) {
        let at = start + Duration::from_secs(60 * minute);
        assert!(matches!(
            judge(&mut rarely, Class::Panic, at),
            Verdict::Restart(_)
        ));
    }
    assert_eq!(judge(&mut rarely, Class::Final, start), Verdict::Forget);
}

proptest! {
    #[test]
    fn a_wait_never_exceeds_what_the_failures_so_far_allow(lives in prop::collection::vec(0_u64..120, 1..40)) {
        let (settings, start) = (Settings::default(), Instant::now());
        let (mut record, mut failures) = (Record::default(), 0_u32);
        for seconds in lives {
            let lived = Duration::from_secs(seconds);
            failures = if lived >= settings.backoff_reset_after { 1 } else { failures + 1 };
            let verdict = record.failed(Class::Retry, lived, start, &settings, &SystemEntropy);
            let Verdict::Restart(wait) = verdict else { panic!("{verdict:?}") };
            let ceiling = Duration::from_secs(1_u64 << (failures - 1).min(20)).min(settings.backoff_max);
            prop_assert!(wait <= ceiling, "{:?} after {} failures", wait, failures);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_panics_again_and_again_is_quarantined_until_an_operator_lets_it_out() {
    let node = TestNode::start(quick()).await;
    node.engine.set(|script| script.panics = 5);
    let id = node.create().await;
    node.instances().connect(node.tenant, id, None).await.unwrap();
    // Pairing does not survive a restart of its session, so each life is sent off again.
    let path = format!("instance/{id}");
    let quarantined = eventually("the session is in quarantine", async || {
        let _ = node.instances().connect(node.tenant, id, None).await;
        let view = node.runtime.introspection().get(&path)?;
        Some(view).filter(|view| view.state == "quarantined")
    })
    .await;
    assert!(
        quarantined.needs_operator && quarantined.restarts >= 4,
        "{quarantined:?}"
    );
    assert_eq!(
        quarantined.last_error.as_ref().map(|error| &*error.class),
        Some("panic")
    );
    let refused = node.instances().connect(node.tenant, id, None).await;
    assert!(
        matches!(refused, Err(CallError::Unavailable { .. })),
        "{refused:?}"
    );
    let filter = ActorFilter {
        kind: Some("instance".into()),
        state: Some("quarantined".into()),
    };
    assert_eq!(node.runtime.introspection().list(&filter, None, 10).0.len(), 1);
    node.operate(&path, Operation::ClearQuarantine).await.unwrap();
    eventually("the session runs again", async || {
        node.instances().connect(node.tenant, id, None).await.ok()
    })
    .await;
    node.in_state(id, InstanceState::Pairing).await;
    assert!(!node.runtime.introspection().get(&path).unwrap().needs_operator);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_session_that_panics_connects_again_by_itself() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    node.engine.set(|script| script.panics = 2);
    let path = format!("instance/{id}");
    node.operate(&path, Operation::Restart).await.unwrap();
    eventually("it came back after its panics", async || {
        let view = node.runtime.introspection().get(&path)?;
        (view.restarts == 3 && view.state == "connected").then_some(())
    })
    .await;
    assert_eq!(node.engine.live_max(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_an_operator_stops_is_shown_as_disconnected_until_it_is_needed() {
    let node = TestNode::start(quick()).await;
    let id = node.connected().await;
    let path = format!("instance/{id}");
    node.operate(&path, Operation::Stop).await.unwrap();
    let row = node.in_state(id, InstanceState::Disconnected).await;
    assert!(row.state_reason.unwrap().contains("operator"));
    assert_eq!(row.desired_state, DesiredState::Running);
    let page = PageRequest::new(None, 2);
    let history = node.instances().history(node.tenant, id, page).await.unwrap();
    let states: Vec<InstanceState> = history.rows.iter().map(|step| step.state).collect();
    assert_eq!(states, [InstanceState::Disconnected, InstanceState::Connected]);
    eventually("it is gone", async || (node.sessions() == 0).then_some(())).await;
    node.instances().connect(node.tenant, id, None).await.unwrap();
    node.in_state(id, InstanceState::Connected).await;
    assert_eq!(node.engine.live_max(), 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_stopped_while_it_is_broken_is_shown_as_disconnected_too() {
    let node = TestNode::start(Settings {
        backoff_first: Duration::from_secs(60),
        backoff_max: Duration::from_secs(60),
        ..quick()
    })
    .await;
    let id = node.connected().await;
    node.engine.set(|script| script.panics = 1);
    let path = format!("instance/{id}");
    node.operate(&path, Operation::Restart).await.unwrap();
    eventually("it waits for its restart", async || {
        let view = node.runtime.introspection().get(&path)?;
        (view.state == "backing_off").then_some(())
    })
    .await;
    node.operate(&path, Operation::Stop).await.unwrap();
    node.in_state(id, InstanceState::Disconnected).await;
    eventually("it is gone", async || (node.sessions() == 0).then_some(())).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_sessions_dial_at_once_than_the_gate_lets_in() {
    let node = TestNode::start(Settings {
        dials_max: 2,
        ..quick()
    })
    .await;
    node.engine.set(|script| script.silent = true);
    let mut ids = Vec::new();
    for _ in 0..6 {
        let id = node.create().await;
        node.instances().connect(node.tenant, id, None).await.unwrap();
        ids.push(id);
    }
    eventually("the gate is full", async || {
        let view = node.runtime.gate();
        ((view.dialing, view.waiting) == (2, 4)).then_some(())
    })
    .await;
    assert_eq!(node.engine.opened(), 2);
    // Each that is done makes room for the next.
    node.engine.set(|script| script.silent = false);
    for id in ids {
        if let Some(link) = node.engine.link(id) {
            let valid_for = Duration::from_secs(60);
            link.says(roost_domain::engine::LinkFact::Qr {
                code: "2@x".into(),
                valid_for,
            });
        }
        node.in_state(id, InstanceState::Pairing).await;
    }
    assert_eq!(node.runtime.gate().dialing, 0);
    assert_eq!(node.runtime.gate().dialed, 6);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_killed_comes_back_with_its_sessions() {
    let node = TestNode::start(quick()).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(node.connected().await);
    }
    assert_eq!(node.engine.opened(), 5);
    node.runtime.residents().sessions.kill_registry();
    for &id in &ids {
        eventually("it has a new link", async || {
            let links = node.engine.opened();
            (links >= 10 && !node.link(id).await.is_closed()).then_some(())
        })
        .await;
        node.in_state(id, InstanceState::Connected).await;
        node.send(id, "+4915188888888", "x", Some(Duration::from_secs(10)))
            .await
            .unwrap();
    }
    // None of them had two links at a time.
    assert_eq!(node.engine.live(), 5);
    assert_eq!(node.engine.live_max(), 5);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_starts_every_running_instance_and_none_that_is_stopped() {
    let node = TestNode::start(quick()).await;
    let mut running = Vec::new();
    for _ in 0..20 {
        running.push(node.connected().await);
    }
    let stopped = node.connected().await;
    node.instances().disconnect(node.tenant, stopped).await.unwrap();
    let node = node.restart().await;
    for &id in &running {
        node.in_state(id, InstanceState::Connected).await;
    }
    eventually("the node is ready", async || node.runtime.ready().then_some(())).await;
    assert_eq!(node.row(stopped).await.state, InstanceState::Disconnected);
    assert_eq!(node.sessions(), 20);
    assert_eq!(node.stop().await.sessions_killed, 0);
    assert!(!node.runtime.ready());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_actor_is_listed_page_by_page() {
    let node = TestNode::start(quick()).await;
    for _ in 0..3 {
        node.connected().await;
    }
    let index = node.runtime.introspection();
    let (mut paths, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = index.list(&ActorFilter::default(), after.as_deref(), 2);
        assert!(page.len() <= 2);
        paths.extend(page.into_iter().map(|view| view.path));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert!(paths.is_sorted());
    assert_eq!(
        paths.iter().filter(|path| path.starts_with("instance/")).count(),
        3
    );
    for path in ["instances", "node", "streams", "upkeep"] {
        let view = index.get(path).unwrap();
        assert_eq!(view.state, "running", "{path}");
    }
    let stopped = node.operate("node", Operation::Stop).await;
    assert!(matches!(
        stopped,
        Err(OperatorError::Call(CallError::WrongMessage { .. }))
    ));
    assert_eq!(
        node.operate("instance/none", Operation::Stop).await,
        Err(OperatorError::NoSuchActor)
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_is_handed_off_is_empty_and_the_others_run_on() {
    let node = TestNode::start(quick()).await;
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(node.connected().await);
    }
    let slot = Slot::of(ids[0]);
    let moved = ids.iter().filter(|&&id| Slot::of(id) == slot).count();
    assert!(node.runtime.residents().hand_off([slot].into()).await);
    assert_eq!(node.sessions(), ids.len() - moved);
    assert_eq!(node.engine.live(), ids.len() - moved);
    let row = node.row(ids[0]).await;
    assert_eq!(
        (row.state, row.desired_state),
        (InstanceState::Reconnecting, DesiredState::Running)
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_killed_in_the_middle_of_traffic_lose_and_double_nothing() {
    const SENDS: usize = 150;
    let node = Arc::new(TestNode::start(quick()).await);
    let id = node.connected().await;
    let mut senders = Vec::new();
    for chat in 0..3 {
        let node = Arc::clone(&node);
        senders.push(tokio::spawn(async move {
            let mut accepted = Vec::new();
            for number in 0..SENDS {
                let to = format!("+491518888888{chat}");
                // A refusal says that nothing was taken, and an answer that never came says nothing.
                match node.send(id, &to, &number.to_string(), None).await {
                    Ok(message) => accepted.push(message),
                    Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
                }
            }
            accepted
        }));
    }
    for _ in 0..8 {
        let before = node.engine.opened();
        tokio::time::sleep(Duration::from_millis(rand::random_range(1..30))).await;
        node.runtime.residents().sessions.kill_registry();
        eventually("a session runs again", async || {
            (node.engine.opened() > before).then_some(())
        })
        .await;
    }
    for sender in senders {
        for message in sender.await.unwrap() {
            eventually("every accepted message is sent", async || {
                let now = node.instances().message(node.tenant, message.id).await.unwrap();
                assert_eq!(now.whatsapp_id, message.whatsapp_id);
                (now.status == MessageStatus::Sent).then_some(())
            })
            .await;
        }
    }
    // In each chat the first attempts are in the order of acceptance, whatever was repeated later.
    let mut first: HashMap<String, Vec<MessageId>> = HashMap::new();
    let mut seen = HashSet::new();
    for sent in node
        .engine
        .sent(id)
        .into_iter()
        .filter(|sent| seen.insert(sent.whatsapp_id.clone()))
    {
        let stored = node
            .store
            .message_by_whatsapp_id(node.tenant, id, &sent.whatsapp_id)
            .await
            .unwrap();
        first
            .entry(sent.to.to_string())
            .or_default()
            .push(stored.unwrap().id);
    }
    assert!(first.values().all(|ids| ids.is_sorted()), "{first:?}");
    assert_eq!(node.engine.live_max(), 1);
    node.stop().await;
}
