//! Notes.

use serde_json::{Value, json};

use crate::node::Order;
use crate::stage::{DEADLINE, Node, Stage};

fn note(kind: u16, key: &str, body: &str) -> Order {
    Order::Note {
        kind,
        key: key.to_owned(),
        body: body.to_owned(),
    }
}

async fn until_told(node: &Node, wanted: &Value) -> Vec<Value> {
    let wait = async {
        loop {
            let told = node.tell(Order::Told).await;
            let told = told.as_array().unwrap();
            if told.contains(wanted) {
                return told.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("the note arrives")
}

#[tokio::test]
async fn notes_reach_every_linked_node() {
    let [a, b, c] = Stage::new().linked(["a", "b", "c"]).await;
    b.tell(note(1, "tenant", "17")).await;
    for node in [&a, &c] {
        until_told(node, &json!(["b", 1, "tenant", "17"])).await;
    }
    assert_eq!(b.tell(Order::Told).await, json!([]), "not the one who tells");
}

#[tokio::test]
async fn many_notes_of_one_key_become_few_and_the_last_one_arrives() {
    let [a, b] = Stage::new().linked(["a", "b"]).await;
    for number in 1..=2_000 {
        drop(a.begin(note(1, "tenant", &number.to_string())).await);
        if number % 500 == 0 {
            a.tell(note(2, "other", &number.to_string())).await;
        }
    }
    a.tell(note(1, "tenant", "last")).await;
    let told = until_told(&b, &json!(["a", 1, "tenant", "last"])).await;
    assert!(told.len() < 2_004, "{} notes", told.len());
    until_told(&b, &json!(["a", 2, "other", "2000"])).await;
}

#[tokio::test]
async fn notes_to_a_node_that_is_down_are_dropped_and_counted() {
    let [a, mut b] = Stage::new().linked(["a", "b"]).await;
    b.kill().await;
    a.until_down("b").await;
    a.tell(note(1, "tenant", "1")).await;
    a.until("b", "a note was dropped", |view| view["notes_dropped"] == 1)
        .await;
}
