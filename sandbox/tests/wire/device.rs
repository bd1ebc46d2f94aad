//! Several companions of one account, and what happens when they or their account change.

use roost_sandbox::signal::proto::{AdvKeyIndexList, AdvSignedKeyIndexList, Message, ProtoMessage};
use roost_sandbox::wire::node::Node;
use serde_json::{Value, json};

use crate::client::{Companion, Wire, fetch};
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

fn is_news(kind: &'static str) -> impl Fn(&Node) -> bool {
    move |node| node.tag == "notification" && node.is("type", kind)
}

/// Asks for a device list, and so holds it from then on.
async fn devices(wire: &mut Wire, jid: &str) -> Option<Node> {
    let user = Node::new("user").attr("jid", jid.to_owned());
    let query = Node::new("usync")
        .attr("sid", "s1")
        .child(Node::new("query").child(Node::new("devices")))
        .child(Node::new("list").child(user));
    let answer = wire.query("get", "usync", query).await;
    let list = answer.find("usync").unwrap().find("list").unwrap();
    list.children()[0].find("devices").cloned()
}

fn indexes(devices: &Node) -> AdvKeyIndexList {
    let list = devices.find("key-index-list").unwrap().data().unwrap();
    let signed = AdvSignedKeyIndexList::decode(list).unwrap();
    AdvKeyIndexList::decode(signed.details.unwrap().as_slice()).unwrap()
}

async fn account(stage: &Stage, number: &str) -> Value {
    stage.get(&format!("/accounts/{number}")).await.1
}

#[tokio::test]
async fn a_message_reaches_every_device_of_both_sides_but_its_own() {
    let stage = stage().await;
    let mut first = Companion::paired(&stage, ADA).await;
    let mut second = Companion::paired(&stage, ADA).await;
    let mut third = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_first = first.open(&stage).await;
    let mut at_second = second.open(&stage).await;
    let mut at_third = third.open(&stage).await;
    let mut at_bob = bob.open(&stage).await;

    let content = Message::of_text("to all");
    let copy = content.clone().device_sent(BOB_JID);
    let (second_jid, third_jid, bob_jid) =
        (second.jid.to_string(), third.jid.to_string(), bob.jid.to_string());
    let theirs = first
        .sealed(&mut at_first, BOB_JID, &[BOB_JID, &bob_jid], "M1", &content)
        .await;
    let own = first
        .sealed(
            &mut at_first,
            BOB_JID,
            &[ADA_JID, &second_jid, &third_jid],
            "M1",
            &copy,
        )
        .await;
    let copies = [&theirs, &own].map(|part| part.find("participants").unwrap().children().to_vec());
    let proof = own.find("device-identity").unwrap().clone();
    let message = Node::new("message")
        .attr("to", BOB_JID)
        .attr("id", "M1")
        .attr("type", "text")
        .child(Node::new("participants").with_children(copies.concat()))
        .child(proof);
    at_first.send(&message).await;
    let ack = at_first.expect_ack("M1").await;
    assert_eq!((ack.get("error"), ack.get("phash")), (None, None));

    let received = at_bob.expect(is_text).await;
    assert_eq!(bob.read(&received).text(), Some("to all"));
    for (companion, wire) in [(&mut second, &mut at_second), (&mut third, &mut at_third)] {
        let received = wire.expect(is_text).await;
        assert_eq!(received.get("from"), Some(first.jid.to_string().as_str()));
        assert_eq!(received.get("recipient"), Some(BOB_JID));
        let content = companion.read(&received);
        let sent = content.device_sent_message.as_ref().unwrap();
        assert_eq!(sent.destination_jid.as_deref(), Some(BOB_JID));
        assert_eq!(content.innermost().text(), Some("to all"));
    }
    let copies = stage.phone_has(ADA, 1).await;
    assert_eq!(
        (&copies[0]["direction"], &copies[0]["text"], &copies[0]["chat"]),
        (&json!("sent"), &json!("to all"), &json!(BOB))
    );
}

#[tokio::test]
async fn holders_of_the_list_and_own_companions_hear_of_every_change() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_ada = ada.open(&stage).await;
    let mut at_bob = bob.open(&stage).await;
    devices(&mut at_ada, BOB_JID).await;
    let mut second = Companion::paired(&stage, BOB).await;
    for wire in [&mut at_ada, &mut at_bob] {
        let news = wire.expect(is_news("devices")).await;
        assert_eq!(news.get("from"), Some(BOB_JID));
        let added = news.find("add").unwrap();
        assert!(added.find("device").unwrap().is("jid", &second.jid.to_string()));
        assert!(added.find("key-index-list").unwrap().data().is_some());
    }
    let before = indexes(&devices(&mut at_ada, BOB_JID).await.unwrap());
    assert_eq!(
        (before.current_index, before.valid_indexes),
        (Some(2), vec![1, 2])
    );

    // The phone unlinks the second one.
    let mut at_second = second.open(&stage).await;
    let (status, _) = stage.delete(&format!("/accounts/{BOB}/devices/2")).await;
    assert_eq!(status, 204);
    let last = at_second.until_closed().await;
    let end = last.iter().find(|node| node.tag == "stream:error").unwrap();
    assert!(end.is("code", "401") && end.find("conflict").unwrap().is("type", "device_removed"));
    for wire in [&mut at_ada, &mut at_bob] {
        let news = wire
            .expect(|node| is_news("devices")(node) && node.find("remove").is_some())
            .await;
        let removed = news.find("remove").unwrap();
        assert!(removed.find("device").unwrap().is("jid", &second.jid.to_string()));
        assert!(removed.find("key-index-list").unwrap().get("ts").is_some());
    }
    let after = indexes(&devices(&mut at_ada, BOB_JID).await.unwrap());
    assert_eq!((after.current_index, after.valid_indexes), (Some(2), vec![1]));
    let mut wire = second.connect(&stage).await;
    assert!(wire.expect_tag("failure").await.is("reason", "401"));
    let (status, problem) = stage.delete(&format!("/accounts/{BOB}/devices/2")).await;
    assert_eq!((status, &problem["code"]), (404, &json!("device_not_found")));
}

#[tokio::test]
async fn what_waited_for_an_unlinked_companion_is_gone() {
    let stage = stage().await;
    let mut bob = Companion::paired(&stage, BOB).await;
    drop(bob.open(&stage).await);
    stage.phone_sends(ADA, BOB, "waits").await;
    eventually(|| async { (stage.stat("queued").await > 0).then_some(()) }).await;
    stage.delete(&format!("/accounts/{BOB}/devices/1")).await;
    assert_eq!(stage.stat("queued").await, 0);
    assert!(
        account(&stage, BOB).await["devices"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_companion_unlinks_itself_another_one_or_all_others() {
    let stage = stage().await;
    let mut companions = Vec::new();
    for _ in 0..4 {
        companions.push(Companion::paired(&stage, ADA).await);
    }
    let [first, second, third, _] = companions.as_mut_slice() else {
        unreachable!("four were linked")
    };
    let mut at_first = first.open(&stage).await;
    let mut at_second = second.open(&stage).await;
    let remove = |jid: String| Node::new("remove-companion-device").attr("jid", jid);
    let answer = at_first.query("set", "md", remove(second.jid.to_string())).await;
    assert!(answer.is("type", "result"));
    assert!(!at_second.until_closed().await.is_empty());
    for (jid, code) in [
        (second.jid.to_string(), "404"),
        (format!("{BOB}:1@s.whatsapp.net"), "400"),
        ("nonsense".to_owned(), "400"),
    ] {
        let answer = at_first.query("set", "md", remove(jid)).await;
        assert!(answer.find("error").unwrap().is("code", code));
    }
    let all = Node::new("remove-companion-device").attr("all", "true");
    assert!(at_first.query("set", "md", all).await.is("type", "result"));
    let left = account(&stage, ADA).await["devices"].clone();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["id"]), (1, &json!(1)));
    let mut wire = third.connect(&stage).await;
    assert!(wire.expect_tag("failure").await.is("reason", "401"));
    at_first.query("set", "md", remove(first.jid.to_string())).await;
    let last = at_first.until_closed().await;
    assert!(last.iter().any(|node| node.tag == "stream:error"));
}

#[tokio::test]
async fn a_phone_that_is_set_up_again_has_a_new_identity_and_no_companions() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_ada = ada.open(&stage).await;
    let mut at_bob = bob.open(&stage).await;
    let before = fetch(&mut at_ada, BOB_JID).await.unwrap();
    let raw_id = indexes(&devices(&mut at_ada, BOB_JID).await.unwrap()).raw_id;
    let message = ada
        .message(&mut at_ada, BOB_JID, &[BOB_JID, ADA_JID], "M1", "before")
        .await;
    at_ada.send(&message).await;
    stage.phone_has(BOB, 1).await;

    let (status, body) = stage
        .post(&format!("/accounts/{BOB}/register-again"), json!({}))
        .await;
    assert_eq!((status, &body["devices"]), (200, &json!([])));
    assert!(!at_bob.until_closed().await.is_empty());
    let news = at_ada.expect(is_news("encrypt")).await;
    assert_eq!(news.get("from"), Some(BOB_JID));
    assert!(news.find("identity").is_some());
    let after = fetch(&mut at_ada, BOB_JID).await.unwrap();
    assert_ne!(before.identity, after.identity);

    // A session of before is of no use any more: the phone asks for a resend with a new one.
    let message = ada
        .message(&mut at_ada, BOB_JID, &[BOB_JID, ADA_JID], "M2", "after")
        .await;
    at_ada.send(&message).await;
    let retry = at_ada
        .expect(|node| node.tag == "receipt" && node.is("type", "retry"))
        .await;
    assert!(retry.is("id", "M2"));
    // Phones with a session start a new one by themselves.
    stage.phone_sends(ADA, BOB, "from phone to phone").await;
    stage.phone_has(BOB, 2).await;
    let bob = Companion::paired(&stage, BOB).await;
    assert_eq!(bob.jid.device, 2, "numbers are not used again");
    assert_ne!(
        indexes(&devices(&mut at_ada, BOB_JID).await.unwrap()).raw_id,
        raw_id
    );
}

#[tokio::test]
async fn another_lid_replaces_the_old_one_everywhere() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_ada = ada.open(&stage).await;
    let mut at_bob = bob.open(&stage).await;
    devices(&mut at_ada, BOB_JID).await;
    let lid = |body: &Value| format!("{}@lid", body["lid"].as_str().unwrap());
    let old = lid(&account(&stage, BOB).await);
    assert!(fetch(&mut at_ada, &old).await.is_some());
    let (status, body) = stage
        .post(&format!("/accounts/{BOB}/change-lid"), json!({}))
        .await;
    let new = lid(&body);
    assert!(status == 200 && new != old);
    let news = at_ada.expect(is_news("devices")).await;
    assert_eq!(news.get("lid"), Some(new.as_str()));
    assert!(news.find("update").unwrap().get("hash").is_some());
    assert!(fetch(&mut at_ada, &old).await.is_none());
    assert!(fetch(&mut at_ada, &new).await.is_some());
    at_bob.until_closed().await;
    let mut at_bob = bob.connect(&stage).await;
    let success = at_bob.expect_tag("success").await;
    assert_eq!(success.get("lid"), Some(new.replace('@', ":1@").as_str()));
    stage.phone_sends(BOB, ADA, "hi").await;
    assert_eq!(at_ada.expect(is_text).await.get("sender_lid"), Some(new.as_str()));
}

#[tokio::test]
async fn another_number_is_told_to_those_who_hold_the_list() {
    const NEW: &str = "15550000003";
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_ada = ada.open(&stage).await;
    let mut at_bob = bob.open(&stage).await;
    devices(&mut at_ada, BOB_JID).await;
    let old = account(&stage, BOB).await;
    let path = format!("/accounts/{BOB}/change-number");
    let (status, problem) = stage.post(&path, json!({"phone_number": ADA})).await;
    assert_eq!((status, &problem["code"]), (409, &json!("account_exists")));
    let (status, new) = stage.post(&path, json!({"phone_number": NEW})).await;
    assert_eq!((status, &new["name"]), (201, &json!("Test")));
    let news = at_ada.expect(is_news("contacts")).await;
    let modify = news.find("modify").unwrap();
    for (key, value) in [
        ("old", BOB_JID.to_owned()),
        ("new", format!("{NEW}@s.whatsapp.net")),
        ("old_lid", format!("{}@lid", old["lid"].as_str().unwrap())),
        ("new_lid", format!("{}@lid", new["lid"].as_str().unwrap())),
    ] {
        assert_eq!(modify.get(key), Some(value.as_str()));
    }
    at_bob.until_closed().await;
    assert_eq!(stage.get(&format!("/accounts/{BOB}")).await.0, 404);
    assert!(
        devices(&mut at_ada, BOB_JID)
            .await
            .unwrap()
            .find("error")
            .is_some()
    );
    // The old number is free for somebody else.
    stage.account(BOB, false).await;
    assert!(fetch(&mut at_ada, BOB_JID).await.is_some());
}

#[tokio::test]
async fn new_keys_lids_and_numbers_survive_a_kill() {
    const NEW: &str = "15550000003";
    let mut stage = Stage::process();
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    devices(&mut wire, BOB_JID).await;
    stage
        .post(&format!("/accounts/{BOB}/register-again"), json!({}))
        .await;
    stage
        .post(&format!("/accounts/{BOB}/change-lid"), json!({}))
        .await;
    let bundle = fetch(&mut wire, BOB_JID).await.unwrap();
    let lid = account(&stage, BOB).await["lid"].clone();
    stage.account("15550000004", false).await;
    let path = "/accounts/15550000004/change-number";
    assert_eq!(stage.post(path, json!({"phone_number": NEW})).await.0, 201);
    stage.kill();
    stage.restart();
    assert_eq!(account(&stage, BOB).await["lid"], lid);
    assert_eq!(stage.get("/accounts/15550000004").await.0, 404);
    assert_eq!(stage.get(&format!("/accounts/{NEW}")).await.0, 200);
    stage.account("15550000004", false).await;
    let mut wire = ada.connect(&stage).await;
    assert_eq!(fetch(&mut wire, BOB_JID).await.unwrap().identity, bundle.identity);
    // What is encrypted to the key of before is read.
    let message = ada
        .message(&mut wire, BOB_JID, &[BOB_JID, ADA_JID], "M1", "hi")
        .await;
    wire.send(&message).await;
    assert_eq!(stage.phone_has(BOB, 1).await[0]["text"], "hi");
}
