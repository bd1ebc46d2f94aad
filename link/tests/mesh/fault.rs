//! Nodes that die, freeze, come back, or are somebody else.

use serde_json::json;

use crate::node::{ECHO, HOLD, Order};
use crate::stage::{Node, Stage, call, introduce, within};

#[tokio::test]
async fn calls_to_a_node_that_is_killed_fail_at_once() {
    let [a, mut b] = Stage::new().linked(["a", "b"]).await;
    // No deadline of theirs ends these calls before the test's.
    let held = a.begin(call("b", HOLD, "x", 600_000)).await;
    b.until("a", "the call is held", |view| view["serving"] == 1)
        .await;
    b.kill().await;
    let answer = within("the call fails", held).await.unwrap();
    assert_eq!(answer, json!({"error": "Lost"}));
    a.until_down("b").await;
    assert_eq!(a.call("b", ECHO, "x").await, json!({"error": "Down"}));
}

#[tokio::test]
async fn calls_to_a_frozen_node_end_by_their_deadline_and_the_node_is_marked_down() {
    let [a, b] = Stage::new().linked(["a", "b"]).await;
    b.signal("-STOP");
    let answer = a.tell(call("b", ECHO, "x", 300)).await;
    assert_eq!(answer, json!({"error": "Deadline"}));
    // Longer than any deadline of the test: only the cut can end it.
    let held = a.begin(call("b", ECHO, "x", 600_000)).await;
    let view = a.until_down("b").await;
    assert_eq!(view["last_error"], "it did not answer 3 pings");
    let answer = within("the call fails", held).await.unwrap();
    assert!(
        answer == json!({"error": "Lost"}) || answer == json!({"error": "Down"}),
        "{answer}"
    );
    b.signal("-CONT");
    a.until_linked("b", 1).await;
    assert_eq!(a.call("b", ECHO, "x").await, json!({"ok": "x"}));
    b.until_linked("a", 1).await;
    assert_eq!(b.call("a", ECHO, "x").await, json!({"ok": "x"}));
}

#[tokio::test]
async fn a_frozen_dialer_is_marked_down_and_dials_again() {
    let [a, b] = Stage::new().linked(["a", "b"]).await;
    a.signal("-STOP");
    b.until_down("a").await;
    a.signal("-CONT");
    b.until_linked("a", 1).await;
    assert_eq!(b.call("a", ECHO, "x").await, json!({"ok": "x"}));
    a.until("b", "it is linked again", |view| {
        view["connected"] == true && view["links"] == 2
    })
    .await;
}

#[tokio::test]
async fn a_node_that_restarts_is_linked_as_a_later_life() {
    let stage = Stage::new();
    let [a, mut b] = stage.linked(["a", "b"]).await;
    b.kill().await;
    let mut plan = stage.plan("b");
    plan.incarnation = 2;
    let b = Node::start(plan).await;
    introduce(&[&a, &b]).await;
    a.until_linked("b", 2).await;
    b.until_linked("a", 1).await;
    assert_eq!(a.call("b", ECHO, "x").await, json!({"ok": "x"}));
    assert_eq!(b.call("a", ECHO, "x").await, json!({"ok": "x"}));
}

#[tokio::test]
async fn a_node_that_is_reborn_is_linked_anew() {
    let [a, b] = Stage::new().linked(["a", "b"]).await;
    for (incarnation, node, other) in [(5, &b, &a), (6, &a, &b)] {
        node.tell(Order::Reborn(incarnation)).await;
        other.until_linked(&node.name, incarnation).await;
        assert_eq!(other.call(&node.name, ECHO, "x").await, json!({"ok": "x"}));
    }
}

#[tokio::test]
async fn an_earlier_life_is_refused() {
    let stage = Stage::new();
    let (mut a, b) = (stage.node("a").await, stage.node("b").await);
    // It does not know yet that there is a later one.
    let of_b = ("b".to_owned(), 1, b.address.clone());
    a.tell(Order::Peers(vec![of_b.clone()])).await;
    a.incarnation = 2;
    b.tell(Order::Peers(vec![("a".to_owned(), 2, a.address.clone())]))
        .await;
    let view = a
        .until("b", "it was refused as stale", |view| {
            view["last_error"]
                .as_str()
                .is_some_and(|error| error.contains("later life"))
        })
        .await;
    assert_eq!(view["connected"], false);
    a.tell(Order::Reborn(2)).await;
    b.until_linked("a", 2).await;
}

#[tokio::test]
async fn a_later_life_replaces_an_earlier_one_that_still_runs() {
    let stage = Stage::new();
    let [earlier, b] = stage.linked(["a", "b"]).await;
    let mut plan = stage.plan("a");
    plan.incarnation = 2;
    let later = Node::start(plan).await;
    // Before `b` has read that there is one.
    later
        .tell(Order::Peers(vec![("b".to_owned(), 1, b.address.clone())]))
        .await;
    later.until_linked("b", 1).await;
    b.until_linked("a", 2).await;
    earlier
        .until("b", "it is refused as stale", |view| {
            view["last_error"]
                .as_str()
                .is_some_and(|error| error.contains("later life"))
        })
        .await;
    assert_eq!(later.call("b", ECHO, "x").await, json!({"ok": "x"}));
    assert_eq!(b.view("a").await["incarnation"], 2);
}

#[tokio::test]
async fn a_node_that_leaves_is_cut_and_not_let_in_again() {
    let [a, b, c] = Stage::new().linked(["a", "b", "c"]).await;
    introduce(&[&b, &c]).await;
    a.until("b", "it is refused", |view| {
        view["last_error"]
            .as_str()
            .is_some_and(|error| error.contains("no node of this name"))
    })
    .await;
    assert!(b.view("a").await.is_null());
    assert_eq!(b.call("a", ECHO, "x").await, json!({"error": "Unknown"}));
    assert_eq!(b.call("c", ECHO, "x").await, json!({"ok": "x"}));
}

#[tokio::test]
async fn a_node_that_stops_ends_its_links() {
    let [a, b] = Stage::new().linked(["a", "b"]).await;
    let held = a.begin(call("b", HOLD, "x", 600_000)).await;
    b.until("a", "the call is held", |view| view["serving"] == 1)
        .await;
    drop(b.begin(Order::Stop).await);
    assert_eq!(
        within("the call fails", held).await.unwrap(),
        json!({"error": "Lost"})
    );
    a.until_down("b").await;
}
