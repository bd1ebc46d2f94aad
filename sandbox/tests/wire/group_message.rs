//! Messages in groups: sender keys, fan-out, receipts, resends, the offline queue.

use roost_sandbox::wire::node::Node;
use serde_json::json;

use crate::member::Member;
use crate::stage::{Stage, eventually};

const ADA: &str = "15550000001";
const BOB: &str = "15550000002";
const EVE: &str = "15550000003";
const ADA_JID: &str = "15550000001@s.whatsapp.net";
const BOB_JID: &str = "15550000002@s.whatsapp.net";
const EVE_JID: &str = "15550000003@s.whatsapp.net";

async fn stage() -> Stage {
    let stage = Stage::new().await;
    for number in [ADA, BOB, EVE] {
        stage.account(number, false).await;
    }
    stage
}

#[tokio::test]
async fn a_message_reaches_every_device_of_every_member_but_the_sending_one() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB, EVE], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let mut ada_too = Member::new(&stage, ADA).await;
    let mut bob = Member::new(&stage, BOB).await;
    let devices = [ADA_JID, &ada_too.jid(), BOB_JID, &bob.jid(), EVE_JID];
    let ack = ada.sends(&group, &devices, "M1", "hello all").await;
    assert_eq!((ack.get("error"), ack.get("from")), (None, Some(group.as_str())));

    let delivered = bob.delivered().await;
    assert_eq!(delivered.get("participant"), Some(ada.jid().as_str()));
    assert_eq!(delivered.get("addressing_mode"), Some("pn"));
    assert!(delivered.get("participant_lid").unwrap().ends_with("@lid"));
    assert!(delivered.find("device-identity").is_some());
    let kinds: Vec<_> = delivered
        .find_all("enc")
        .map(|enc| enc.get("type").unwrap())
        .collect();
    assert_eq!(kinds, ["pkmsg", "skmsg"], "the key comes first");
    assert_eq!(bob.read(&delivered).unwrap().text(), Some("hello all"));
    bob.receipt(&delivered, None).await;
    assert_eq!(ada_too.reads().await, "hello all");
    for number in [BOB, EVE, ADA] {
        let note = &stage.phone_has(number, 1).await[0];
        assert_eq!((&note["chat"], &note["from"]), (&json!(group), &json!(ADA)));
        assert_eq!(
            (&note["text"], &note["whatsapp_id"]),
            (&json!("hello all"), &json!("M1"))
        );
        let direction = if number == ADA { "sent" } else { "received" };
        assert_eq!(note["direction"], direction);
    }
    // The key is known now: nobody is told again.
    ada.sends(&group, &[], "M2", "again").await;
    assert_eq!(bob.reads().await, "again");
    assert_eq!(ada_too.reads().await, "again");
    assert_eq!(stage.phone_has(EVE, 2).await[1]["text"], "again");
    assert_eq!(stage.stat("phone_decrypt_failures").await, 0);
}

#[tokio::test]
async fn receipts_name_the_reader_and_reach_only_the_author() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB, EVE], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let mut bob = Member::new(&stage, BOB).await;
    let mut bob_too = Member::new(&stage, BOB).await;
    let devices = [ADA_JID, BOB_JID, &bob.jid(), &bob_too.jid(), EVE_JID];
    ada.sends(&group, &devices, "M1", "read me").await;
    // Both phones confirm by themselves.
    for reader in [BOB_JID, EVE_JID] {
        let is_from = |node: &Node| node.tag == "receipt" && node.is("participant", reader);
        let receipt = ada.wire.expect(is_from).await;
        assert_eq!(
            (receipt.get("from"), receipt.get("id"), receipt.get("type")),
            (Some(group.as_str()), Some("M1"), None)
        );
    }
    let message = bob.delivered().await;
    bob.receipt(&message, Some("read")).await;
    let is_read = |node: &Node| node.tag == "receipt" && node.is("type", "read");
    let read = ada.wire.expect(is_read).await;
    assert_eq!(read.get("participant"), Some(BOB_JID));
    let mirrored = bob_too.wire.expect(is_read).await;
    assert_eq!(mirrored.get("participant"), Some(BOB_JID));
    let path = format!("/accounts/{EVE}/read");
    assert_eq!(stage.post(&path, json!({"whatsapp_id": "M1"})).await.0, 204);
    let read = ada.wire.expect(is_read).await;
    assert_eq!(
        (read.get("from"), read.get("participant")),
        (Some(group.as_str()), Some(EVE_JID))
    );
    // A confirmed message does not come again.
    let mut again = bob.companion.connect(&stage).await;
    let offline = again.expect(|node| node.find("offline").is_some()).await;
    assert!(offline.find("offline").unwrap().get("count").is_some());
    assert_eq!(
        stage.get(&format!("/accounts/{BOB}")).await.1["devices"][1]["queued"],
        2,
        "what the other companion has not confirmed: the message and what was read"
    );
}

#[tokio::test]
async fn what_a_phone_writes_is_read_with_its_key_which_is_told_once() {
    for addressing in ["pn", "lid"] {
        let stage = stage().await;
        let group = stage.group(&[ADA, BOB, EVE], addressing).await;
        let mut ada = Member::new(&stage, ADA).await;
        let mut bob = Member::new(&stage, BOB).await;
        let first = stage.phone_sends(BOB, &group, "one").await;
        let message = ada.delivered().await;
        assert_eq!(message.get("id"), Some(first.as_str()));
        assert_eq!(message.get("addressing_mode"), Some(addressing));
        let (participant, other) = (
            message.get("participant").unwrap(),
            ["participant_lid", "participant_pn"],
        );
        assert_eq!(participant.ends_with("@lid"), addressing == "lid");
        assert!(message.get(other[usize::from(addressing == "lid")]).is_some());
        assert_eq!(ada.read(&message).unwrap().text(), Some("one"));
        ada.receipt(&message, None).await;
        assert_eq!(bob.reads().await, "one", "the own companion has it too");
        stage.phone_sends(BOB, &group, "two").await;
        let message = ada.delivered().await;
        assert_eq!(message.find_all("enc").count(), 1);
        assert_eq!(ada.read(&message).unwrap().text(), Some("two"));
        let notes = stage.phone_has(EVE, 2).await;
        assert_eq!(
            [&notes[0]["text"], &notes[1]["text"]],
            [&json!("one"), &json!("two")]
        );
        assert_eq!(notes[1]["chat"], group);
    }
}

#[tokio::test]
async fn a_phone_takes_a_new_key_when_a_member_leaves_and_tells_it_who_comes() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB, EVE], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let mut eve = Member::new(&stage, EVE).await;
    stage.phone_sends(BOB, &group, "before").await;
    assert_eq!(
        (ada.reads().await, eve.reads().await),
        ("before".into(), "before".into())
    );
    let path = format!("/groups/{group}/leave");
    assert_eq!(stage.post(&path, json!({"phone": EVE})).await.0, 204);
    stage.phone_sends(BOB, &group, "without Eve").await;
    let message = ada.delivered().await;
    assert_eq!(
        message.find_all("enc").count(),
        2,
        "there is a new key to be told"
    );
    assert_eq!(ada.read(&message).unwrap().text(), Some("without Eve"));
    ada.receipt(&message, None).await;
    let path = format!("/groups/{group}/participants");
    stage
        .post(&path, json!({"action": "add", "participants": [EVE]}))
        .await;
    stage.phone_sends(BOB, &group, "with Eve").await;
    assert_eq!(eve.reads().await, "with Eve");
    assert_eq!(ada.reads().await, "with Eve");
    let notes = stage.phone_has(EVE, 2).await;
    assert_eq!(
        [&notes[0]["text"], &notes[1]["text"]],
        [&json!("before"), &json!("with Eve")]
    );
}

#[tokio::test]
async fn a_companion_that_was_unlinked_does_not_read_on() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let mut ada_too = Member::new(&stage, ADA).await;
    stage.phone_sends(BOB, &group, "before").await;
    assert_eq!(ada.reads().await, "before");
    let remove = Node::new("remove-companion-device").attr("jid", ada_too.jid());
    ada_too.wire.query("set", "md", remove).await;
    stage.phone_sends(BOB, &group, "after").await;
    let message = ada.delivered().await;
    assert_eq!(
        message.find_all("enc").count(),
        2,
        "there is a new key to be told"
    );
    assert_eq!(ada.read(&message).unwrap().text(), Some("after"));
}

#[tokio::test]
async fn a_phone_follows_its_rules_in_a_group() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let rules = json!([{"match": {"contains": "price"}, "read": true, "reply": {"text": "You: {text}", "reply_to": "{id}"}}]);
    assert_eq!(stage.put(&format!("/accounts/{BOB}/rules"), rules).await.0, 200);
    ada.sends(&group, &[ADA_JID, BOB_JID], "M1", "the price?").await;
    let answer = ada.delivered().await;
    let read = ada.read(&answer).unwrap();
    assert_eq!(read.text(), Some("You: the price?"));
    let context = read.extended_text_message.unwrap().context_info.unwrap();
    assert_eq!(context.participant, Some(ADA_JID.to_owned()));
    let is_read = |node: &Node| node.tag == "receipt" && node.is("type", "read");
    assert_eq!(ada.wire.expect(is_read).await.get("participant"), Some(BOB_JID));
}

#[tokio::test]
async fn a_phone_asks_for_what_it_has_no_key_for_and_reads_what_is_resent() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    ada.sends(&group, &[ADA_JID], "M1", "who reads this?").await;
    let is_retry = |node: &Node| node.tag == "receipt" && node.is("type", "retry");
    let request = ada.wire.expect(is_retry).await;
    assert_eq!(
        (request.get("from"), request.get("participant"), request.get("id")),
        (Some(group.as_str()), Some(BOB_JID), Some("M1"))
    );
    assert!(request.find("keys").is_some());
    // As one library does it: the message alone, for one device.
    let text = roost_sandbox::signal::proto::Message::of_text("who reads this?");
    let enc = ada.companion.seal(&mut ada.wire, BOB_JID, &text).await;
    let resend = Node::new("message")
        .attr("to", group.clone())
        .attr("participant", BOB_JID)
        .attr("id", "M1")
        .attr("type", "text")
        .child(enc)
        .child(Node::new("device-identity").bytes(ada.companion.proof.clone()));
    ada.wire.send(&resend).await;
    assert_eq!(stage.phone_has(BOB, 1).await[0]["text"], "who reads this?");
    // As another one does it: everything again, for all.
    ada.sends(&group, &[], "M2", "and this?").await;
    ada.wire.expect(is_retry).await;
    ada.sends(&group, &[BOB_JID, ADA_JID], "M2", "and this?").await;
    assert_eq!(stage.phone_has(BOB, 2).await[1]["text"], "and this?");
    assert_eq!(stage.phone_has(ADA, 2).await.len(), 2, "who had it has it once");
}

#[tokio::test]
async fn a_phone_resends_to_a_companion_that_could_not_read() {
    let stage = stage().await;
    for addressing in ["pn", "lid"] {
        let group = stage.group(&[ADA, BOB], addressing).await;
        let mut ada = Member::new(&stage, ADA).await;
        let mut bob = Member::new(&stage, BOB).await;
        let id = stage.phone_sends(BOB, &group, "again?").await;
        for member in [&mut ada, &mut bob] {
            let message = member.delivered().await;
            member.asks_again(&message).await;
            let resent = member.delivered().await;
            assert_eq!(
                (resent.get("id"), resent.find_all("enc").count()),
                (Some(id.as_str()), 1)
            );
            let read = member.read(&resent).unwrap();
            assert_eq!(read.innermost().text(), Some("again?"));
        }
        // The key came with it: the next message is readable.
        stage.phone_sends(BOB, &group, "next").await;
        assert_eq!(ada.reads().await, "next");
    }
}

#[tokio::test]
async fn an_offline_member_gets_messages_and_notices_in_order() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let path = format!("/accounts/{ADA}/disconnect-devices");
    stage.post(&path, json!({})).await;
    ada.wire.until_closed().await;
    stage.phone_sends(BOB, &group, "first").await;
    stage
        .patch(
            &format!("/groups/{group}"),
            json!({"subject": "Choir", "by": BOB}),
        )
        .await;
    stage.phone_sends(BOB, &group, "second").await;
    ada.wire = ada.companion.connect(&stage).await;
    let mut seen = Vec::new();
    loop {
        let node = ada.wire.next().await.unwrap();
        match node.tag.as_ref() {
            "message" => seen.push(ada.read(&node).unwrap().text().unwrap().to_owned()),
            "notification" => seen.push(node.children()[0].tag.to_string()),
            "ib" if node.find("offline").is_some() => break,
            _ => {}
        }
    }
    assert_eq!(seen, ["first", "subject", "second"]);
}

#[tokio::test]
async fn a_wrong_participant_hash_is_answered_with_the_right_one() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let message = ada.message(&group, &[ADA_JID, BOB_JID], "M1", "hash").await;
    ada.wire.send(&message.attr("phash", "2:wrong")).await;
    let right = ada.wire.expect_ack("M1").await.get("phash").unwrap().to_owned();
    let message = ada.message(&group, &[], "M2", "hash").await;
    ada.wire.send(&message.attr("phash", right)).await;
    assert_eq!(ada.wire.expect_ack("M2").await.get("phash"), None);
}

#[tokio::test]
async fn echoing_phones_answer_in_groups_but_not_each_other() {
    let stage = stage().await;
    for number in [BOB, EVE] {
        let path = format!("/accounts/{number}/echo");
        stage.post(&path, json!({"enabled": true})).await;
    }
    let group = stage.group(&[ADA, BOB, EVE], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    ada.sends(&group, &[ADA_JID, BOB_JID, EVE_JID], "M1", "echo")
        .await;
    for _ in 0..2 {
        assert_eq!(ada.reads().await, "echo");
    }
    // Each phone has seen the other's echo before it answers a later message.
    stage.phone_sends(ADA, &group, "more").await;
    let texts = async {
        let mut texts = Vec::new();
        for _ in 0..3 {
            texts.push(ada.reads().await);
        }
        texts
    };
    assert_eq!(texts.await, ["more"; 3]);
    for number in [BOB, EVE] {
        // Two from Ada, two echoes of the other.
        assert_eq!(stage.phone_has(number, 4).await.len(), 4);
    }
    assert_eq!(stage.phone_has(ADA, 5).await.len(), 5);
}

#[tokio::test]
async fn typing_in_a_group_names_who_types() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let mut bob = Member::new(&stage, BOB).await;
    let typing = Node::new("chatstate")
        .attr("to", group.clone())
        .child(Node::new("composing"));
    bob.wire.send(&typing).await;
    let seen = ada.wire.expect_tag("chatstate").await;
    assert_eq!(
        (seen.get("from"), seen.get("participant")),
        (Some(group.as_str()), Some(BOB_JID))
    );
}

#[tokio::test]
async fn messages_without_right_or_sense_are_refused_by_their_ack() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let news = stage.group(&[BOB, ADA], "pn").await;
    stage
        .patch(&format!("/groups/{news}"), json!({"announcement": true}))
        .await;
    let mut ada = Member::new(&stage, ADA).await;
    let mut eve = Member::new(&stage, EVE).await;
    assert_eq!(eve.sends(&group, &[], "M1", "hi").await.get("error"), Some("403"));
    assert_eq!(
        eve.sends("1203639@g.us", &[], "M2", "hi").await.get("error"),
        Some("404")
    );
    assert_eq!(ada.sends(&news, &[], "M3", "hi").await.get("error"), Some("403"));
    let empty = Node::new("message")
        .attr("to", group.clone())
        .attr("id", "M4")
        .attr("type", "text");
    ada.wire.send(&empty).await;
    assert_eq!(ada.wire.expect_ack("M4").await.get("error"), Some("400"));
    for (participant, error) in [
        ("nobody", "400"),
        ("15559@s.whatsapp.net", "404"),
        (EVE_JID, "403"),
        (BOB_JID, "400"),
    ] {
        let resend = empty.clone().attr("participant", participant);
        ada.wire.send(&resend).await;
        assert_eq!(
            ada.wire.expect_ack("M4").await.get("error"),
            Some(error),
            "{participant}"
        );
    }
    // A key for somebody outside goes nowhere.
    ada.sends(&group, &[BOB_JID, EVE_JID], "M5", "not for Eve").await;
    stage.phone_has(BOB, 1).await;
    let (status, body) = stage
        .post(
            &format!("/accounts/{EVE}/messages"),
            json!({"to": group, "text": "hi"}),
        )
        .await;
    assert_eq!((status, body["code"].as_str()), (403, Some("group_forbidden")));
    assert_eq!(
        stage.get(&format!("/accounts/{EVE}/messages")).await.1["data"],
        json!([])
    );
}

#[tokio::test]
async fn reactions_edits_and_quotes_name_the_author_in_the_group() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    ada.sends(&group, &[ADA_JID, BOB_JID], "M1", "hello").await;
    stage.phone_has(BOB, 1).await;
    let path = format!("/accounts/{BOB}/messages");
    let mut read = async |body: serde_json::Value| {
        assert_eq!(stage.post(&path, body).await.0, 201);
        let message = ada.delivered().await;
        let read = ada.read(&message).unwrap();
        ada.receipt(&message, None).await;
        read
    };
    let reaction = read(json!({"to": group, "react_to": "M1", "emoji": "+"})).await;
    let key = reaction.reaction_message.unwrap().key.unwrap();
    assert_eq!(key.remote_jid.as_deref(), Some(group.as_str()));
    assert_eq!(key.participant.as_deref(), Some(ADA_JID));
    let answer = read(json!({"to": group, "text": "hi", "reply_to": "M1"})).await;
    let context = answer.extended_text_message.unwrap().context_info.unwrap();
    assert_eq!(context.participant.as_deref(), Some(ADA_JID));
    eventually(|| async { (stage.phone_has(BOB, 1).await.len() == 1).then_some(()) }).await;
}
