//! Faults of stanzas: acknowledgements, deliveries, sends, and keys.

use roost_sandbox::wire::node::Node;
use serde_json::json;

use super::{ADA, ADA_JID, BOB, BOB_JID, stage, strikes};
use crate::bundle::fetch_any;
use crate::client::{Companion, Wire, address, fetch};
use crate::stage::{Stage, eventually};

fn is_text(node: &Node) -> bool {
    node.tag == "message" && !node.is("category", "peer")
}

async fn sent(ada: &mut Companion, wire: &mut Wire, id: &str) {
    let message = ada.message(wire, BOB_JID, &[BOB_JID, ADA_JID], id, id).await;
    wire.send(&message).await;
}

/// Has Bob's phone write these texts, and reads what arrives, by text, until all have.
async fn arrivals(
    stage: &Stage,
    ada: &mut Companion,
    wire: &mut Wire,
    texts: &[&str],
    count: usize,
) -> Vec<String> {
    for text in texts {
        stage.phone_sends(BOB, ADA, text).await;
    }
    let mut arrived = Vec::new();
    for _ in 0..count {
        let message = wire.expect(is_text).await;
        match ada.try_read(&message) {
            Some(content) => arrived.push(content.text().unwrap().to_owned()),
            None => arrived.push("unreadable".to_owned()),
        }
    }
    arrived
}

#[tokio::test]
async fn a_rejected_send_gets_the_error_and_goes_nowhere() {
    let (stage, mut ada, mut wire) = stage().await;
    for error in ["463", "479", "429"] {
        let body = json!({"kind": "reject_sends", "error": error.parse::<u16>().unwrap(), "count": 1});
        stage.fault(body).await;
        sent(&mut ada, &mut wire, error).await;
        assert_eq!(wire.expect_ack(error).await.get("error"), Some(error));
    }
    sent(&mut ada, &mut wire, "M1").await;
    assert_eq!(wire.expect_ack("M1").await.get("error"), None);
    let received = stage.phone_has(BOB, 1).await;
    assert_eq!((received.len(), &received[0]["text"]), (1, &json!("M1")));
    assert_eq!(stage.stat("messages_refused").await, 3);
}

#[tokio::test]
async fn a_message_whose_acknowledgement_is_swallowed_arrives() {
    let (stage, mut ada, mut wire) = stage().await;
    let id = stage
        .fault(json!({"kind": "swallow_acks", "class": "message", "account": ADA, "count": 1}))
        .await;
    sent(&mut ada, &mut wire, "M1").await;
    stage.phone_has(BOB, 1).await;
    // The acknowledgement of the second comes alone: the first is lost, not late.
    sent(&mut ada, &mut wire, "M2").await;
    let ack = wire
        .expect(|node| node.tag == "ack" && node.is("class", "message"))
        .await;
    assert_eq!(ack.get("id"), Some("M2"));
    assert_eq!(strikes(&stage, &id).await, 1);
}

#[tokio::test]
async fn a_delayed_acknowledgement_comes_after_later_answers() {
    let (stage, mut ada, mut wire) = stage().await;
    stage
        .fault(json!({"kind": "delay_acks", "delay_ms": 6_000, "count": 1}))
        .await;
    sent(&mut ada, &mut wire, "M1").await;
    sent(&mut ada, &mut wire, "M2").await;
    let mut order = Vec::new();
    for _ in 0..2 {
        let ack = wire
            .expect(|node| node.tag == "ack" && node.is("class", "message"))
            .await;
        order.push(ack.get("id").unwrap().to_owned());
    }
    assert_eq!(order, ["M2", "M1"]);
}

#[tokio::test]
async fn a_delayed_delivery_is_overtaken() {
    let (stage, mut ada, mut wire) = stage().await;
    let body = json!({"kind": "delay_deliveries", "delay_ms": 6_000, "class": "message", "count": 1});
    stage.fault(body).await;
    let arrived = arrivals(&stage, &mut ada, &mut wire, &["one", "two"], 2).await;
    assert_eq!(arrived, ["two", "one"]);
}

#[tokio::test]
async fn a_duplicated_delivery_comes_twice_and_is_one_message() {
    let (stage, mut ada, mut wire) = stage().await;
    stage
        .fault(json!({"kind": "duplicate_deliveries", "count": 1, "account": ADA}))
        .await;
    let arrived = arrivals(&stage, &mut ada, &mut wire, &["one", "two"], 3).await;
    assert_eq!(
        arrived,
        ["one", "unreadable", "two"],
        "its key was used up by the first copy"
    );
}

#[tokio::test]
async fn a_reordered_delivery_comes_after_the_next_or_alone_in_time() {
    let (stage, mut ada, mut wire) = stage().await;
    let body = json!({"kind": "reorder_deliveries", "class": "message", "within_ms": 20_000, "count": 1});
    stage.fault(body).await;
    let arrived = arrivals(&stage, &mut ada, &mut wire, &["one", "two", "three"], 3).await;
    assert_eq!(arrived, ["two", "one", "three"]);
    stage
        .fault(json!({"kind": "reorder_deliveries", "within_ms": 50, "count": 1}))
        .await;
    assert_eq!(
        arrivals(&stage, &mut ada, &mut wire, &["four"], 1).await,
        ["four"]
    );
}

#[tokio::test]
async fn a_long_queue_is_delayed_at_once_and_stays_in_order() {
    let (stage, mut ada, wire) = stage().await;
    drop(wire);
    eventually(|| async { (stage.stat("connected").await == 0).then_some(()) }).await;
    let texts: Vec<_> = (0..150).map(|number| number.to_string()).collect();
    for text in &texts {
        stage.phone_sends(BOB, ADA, text).await;
    }
    let body = json!({"kind": "delay_deliveries", "delay_ms": 3_000, "class": "message"});
    let id = stage.fault(body).await;
    let mut wire = ada.connect(&stage).await;
    let offline = wire.expect(|node| node.find("offline").is_some()).await;
    assert_eq!(offline.find("offline").unwrap().get("count"), Some("150"));
    assert_eq!(strikes(&stage, &id).await, 150, "none waits for another's delay");
    for text in texts {
        let message = wire.expect(is_text).await;
        assert_eq!(ada.read(&message).text(), Some(&*text));
    }
}

#[tokio::test]
async fn what_a_delay_held_back_is_delivered_at_the_next_login() {
    let (stage, mut ada, _first) = stage().await;
    let body = json!({"kind": "delay_deliveries", "delay_ms": 600_000, "class": "message"});
    let id = stage.fault(body).await;
    stage.phone_sends(BOB, ADA, "one").await;
    eventually(|| async { (strikes(&stage, &id).await == 1).then_some(()) }).await;
    stage.delete("/faults").await;
    let mut wire = ada.connect(&stage).await;
    let message = wire.expect(is_text).await;
    assert_eq!(ada.read(&message).text(), Some("one"));
}

#[tokio::test]
async fn a_bundle_has_a_wrong_signature_identity_or_one_time_key() {
    let (stage, mut ada, mut wire) = stage().await;
    let right = fetch(&mut wire, BOB_JID).await.unwrap();
    let mut wrong = Vec::new();
    for part in ["signature", "identity", "one_time_key"] {
        stage
            .fault(json!({"kind": "wrong_prekeys", "part": part, "account": ADA, "count": 1}))
            .await;
        wrong.push(fetch_any(&mut wire, BOB_JID).await.unwrap());
    }
    assert_eq!(wrong[0].identity, right.identity);
    assert_ne!(wrong[0].signed_prekey.signature, right.signed_prekey.signature);
    let started = ada.signal.start_session(&address(BOB_JID), &wrong[0]);
    assert!(started.is_err(), "a client checks the signature");
    assert_ne!(wrong[1].identity, right.identity);
    assert!(ada.signal.start_session(&address(BOB_JID), &wrong[1]).is_err());
    // With a one-time key that is not Bob's, all looks well, and Bob cannot read it.
    ada.signal.start_session(&address(BOB_JID), &wrong[2]).unwrap();
    sent(&mut ada, &mut wire, "M1").await;
    let retry = wire
        .expect(|node| node.tag == "receipt" && node.is("type", "retry"))
        .await;
    assert_eq!(retry.get("id"), Some("M1"));
    assert_eq!(stage.stat("phone_decrypt_failures").await, 1);
}

#[tokio::test]
async fn a_first_message_arrives_without_its_device_identity() {
    let (stage, mut ada, mut wire) = stage().await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut bobs = bob.open(&stage).await;
    let id = stage
        .fault(json!({"kind": "missing_device_identity", "account": ADA, "count": 1}))
        .await;
    for (number, expected) in [("M1", false), ("M2", true)] {
        let message = bob
            .message(
                &mut bobs,
                ADA_JID,
                &["15550000001:1@s.whatsapp.net", ADA_JID],
                number,
                "hello",
            )
            .await;
        bobs.send(&message).await;
        let message = wire.expect(is_text).await;
        assert_eq!(message.find("enc").unwrap().get("type"), Some("pkmsg"));
        assert_eq!(message.find("device-identity").is_some(), expected);
        assert_eq!(ada.read(&message).text(), Some("hello"));
    }
    assert_eq!(strikes(&stage, &id).await, 1);
}
