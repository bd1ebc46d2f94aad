//! Messages, receipts, the offline queue and resends.

use roost_sandbox::wire::node::Node;
use serde_json::json;

use crate::client::Companion;
use crate::stage::{Stage, eventually};

const ADA: &str = "15550000001";
const BOB: &str = "15550000002";
const ADA_JID: &str = "15550000001@s.whatsapp.net";
const BOB_JID: &str = "15550000002@s.whatsapp.net";

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    stage
}

fn is_text(node: &Node) -> bool {
    node.tag == "message" && !node.is("category", "peer")
}

#[tokio::test]
async fn an_echoing_phone_reads_a_text_and_sends_it_back() {
    let stage = stage().await;
    stage
        .post(&format!("/accounts/{BOB}/echo"), json!({"enabled": true}))
        .await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let message = ada
        .message(&mut wire, BOB_JID, &[BOB_JID, ADA_JID], "M1", "hello")
        .await;
    wire.send(&message).await;
    let ack = wire.expect_ack("M1").await;
    assert_eq!(
        (ack.get("error"), ack.get("phash"), ack.get("from")),
        (None, None, Some(BOB_JID))
    );

    let delivered = wire
        .expect(|node| node.tag == "receipt" && node.is("id", "M1"))
        .await;
    assert_eq!(
        (delivered.get("from"), delivered.get("type")),
        (Some(BOB_JID), None)
    );
    let echo = wire.expect(is_text).await;
    assert_eq!(echo.get("from"), Some(BOB_JID));
    assert!(echo.get("sender_lid").unwrap().ends_with("@lid"));
    assert_eq!(ada.read(&echo).text(), Some("hello"));

    let received = &stage.phone_has(BOB, 1).await[0];
    assert_eq!(received["from"], ADA);
    assert_eq!(received["text"], "hello");
    assert_eq!(received["whatsapp_id"], "M1");
    // The own phone has a copy of what its companion sent.
    let copies = stage.phone_has(ADA, 1).await;
    assert_eq!(
        (&copies[0]["from"], &copies[0]["whatsapp_id"]),
        (&json!(ADA), &json!("M1"))
    );
}

#[tokio::test]
async fn what_a_phone_sends_reaches_the_peer_and_the_own_companions() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_ada = ada.open(&stage).await;
    let mut at_bob = bob.open(&stage).await;
    let id = stage.phone_sends(ADA, BOB, "hi Bob").await;

    let received = at_bob.expect(is_text).await;
    assert_eq!(received.get("id"), Some(id.as_str()));
    assert_eq!(bob.read(&received).text(), Some("hi Bob"));
    let copy = at_ada.expect(is_text).await;
    assert_eq!(
        (copy.get("from"), copy.get("recipient")),
        (Some(ADA_JID), Some(BOB_JID))
    );
    let copy = ada.read(&copy);
    assert_eq!(
        copy.device_sent_message
            .as_ref()
            .unwrap()
            .destination_jid
            .as_deref(),
        Some(BOB_JID)
    );
    assert_eq!(copy.innermost().text(), Some("hi Bob"));
}

#[tokio::test]
async fn edits_revocations_reactions_and_lid_addressing_reach_a_companion() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let target = stage.phone_sends(BOB, ADA, "first").await;
    wire.expect(is_text).await;
    let path = format!("/accounts/{BOB}/messages");
    for (body, edit) in [
        (json!({"to": ADA, "edit_of": target, "text": "second"}), Some("1")),
        (json!({"to": ADA, "react_to": target, "emoji": "+"}), None),
        (json!({"to": ADA, "revoke_of": target}), Some("7")),
    ] {
        assert_eq!(stage.post(&path, body).await.0, 201);
        assert_eq!(wire.expect(is_text).await.get("edit"), edit);
    }
    let body = json!({"to": ADA, "text": "by lid", "addressing": "lid"});
    assert_eq!(stage.post(&path, body).await.0, 201);
    let by_lid = wire.expect(is_text).await;
    assert!(by_lid.get("from").unwrap().ends_with("@lid"));
    assert_eq!(by_lid.get("sender_pn"), Some(BOB_JID));
}

#[tokio::test]
async fn unsettled_messages_come_again_in_order_until_a_receipt() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    drop(ada.open(&stage).await);
    eventually(|| async { (stage.stat("connected").await == 0).then_some(()) }).await;
    for text in ["one", "two", "three"] {
        stage.phone_sends(BOB, ADA, text).await;
    }
    // The first login reads and confirms nothing but the first message.
    let mut wire = ada.connect(&stage).await;
    let preview = wire.expect(|node| node.find("offline_preview").is_some()).await;
    assert_eq!(preview.find("offline_preview").unwrap().get("message"), Some("3"));
    let first = wire.expect(is_text).await;
    assert_eq!(first.get("offline"), Some("0"));
    assert_eq!(ada.read(&first).text(), Some("one"));
    ada.receipt(&mut wire, &first, None).await;
    drop(wire);
    eventually(|| async { (stage.stat("connected").await == 0).then_some(()) }).await;

    let mut wire = ada.connect(&stage).await;
    let mut texts = Vec::new();
    for _ in 0..2 {
        let message = wire.expect(is_text).await;
        texts.push(ada.read(&message).text().unwrap().to_owned());
        ada.receipt(&mut wire, &message, None).await;
    }
    assert_eq!(texts, ["two", "three"]);
    let mark = wire.expect(|node| node.find("offline").is_some()).await;
    assert_eq!(mark.find("offline").unwrap().get("count"), Some("2"));
    eventually(|| async { (stage.stat("queued").await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn a_passive_login_gets_its_queue_after_active() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    drop(ada.open(&stage).await);
    eventually(|| async { (stage.stat("connected").await == 0).then_some(()) }).await;
    stage.phone_sends(BOB, ADA, "wait").await;
    let payload = ada.login_payload(true);
    let hello = roost_sandbox::wire::noise::Hello::Xx;
    let mut wire = crate::client::Wire::open(&stage, &ada.noise, &payload, hello).await;
    let before = wire.query("get", "w:p", Node::new("ping")).await;
    assert!(before.is("type", "result"));
    wire.query("set", "passive", Node::new("active")).await;
    // The ping came first, so the queue was held back until then.
    assert_eq!(wire.expect(is_text).await.get("offline"), Some("0"));
}

#[tokio::test]
async fn a_message_sent_twice_under_one_id_is_shown_once() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_bob = bob.open(&stage).await;
    let mut wire = ada.open(&stage).await;
    let bob_device = bob.jid.to_string();
    for _ in 0..2 {
        let message = ada
            .message(&mut wire, BOB_JID, &[BOB_JID, &bob_device, ADA_JID], "M1", "once")
            .await;
        wire.send(&message).await;
        assert_eq!(wire.expect_ack("M1").await.get("error"), None);
    }
    let message = ada
        .message(
            &mut wire,
            BOB_JID,
            &[BOB_JID, &bob_device, ADA_JID],
            "M2",
            "twice",
        )
        .await;
    wire.send(&message).await;
    let ids = [at_bob.expect(is_text).await, at_bob.expect(is_text).await];
    assert_eq!(ids.map(|node| node.get("id").unwrap().to_owned()), ["M1", "M2"]);
    let received = stage.phone_has(BOB, 2).await;
    assert_eq!(received.len(), 2);
    assert_eq!(
        (&received[0]["text"], &received[1]["text"]),
        (&json!("once"), &json!("twice"))
    );
}

#[tokio::test]
async fn a_phone_resends_what_a_companion_could_not_read() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let id = stage.phone_sends(BOB, ADA, "again").await;
    let lost = wire.expect(is_text).await;
    let request = Node::new("receipt")
        .attr("id", id.clone())
        .attr("to", lost.get("from").unwrap().to_owned())
        .attr("type", "retry")
        .child(
            Node::new("retry")
                .attr("count", "1")
                .attr("id", id.clone())
                .attr("t", "0")
                .attr("v", "1"),
        );
    wire.send(&request).await;
    let resent = wire.expect(is_text).await;
    assert_eq!(resent.get("id"), Some(id.as_str()));
    assert_eq!(ada.read(&resent).text(), Some("again"));
    ada.receipt(&mut wire, &resent, None).await;
    eventually(|| async { (stage.stat("queued").await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn a_phone_asks_again_for_what_it_could_not_read() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let enc = Node::new("enc")
        .attr("v", "2")
        .attr("type", "msg")
        .bytes(vec![0x33; 80]);
    let garbage = Node::new("message")
        .attr("to", BOB_JID)
        .attr("id", "M1")
        .attr("type", "text")
        .child(Node::new("participants").child(Node::new("to").attr("jid", BOB_JID).child(enc)));
    wire.send(&garbage).await;
    let request = wire
        .expect(|node| node.tag == "receipt" && node.is("type", "retry"))
        .await;
    assert_eq!(
        (request.get("id"), request.get("from")),
        (Some("M1"), Some(BOB_JID))
    );
    assert!(request.find("keys").is_some());
    let message = ada
        .message(&mut wire, BOB_JID, &[BOB_JID, ADA_JID], "M1", "better")
        .await;
    wire.send(&message).await;
    assert_eq!(stage.phone_has(BOB, 1).await[0]["text"], "better");
}

#[tokio::test]
async fn read_receipts_reach_the_author_and_the_own_companions() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let message = ada
        .message(&mut wire, BOB_JID, &[BOB_JID, ADA_JID], "M1", "read me")
        .await;
    wire.send(&message).await;
    stage.phone_has(BOB, 1).await;
    let path = format!("/accounts/{BOB}/read");
    assert_eq!(stage.post(&path, json!({"whatsapp_id": "M1"})).await.0, 204);
    let read = wire
        .expect(|node| node.tag == "receipt" && node.is("type", "read"))
        .await;
    assert_eq!((read.get("id"), read.get("from")), (Some("M1"), Some(BOB_JID)));
    let (status, body) = stage.post(&path, json!({"whatsapp_id": "nothing"})).await;
    assert_eq!((status, body["code"].as_str()), (404, Some("message_not_found")));
}

/// The phone and the companion of the peer confirm the same message in the same words.
#[tokio::test]
async fn an_acknowledgement_settles_one_of_two_receipts_that_look_alike() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_ada = ada.open(&stage).await;
    let mut at_bob = bob.open(&stage).await;
    let bob_jid = bob.jid.to_string();
    let message = ada
        .message(&mut at_ada, BOB_JID, &[BOB_JID, &bob_jid], "M1", "twice")
        .await;
    at_ada.send(&message).await;
    let received = at_bob.expect(is_text).await;
    bob.receipt(&mut at_bob, &received, None).await;
    let is_receipt = |node: &Node| node.tag == "receipt" && node.is("id", "M1");
    let first = at_ada.expect(is_receipt).await;
    let second = at_ada.expect(is_receipt).await;
    let words = |node: &Node| ["id", "from", "type"].map(|name| node.get(name).map(str::to_owned));
    assert_eq!(words(&first), words(&second));

    let ack = Node::new("ack")
        .attr("class", "receipt")
        .attr("id", "M1")
        .attr("to", BOB_JID);
    at_ada.send(&ack).await;
    // Stanzas are handled in order: once this is answered, the acknowledgement was.
    at_ada.query("get", "w:p", Node::new("ping")).await;
    drop(at_ada);
    eventually(|| async { (stage.stat("connected").await == 1).then_some(()) }).await;

    let mut at_ada = ada.connect(&stage).await;
    let again = at_ada.expect(is_receipt).await;
    assert_eq!(words(&again), words(&first));
    at_ada.send(&ack).await;
    let mark = at_ada.expect(|node| node.find("offline").is_some()).await;
    assert_eq!(mark.find("offline").unwrap().get("count"), Some("1"));
    eventually(|| async { (stage.stat("queued").await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn messages_that_cannot_be_routed_are_refused_by_their_ack() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let enc = || {
        Node::new("enc")
            .attr("v", "2")
            .attr("type", "msg")
            .bytes(vec![1; 40])
    };
    let to =
        |jid: &str| Node::new("participants").child(Node::new("to").attr("jid", jid.to_owned()).child(enc()));
    for (to_attr, children, error) in [
        (
            "15559999999@s.whatsapp.net",
            vec![to("15559999999@s.whatsapp.net")],
            "404",
        ),
        ("1203630000@g.us", vec![enc()], "404"),
        ("1203630000@newsletter", vec![enc()], "501"),
        ("not an address", vec![enc()], "400"),
        (BOB_JID, vec![], "400"),
        // A copy for somebody who is no part of the chat.
        (BOB_JID, vec![to("15559999999@s.whatsapp.net")], "404"),
    ] {
        let message = Node::new("message")
            .attr("to", to_attr)
            .attr("id", "X")
            .attr("type", "text")
            .with_children(children);
        wire.send(&message).await;
        assert_eq!(
            wire.expect_ack("X").await.get("error"),
            Some(error),
            "to {to_attr}"
        );
    }
}

#[tokio::test]
async fn a_sender_that_misses_a_device_is_told_the_right_hash() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    Companion::paired(&stage, BOB).await;
    let message = ada
        .message(&mut wire, BOB_JID, &[BOB_JID, ADA_JID], "M1", "all?")
        .await;
    wire.send(&message).await;
    assert!(
        wire.expect_ack("M1")
            .await
            .get("phash")
            .is_some_and(|hash| hash.starts_with("2:"))
    );
}
