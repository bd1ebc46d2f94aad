//! Profiles, privacy, block lists, presence, typing and receipts.

use roost_sandbox::wire::node::Node;
use serde_json::json;

use crate::client::{Companion, Wire};
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

async fn lid(stage: &Stage, number: &str) -> String {
    let (_, account) = stage.get(&format!("/accounts/{number}")).await;
    format!("{}@lid", account["lid"].as_str().unwrap())
}

async fn ask(wire: &mut Wire, protocol: &'static str, jid: &str) -> Node {
    let user = Node::new("user").attr("jid", jid.to_owned());
    let query = Node::new("usync")
        .attr("sid", "s1")
        .child(
            Node::new("query")
                .child(Node::new("devices"))
                .child(Node::new(protocol)),
        )
        .child(Node::new("list").child(user));
    let answer = wire.query("get", "usync", query).await;
    let user = answer.find("usync").unwrap().find("list").unwrap().children()[0].clone();
    user.find(protocol).unwrap().clone()
}

fn category(name: &'static str, value: &'static str) -> Node {
    let category = Node::new("category").attr("name", name).attr("value", value);
    Node::new("privacy").child(category)
}

async fn change(stage: &Stage, number: &str, body: serde_json::Value) -> serde_json::Value {
    let (status, body) = stage.patch(&format!("/accounts/{number}/profile"), body).await;
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn privacy_settings_are_set_read_and_told_to_the_other_companions() {
    let stage = stage().await;
    let mut first = Companion::paired(&stage, ADA).await;
    let mut second = Companion::paired(&stage, ADA).await;
    let mut at_first = first.open(&stage).await;
    let mut at_second = second.open(&stage).await;
    let value_of = |answer: &Node, name: &str| {
        let privacy = answer.find("privacy").unwrap();
        let mut named = privacy.children().iter().filter(|node| node.is("name", name));
        named.next().unwrap().get("value").unwrap().to_owned()
    };
    let answer = at_first.query("get", "privacy", Node::new("privacy")).await;
    assert_eq!(value_of(&answer, "last"), "all");
    assert_eq!(value_of(&answer, "defense"), "off");
    let answer = at_first
        .query("set", "privacy", category("readreceipts", "none"))
        .await;
    assert_eq!(value_of(&answer, "readreceipts"), "none");
    let news = at_second.expect(|node| node.is("type", "account_sync")).await;
    assert_eq!(value_of(&news, "readreceipts"), "none");
    let answer = at_second.query("get", "privacy", Node::new("privacy")).await;
    assert_eq!(value_of(&answer, "readreceipts"), "none");
    for wrong in [
        category("readreceipts", "contacts"),
        category("shoe_size", "all"),
        Node::new("privacy"),
    ] {
        let answer = at_first.query("set", "privacy", wrong).await;
        assert!(answer.find("error").unwrap().is("code", "400"));
    }
    // Everyone but Bob.
    let user = Node::new("user")
        .attr("action", "add")
        .attr("jid", lid(&stage, BOB).await);
    let but_bob = Node::new("category")
        .attr("name", "status")
        .attr("value", "contact_blacklist")
        .child(user);
    let answer = at_first
        .query("set", "privacy", Node::new("privacy").child(but_bob))
        .await;
    assert!(
        answer.find("privacy").unwrap().children()[0]
            .get("dhash")
            .is_some()
    );
    let list = Node::new("list")
        .attr("name", "status")
        .attr("value", "contact_blacklist");
    let answer = at_first
        .query("get", "privacy", Node::new("privacy").child(list))
        .await;
    let list = answer.find("privacy").unwrap().find("list").unwrap();
    assert!(list.children()[0].is("jid", &lid(&stage, BOB).await));
}

#[tokio::test]
async fn an_about_text_reaches_those_who_may_see_it() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_ada = ada.open(&stage).await;
    let mut at_bob = bob.open(&stage).await;
    assert!(ask(&mut at_bob, "status", ADA_JID).await.data().is_none());
    let about = Node::new("status").bytes("busy");
    assert!(at_ada.query("set", "status", about).await.is("type", "result"));
    let news = at_bob
        .expect(|node| node.tag == "notification" && node.is("type", "status"))
        .await;
    assert_eq!(news.get("from"), Some(ADA_JID));
    assert_eq!(news.find("set").unwrap().data(), Some(&b"busy"[..]));
    assert_eq!(
        ask(&mut at_bob, "status", ADA_JID).await.data(),
        Some(&b"busy"[..])
    );

    at_ada
        .query("set", "privacy", category("status", "contacts"))
        .await;
    assert!(ask(&mut at_bob, "status", ADA_JID).await.is("code", "401"));
    let contact = json!({"action": "contact", "chat": BOB, "full_name": "Bob"});
    stage.post(&format!("/accounts/{ADA}/app-state"), contact).await;
    assert_eq!(
        ask(&mut at_bob, "status", ADA_JID).await.data(),
        Some(&b"busy"[..])
    );
    at_ada.query("set", "privacy", category("status", "none")).await;
    assert!(ask(&mut at_bob, "status", ADA_JID).await.is("code", "401"));
    let long = Node::new("status").bytes("x".repeat(2_000));
    let answer = at_ada.query("set", "status", long).await;
    assert!(answer.find("error").unwrap().is("code", "400"));
}

#[tokio::test]
async fn messages_of_a_blocked_account_are_taken_and_go_no_further() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut second = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_ada = ada.open(&stage).await;
    let mut at_second = second.open(&stage).await;
    let mut at_bob = bob.open(&stage).await;
    let bob_lid = lid(&stage, BOB).await;
    let block = Node::new("item")
        .attr("action", "block")
        .attr("jid", bob_lid.clone())
        .attr("pn_jid", BOB_JID);
    let answer = at_ada.query("set", "blocklist", block).await;
    let item = answer.find("list").unwrap().children()[0].clone();
    assert!(item.is("jid", &bob_lid) && item.is("pn_jid", BOB_JID));
    let news = at_second.expect(|node| node.is("type", "account_sync")).await;
    let item = news.find("blocklist").unwrap().children()[0].clone();
    assert!(item.is("action", "block") && item.is("jid", &bob_lid));

    let ada_jid = ada.jid.to_string();
    let message = bob
        .message(
            &mut at_bob,
            ADA_JID,
            &[ADA_JID, &ada_jid, BOB_JID],
            "M1",
            "hello?",
        )
        .await;
    at_bob.send(&message).await;
    assert_eq!(at_bob.expect_ack("M1").await.get("error"), None);
    // His own phone has its copy; hers and her companions have nothing.
    stage.phone_has(BOB, 1).await;
    assert_eq!(stage.stat("messages_swallowed").await, 1);
    at_bob
        .send(
            &Node::new("presence")
                .attr("type", "subscribe")
                .attr("to", ADA_JID),
        )
        .await;
    at_ada
        .send(&Node::new("presence").attr("type", "available").attr("name", "A"))
        .await;
    let hidden = at_bob.expect_tag("presence").await;
    assert!(hidden.is("type", "unavailable") && hidden.is("last", "deny"));

    let unblock = Node::new("item")
        .attr("action", "unblock")
        .attr("jid", bob_lid.clone());
    let answer = at_ada.query("set", "blocklist", unblock).await;
    assert!(answer.find("list").unwrap().children().is_empty());
    let message = bob
        .message(&mut at_bob, ADA_JID, &[ADA_JID, &ada_jid, BOB_JID], "M2", "again")
        .await;
    at_bob.send(&message).await;
    let received = at_ada.expect(is_text).await;
    assert_eq!(
        (received.get("id"), ada.read(&received).text()),
        (Some("M2"), Some("again"))
    );
    for (item, code) in [
        (
            Node::new("item").attr("action", "block").attr("jid", "1@lid"),
            "404",
        ),
        (
            Node::new("item").attr("action", "hug").attr("jid", bob_lid),
            "400",
        ),
        (
            Node::new("item").attr("action", "block").attr("jid", ADA_JID),
            "400",
        ),
    ] {
        let answer = at_ada.query("set", "blocklist", item).await;
        assert!(answer.find("error").unwrap().is("code", code));
    }
}

#[tokio::test]
async fn a_phone_blocks_and_changes_its_profile_too() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut at_ada = ada.open(&stage).await;
    let profile = change(
        &stage,
        ADA,
        json!({"about": "new", "privacy": {"last": "none"}, "block": [BOB]}),
    )
    .await;
    assert_eq!(
        (
            &profile["about"],
            &profile["privacy"]["last"],
            &profile["blocked"]
        ),
        (&json!("new"), &json!("none"), &json!([BOB]))
    );
    at_ada.expect(|node| node.find("blocklist").is_some()).await;
    at_ada.expect(|node| node.find("privacy").is_some()).await;
    stage.phone_sends(BOB, ADA, "unheard").await;
    assert_eq!(stage.stat("messages_swallowed").await, 1);
    let profile = change(&stage, ADA, json!({"unblock": [BOB]})).await;
    assert_eq!(profile["blocked"], json!([]));
    let path = format!("/accounts/{ADA}/profile");
    for (body, pointer) in [
        (json!({"privacy": {"last": "maybe"}}), "/privacy/last"),
        (json!({"about": "x".repeat(2_000)}), "/about"),
    ] {
        let (status, problem) = stage.patch(&path, body).await;
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(pointer)));
    }
    let (status, _) = stage.patch(&path, json!({"block": ["15559999999"]})).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn last_seen_and_online_are_shown_as_the_settings_say() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut at_ada = ada.open(&stage).await;
    let path = format!("/accounts/{BOB}/presence");
    let subscribe = Node::new("presence")
        .attr("type", "subscribe")
        .attr("to", BOB_JID);
    at_ada.send(&subscribe).await;
    assert!(
        at_ada.expect_tag("presence").await.is("last", "deny"),
        "never seen"
    );
    stage.post(&path, json!({"available": true})).await;
    assert_eq!(at_ada.expect_tag("presence").await.get("type"), None);
    stage.post(&path, json!({"available": false})).await;
    let gone = at_ada.expect_tag("presence").await;
    assert!(gone.get("last").unwrap().parse::<u64>().is_ok());

    // Who hides it from all sees it of nobody.
    change(&stage, ADA, json!({"privacy": {"last": "none"}})).await;
    at_ada.send(&subscribe).await;
    assert!(at_ada.expect_tag("presence").await.is("last", "deny"));
    change(&stage, ADA, json!({"privacy": {"last": "all"}})).await;
    change(
        &stage,
        BOB,
        json!({"privacy": {"last": "none", "online": "match_last_seen"}}),
    )
    .await;
    stage.post(&path, json!({"available": true})).await;
    at_ada.send(&subscribe).await;
    let hidden = at_ada.expect_tag("presence").await;
    assert!(hidden.is("type", "unavailable") && hidden.is("last", "deny"));
    change(&stage, BOB, json!({"privacy": {"online": "all"}})).await;
    at_ada.send(&subscribe).await;
    assert_eq!(at_ada.expect_tag("presence").await.get("type"), None);
}

#[tokio::test]
async fn typing_and_recording_go_both_ways() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut at_ada = ada.open(&stage).await;
    let path = format!("/accounts/{BOB}/typing");
    let (status, _) = stage.post(&path, json!({"to": ADA, "state": "recording"})).await;
    assert_eq!(status, 204);
    let heard = at_ada.expect_tag("chatstate").await;
    assert_eq!(heard.get("from"), Some(BOB_JID));
    assert!(heard.find("composing").unwrap().is("media", "audio"));
    stage.post(&path, json!({"to": ADA, "state": "paused"})).await;
    assert!(at_ada.expect_tag("chatstate").await.find("paused").is_some());
    for (state, name) in [
        (Node::new("composing"), "composing"),
        (Node::new("composing").attr("media", "audio"), "recording"),
        (Node::new("paused"), "paused"),
    ] {
        at_ada
            .send(&Node::new("chatstate").attr("to", BOB_JID).child(state))
            .await;
        eventually(|| async {
            let (_, heard) = stage.get(&format!("/accounts/{BOB}/chat-states")).await;
            (heard["data"][0]["from"] == ADA && heard["data"][0]["state"] == name).then_some(())
        })
        .await;
    }
    let (status, problem) = stage.post(&path, json!({"to": ADA, "state": "singing"})).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (422, &json!("/state"))
    );
}

#[tokio::test]
async fn phones_send_read_and_played_receipts_unless_they_are_off() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_ada = ada.open(&stage).await;
    let mut at_bob = bob.open(&stage).await;
    for id in ["M1", "M2", "M3"] {
        let message = ada
            .message(&mut at_ada, BOB_JID, &[BOB_JID, ADA_JID], id, "hi")
            .await;
        at_ada.send(&message).await;
    }
    stage.phone_has(BOB, 3).await;
    let path = format!("/accounts/{BOB}/read");
    let is_receipt = |id: &'static str, kind: &'static str| {
        move |node: &Node| node.tag == "receipt" && node.is("id", id) && node.is("type", kind)
    };
    stage.post(&path, json!({"whatsapp_id": "M1"})).await;
    at_ada.expect(is_receipt("M1", "read")).await;
    let mirrored = at_bob.expect(is_receipt("M1", "read")).await;
    assert_eq!(mirrored.get("recipient"), Some(ADA_JID));
    stage
        .post(&path, json!({"whatsapp_id": "M2", "played": true}))
        .await;
    at_ada.expect(is_receipt("M2", "played")).await;

    change(&stage, BOB, json!({"privacy": {"readreceipts": "none"}})).await;
    stage.post(&path, json!({"whatsapp_id": "M3"})).await;
    at_bob.expect(is_receipt("M3", "read-self")).await;
    // A later receipt shows that none came for the third message.
    stage
        .post(&path, json!({"whatsapp_id": "M3", "played": true}))
        .await;
    let next =
        at_ada.expect(|node| node.tag == "receipt" && node.is("id", "M3") && node.get("type").is_some());
    assert!(next.await.is("type", "played"));
}

#[tokio::test]
async fn the_default_timer_is_shown_to_all_and_told_to_the_other_companions() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut second = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_ada = ada.open(&stage).await;
    let mut at_second = second.open(&stage).await;
    let mut at_bob = bob.open(&stage).await;
    ask(&mut at_bob, "disappearing_mode", ADA_JID).await;
    let timer = Node::new("disappearing_mode").attr("duration", "604800");
    assert!(
        at_ada
            .query("set", "disappearing_mode", timer)
            .await
            .is("type", "result")
    );
    let news = at_second.expect(|node| node.is("type", "account_sync")).await;
    assert!(news.find("disappearing_mode").unwrap().is("duration", "604800"));
    let news = at_bob.expect(|node| node.is("type", "disappearing_mode")).await;
    assert!(news.find("disappearing_mode").unwrap().get("t").is_some());
    let shown = ask(&mut at_bob, "disappearing_mode", ADA_JID).await;
    assert!(shown.is("duration", "604800"));
    let wrong = Node::new("disappearing_mode").attr("duration", "soon");
    let answer = at_ada.query("set", "disappearing_mode", wrong).await;
    assert!(answer.find("error").unwrap().is("code", "400"));
}

#[tokio::test]
async fn profiles_survive_a_kill() {
    let mut stage = Stage::process();
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let body = json!({"about": "kept", "privacy": {"last": "none"}, "block": [BOB]});
    let before = change(&stage, ADA, body).await;
    stage.kill();
    stage.restart();
    let (_, after) = stage.get(&format!("/accounts/{ADA}/profile")).await;
    assert_eq!(before, after);
}

#[tokio::test]
async fn an_account_says_who_may_add_it_to_groups() {
    let stage = stage().await;
    change(&stage, BOB, json!({"privacy": {"groupadd": "none"}})).await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let (_, shown) = stage.get(&format!("/groups/{group}")).await;
    assert_eq!(shown["participants"].as_array().unwrap().len(), 1);
    let path = format!("/groups/{group}/participants");
    let add = json!({"action": "add", "participants": [BOB]});
    let (_, refused) = stage.post(&path, add.clone()).await;
    assert_eq!(refused["participants"][0]["error"], 403);
    change(&stage, BOB, json!({"privacy": {"groupadd": "all"}})).await;
    let (_, added) = stage.post(&path, add).await;
    assert!(added["participants"][0]["error"].is_null());
}
