//! A call through any node comes to what it comes to on a node that is alone.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use roost_domain::instance::{InstancePatch, Policy};

use super::*;
use crate::testing::ScriptedEngine;
use crate::{Instances, Runtime};

/// How many numbers live through how many calls each.
const LIVES: usize = 24;
const CALLS: std::ops::Range<usize> = 4..10;

/// One call, as a client may make it.
#[derive(Debug, Clone, Copy)]
enum Call {
    Connect,
    Disconnect,
    Logout,
    Delete,
    Qr,
    PairingCode,
    Send,
    SendAndWait,
    Patch(bool),
    Get,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        4 => Just(Call::Connect),
        2 => Just(Call::Disconnect),
        1 => Just(Call::Logout),
        1 => Just(Call::Delete),
        1 => Just(Call::Qr),
        1 => Just(Call::PairingCode),
        3 => Just(Call::Send),
        2 => Just(Call::SendAndWait),
        1 => any::<bool>().prop_map(Call::Patch),
        1 => Just(Call::Get),
    ]
}

/// The life of one number: whether a phone is paired with it, and its calls, each through a node.
fn life() -> impl Strategy<Value = (bool, Vec<(Call, usize)>)> {
    (any::<bool>(), vec((call(), 0..3_usize), CALLS))
}

fn request(wait: Option<Duration>) -> SendRequest {
    SendRequest {
        to: "+4915155555555".parse().unwrap(),
        content: Content::text("hello"),
        reply_to: None,
        wait,
    }
}

/// Why it was refused. In which of two states that follow each other by themselves is chance.
fn refusal(error: CallError) -> String {
    match error {
        CallError::WrongState { detail, .. } => detail,
        error => format!("{error:?}"),
    }
}

/// What a call came to, without what is made anew each time.
async fn outcome(instances: &Instances, tenant: TenantId, id: InstanceId, call: Call) -> String {
    let told = |row: Result<Instance, CallError>| match row {
        // How far it has come when it answers is chance.
        Ok(row) => format!("{:?}, {:?}, {}", row.desired_state, row.policy, row.name),
        Err(error) => refusal(error),
    };
    let code = |code: Result<crate::instance::ShownCode, CallError>| match code {
        Ok(code) => code.code,
        Err(error) => refusal(error),
    };
    let sent = |sent: Result<Outcome<Message>, CallError>, waited: bool| match sent {
        Ok(Outcome::Done(message)) if waited => format!("{:?}", message.status),
        Ok(Outcome::Done(message)) => format!("{:?}", message.content),
        Ok(Outcome::Replayed(_)) => "replayed".to_owned(),
        Err(error) => refusal(error),
    };
    let stamp = Stamp::default();
    match call {
        Call::Connect => told(instances.connect(tenant, id, None).await),
        Call::Disconnect => told(instances.disconnect(tenant, id).await),
        Call::Logout => told(instances.logout(tenant, id).await),
        Call::Delete => format!("{:?}", instances.delete(tenant, id).await),
        Call::Qr => code(instances.qr(tenant, id).await),
        Call::PairingCode => code(instances.pairing_code(tenant, id).await),
        Call::Send => sent(instances.send(tenant, id, request(None), stamp).await, false),
        Call::SendAndWait => {
            let wait = Some(Duration::from_secs(20));
            sent(instances.send(tenant, id, request(wait), stamp).await, true)
        }
        Call::Patch(reply_only) => {
            let patch = InstancePatch {
                name: Some(format!("named {reply_only}")),
                policy: Some(Policy { reply_only: false }),
                ..InstancePatch::default()
            };
            told(instances.patch(tenant, id, patch).await)
        }
        Call::Get => told(instances.get(tenant, id).await),
    }
}

/// Waits until what a call began has come to rest, and says where.
async fn rest(instances: &Instances, runs: impl Fn() -> bool, tenant: TenantId, id: InstanceId) -> String {
    eventually("it comes to rest", async || {
        match instances.get(tenant, id).await {
            Ok(row) => match row.state {
                InstanceState::Connecting | InstanceState::Reconnecting => None,
                state => Some(state.as_str().to_owned()),
            },
            Err(error) => (!runs()).then(|| error.to_string()),
        }
    })
    .await
}

/// Lives a life, each call through one of these nodes.
async fn live(
    engine: &ScriptedEngine,
    tenant: TenantId,
    nodes: &[&Runtime],
    (paired, calls): &(bool, Vec<(Call, usize)>),
) -> Vec<String> {
    let create = CreateInstance {
        name: "a number".into(),
        ..CreateInstance::default()
    };
    let first = nodes[0].instances();
    let Outcome::Done(made) = first
        .create(tenant, create, None, Stamp::default())
        .await
        .unwrap()
    else {
        panic!("nothing to replay");
    };
    let id = made.id;
    if *paired {
        engine.pair(id);
    }
    let path = format!("instance/{id}");
    let runs = || nodes.iter().any(|node| node.introspection().get(&path).is_some());
    let mut story = Vec::new();
    for (call, node) in calls {
        let instances = nodes[node % nodes.len()].instances();
        let came = outcome(&instances, tenant, id, *call).await;
        let stands = rest(&first, runs, tenant, id).await;
        story.push(format!("{call:?}: {came}; {stands}"));
    }
    // The next life finds nothing running.
    let _ = first.delete(tenant, id).await;
    story
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_through_any_node_comes_to_what_it_comes_to_on_a_node_that_is_alone() {
    let (stage, [a, b, c]) = Stage::nodes(["a", "b", "c"]).await;
    let alone = TestNode::start(quick()).await;
    let mut runner = TestRunner::default();
    for _ in 0..LIVES {
        let life = life().new_tree(&mut runner).unwrap().current();
        let nodes = [&a.runtime, &b.runtime, &c.runtime];
        let single = [&alone.runtime];
        let (shared, single) = tokio::join!(
            live(&stage.world.engine, stage.tenant(), &nodes, &life),
            live(&alone.engine, alone.tenant, &single, &life),
        );
        assert_eq!(shared, single, "{life:?}");
    }
    assert!(stage.net.calls() > LIVES, "most calls came from another node");
    alone.stop().await;
    stage.end([a, b, c]).await;
}
