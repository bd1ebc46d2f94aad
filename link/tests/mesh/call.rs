//! Calls between nodes that are well.

use serde_json::json;

use crate::node::{ECHO, GROW, HOLD, NOT_MINE, Order, PANIC, SLEEP_MS};
use crate::stage::{Node, Stage, call, introduce, within};

const MIB: usize = 1 << 20;

fn sized(node: &str, bytes: usize) -> Order {
    Order::Call {
        node: node.to_owned(),
        kind: ECHO,
        body: "x".to_owned(),
        times: bytes,
        deadline_ms: 30_000,
    }
}

#[tokio::test]
async fn nodes_call_each_other_over_mutual_tls() {
    let stage = Stage::new();
    let [a, b, c] = stage.linked(["a", "b", "c"]).await;
    for from in [&a, &b, &c] {
        for to in [&a, &b, &c] {
            let expected = if from.name == to.name {
                json!({"error": "Unknown"})
            } else {
                json!({"ok": "hello"})
            };
            assert_eq!(from.call(&to.name, ECHO, "hello").await, expected);
        }
    }
    let view = a
        .until("b", "the round trip is known", |view| view["rtt_us"].is_u64())
        .await;
    assert_eq!(view["release"], "0.1.0");
    assert_eq!(view["links"], 1, "one link per pair");
    assert_eq!(a.call("d", ECHO, "x").await, json!({"error": "Unknown"}));
}

#[tokio::test]
async fn without_certificates_nodes_of_one_host_are_linked() {
    let [a, b] = Stage::plain().linked(["a", "b"]).await;
    assert_eq!(a.call("b", ECHO, "hello").await, json!({"ok": "hello"}));
    assert_eq!(b.call("a", ECHO, "hello").await, json!({"ok": "hello"}));
}

#[tokio::test]
async fn a_full_body_passes_both_ways_and_a_larger_one_is_refused() {
    let [a, b] = Stage::new().linked(["a", "b"]).await;
    for (from, to) in [(&a, "b"), (&b, "a")] {
        assert_eq!(from.tell(sized(to, MIB)).await, json!({"bytes": MIB}));
        assert_eq!(from.tell(sized(to, MIB + 1)).await, json!({"error": "TooLarge"}));
        assert_eq!(
            from.call(to, GROW, &(MIB + 1).to_string()).await,
            json!({"error": "Refused(TooLarge)"})
        );
        assert_eq!(from.call(to, ECHO, "").await, json!({"ok": ""}));
    }
    assert_eq!(a.view("b").await["links"], 1, "the link held");
}

#[tokio::test]
async fn errors_of_the_called_node_keep_their_type() {
    let [a, _b] = Stage::new().linked(["a", "b"]).await;
    let refused = |error: &str| json!({"error": format!("Refused({error})")});
    assert_eq!(a.call("b", 9_999, "x").await, refused("UnknownKind"));
    assert_eq!(
        a.call("b", NOT_MINE, "x").await,
        refused("NotOwner { hint: Some(NodeName(\"c\")) }")
    );
    assert_eq!(a.call("b", PANIC, "x").await, refused("Failed(\"it panicked\")"));
    assert_eq!(a.call("b", ECHO, "x").await, json!({"ok": "x"}));
    let view = a
        .until("b", "no call is under way", |view| view["in_flight"] == 0)
        .await;
    assert_eq!(view["links"], 1);
}

#[tokio::test]
async fn a_slow_call_ends_at_its_deadline_and_is_dropped_by_the_called_node() {
    let [a, b] = Stage::new().linked(["a", "b"]).await;
    let answer = a.tell(call("b", SLEEP_MS, "600000", 200)).await;
    let late = [
        json!({"error": "Deadline"}),
        json!({"error": "Refused(Deadline)"}),
    ];
    assert!(late.contains(&answer), "{answer}");
    b.until("a", "nothing is served", |view| view["serving"] == 0)
        .await;
    let passed = a.tell(call("b", ECHO, "x", 0)).await;
    assert_eq!(passed, json!({"error": "Deadline"}));
}

/// Fills `a`'s calls to `b`, asks once more, and lets them go.
async fn fill(a: &Node, b: &Node, calls: usize) -> serde_json::Value {
    let mut held = Vec::new();
    for _ in 0..calls {
        held.push(a.begin(call("b", HOLD, "held", 60_000)).await);
    }
    b.until("a", "all are held", |view| view["serving"] == calls)
        .await;
    let refused = a.call("b", ECHO, "one more").await;
    b.tell(Order::Release).await;
    for answer in held {
        let answer = within("a held call is answered", answer).await.unwrap();
        assert_eq!(answer, json!({"ok": "held"}));
    }
    a.until("b", "the calls are done", |view| view["in_flight"] == 0)
        .await;
    assert_eq!(a.call("b", ECHO, "again").await, json!({"ok": "again"}));
    refused
}

#[tokio::test]
async fn a_caller_at_its_cap_is_overloaded() {
    let stage = Stage::new();
    let mut plan = stage.plan("a");
    plan.calls_max = 4;
    let (a, b) = (Node::start(plan).await, stage.node("b").await);
    introduce(&[&a, &b]).await;
    a.until_linked("b", 1).await;
    let refused = fill(&a, &b, 4).await;
    assert_eq!(refused, json!({"error": "Overloaded { retry_ms: 50 }"}));
}

#[tokio::test]
async fn a_called_node_at_its_cap_is_overloaded() {
    let stage = Stage::new();
    let mut plan = stage.plan("b");
    plan.calls_max = 4;
    let (a, b) = (stage.node("a").await, Node::start(plan).await);
    introduce(&[&a, &b]).await;
    a.until_linked("b", 1).await;
    let refused = fill(&a, &b, 4).await;
    assert_eq!(refused, json!({"error": "Refused(Overloaded { retry_ms: 50 })"}));
}
