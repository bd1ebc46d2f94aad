//! Phones that answer by rules, type and come online when they are told to.

use roost_sandbox::wire::node::Node;
use serde_json::{Value, json};

use crate::client::{Companion, Wire};
use crate::stage::Stage;

const ADA: &str = "15550000001";
const BOB: &str = "15550000002";
const ADA_JID: &str = "15550000001@s.whatsapp.net";
const BOB_JID: &str = "15550000002@s.whatsapp.net";

async fn rules(stage: &Stage, phone: &str, rules: Value) {
    let (status, body) = stage.put(&format!("/accounts/{phone}/rules"), rules).await;
    assert_eq!(status, 200, "{body}");
}

/// Ada, who has a companion, and Bob, whose phone has rules.
async fn stage(bobs: Value) -> (Stage, Companion, Wire) {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    rules(&stage, BOB, bobs).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let wire = ada.open(&stage).await;
    (stage, ada, wire)
}

async fn say(ada: &mut Companion, wire: &mut Wire, id: &str, text: &str) {
    let message = ada.message(wire, BOB_JID, &[BOB_JID, ADA_JID], id, text).await;
    wire.send(&message).await;
}

async fn hear(ada: &mut Companion, wire: &mut Wire) -> String {
    let message = wire
        .expect(|node| node.tag == "message" && !node.is("category", "peer"))
        .await;
    ada.read(&message).text().unwrap().to_owned()
}

#[tokio::test]
async fn the_first_rule_that_fits_is_followed() {
    let (_stage, mut ada, mut wire) = stage(json!([
        {"match": {"equals": "ping"}, "reply": {"text": "pong"}},
        {"match": {"contains": "price"}, "from": format!("+{ADA}"), "reply": {"text": "you asked: {text} ({from})"}},
        {"match": {"contains": "price"}, "reply": {"text": "never"}},
        {"match": {"regex": "^[0-9]+$"}, "reply": {"text": "a number", "reply_to": "{id}"}},
        {"match": {"equals": "quiet"}},
        {"match": "any", "from": BOB, "reply": {"text": "never"}},
        {"match": "any", "reply": {"text": "what?"}},
    ]))
    .await;
    for (id, text, answer) in [
        ("M1", " PING ", "pong"),
        ("M2", "The Price?", "you asked: The Price? (15550000001)"),
        ("M3", "4711", "a number"),
        ("M4", "hm", "what?"),
    ] {
        say(&mut ada, &mut wire, id, text).await;
        assert_eq!(hear(&mut ada, &mut wire).await, answer);
    }
    say(&mut ada, &mut wire, "M5", "quiet").await;
    say(&mut ada, &mut wire, "M6", "ping").await;
    assert_eq!(
        hear(&mut ada, &mut wire).await,
        "pong",
        "a rule without an answer answers nothing"
    );
}

#[tokio::test]
async fn a_rule_reads_types_reacts_and_replies_in_this_order() {
    let (_stage, mut ada, mut wire) = stage(json!([
        {"match": "any", "read": true, "delay_ms": 20, "typing_ms": 20, "react": "👍", "reply": {"text": "yes"}},
    ]))
    .await;
    say(&mut ada, &mut wire, "M1", "hello").await;
    let read = wire
        .expect(|node| node.tag == "receipt" && node.is("type", "read"))
        .await;
    assert_eq!(read.get("id"), Some("M1"));
    let mut seen = Vec::new();
    while seen.len() < 4 {
        let node = wire
            .expect(|node| node.tag == "chatstate" || node.tag == "message" && !node.is("category", "peer"))
            .await;
        seen.push(match &*node.tag {
            "chatstate" => node.children()[0].tag.to_string(),
            _ => {
                let content = ada.read(&node);
                let reaction = content.reaction_message.as_ref();
                reaction.map_or_else(
                    || content.text().unwrap().to_owned(),
                    |reaction| reaction.text.clone().unwrap(),
                )
            }
        });
    }
    assert_eq!(seen, ["composing", "paused", "👍", "yes"]);
}

#[tokio::test]
async fn two_phones_that_answer_by_themselves_do_not_answer_each_other() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    stage.account(BOB, true).await;
    let always = json!([{"match": "any", "reply": {"text": "{text}!"}}]);
    rules(&stage, ADA, always).await;
    stage.phone_sends(ADA, BOB, "one").await;
    stage.phone_sends(BOB, ADA, "two").await;
    assert_eq!(stage.phone_has(ADA, 1).await.len(), 1);
    assert_eq!(stage.phone_has(BOB, 1).await.len(), 1);
    // Without rules Ada's phone hears an echo: the silence before was for the rules.
    rules(&stage, ADA, json!([])).await;
    stage.phone_sends(ADA, BOB, "three").await;
    let texts: Vec<_> = stage
        .phone_has(ADA, 2)
        .await
        .iter()
        .map(|message| message["text"].clone())
        .collect();
    assert_eq!(texts, ["two", "three"]);
}

#[tokio::test]
async fn rules_and_answers_that_were_due_survive_a_kill() {
    let mut stage = Stage::process();
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let given =
        json!([{"match": {"contains": "hello"}, "delay_ms": 1_500, "reply": {"text": "I heard: {text}"}}]);
    rules(&stage, BOB, given).await;
    stage.phone_sends(ADA, BOB, "hello").await;
    stage.phone_has(BOB, 1).await;
    stage.kill();
    stage.restart();
    let (_, kept) = stage.get(&format!("/accounts/{BOB}/rules")).await;
    assert_eq!(kept["data"][0]["match"], json!({"contains": "hello"}));
    let answers = stage.phone_has(ADA, 1).await;
    assert_eq!(answers[0]["text"], "I heard: hello");
    rules(&stage, BOB, json!([])).await;
    stage.kill();
    stage.restart();
    assert_eq!(
        stage.get(&format!("/accounts/{BOB}/rules")).await.1,
        json!({"data": []})
    );
}

#[tokio::test]
async fn wrong_rules_are_refused_with_the_place() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let cases = [
        (json!({}), ""),
        (json!([{}]), "/0"),
        (json!([{"match": "some"}]), "/0/match"),
        (json!([{"match": {"regex": "("}}]), "/0/match/regex"),
        (json!([{"match": "any"}, {"match": "any", "x": 1}]), "/1/x"),
        (json!([{"match": "any", "reply": "hello"}]), "/0/reply"),
        (
            json!([{"match": "any", "reply": {"to": BOB, "text": "x"}}]),
            "/0/reply",
        ),
        (json!([{"match": "any", "reply": {"txt": "x"}}]), "/0/reply/txt"),
        (json!([{"match": "any", "delay_ms": 600_001}]), "/0/delay_ms"),
    ];
    for (body, pointer) in cases {
        let (status, problem) = stage.put(&format!("/accounts/{ADA}/rules"), body.clone()).await;
        let found = problem["errors"][0]["pointer"].as_str().unwrap_or_default();
        assert_eq!((status, found), (422, pointer), "{body}: {problem}");
    }
}

#[tokio::test]
async fn a_phone_types_records_and_pauses() {
    let (stage, _ada, mut wire) = stage(json!([])).await;
    for (state, tag, media) in [
        ("composing", "composing", None),
        ("recording", "composing", Some("audio")),
        ("paused", "paused", None),
    ] {
        let body = json!({"to": ADA, "state": state});
        assert_eq!(stage.post(&format!("/accounts/{BOB}/typing"), body).await.0, 204);
        let shown = wire.expect_tag("chatstate").await;
        assert_eq!(shown.get("from"), Some(BOB_JID));
        let shown = shown.find(tag).unwrap();
        assert_eq!(shown.get("media"), media);
    }
    let body = json!({"to": "15559999999", "state": "paused"});
    assert_eq!(stage.post(&format!("/accounts/{BOB}/typing"), body).await.0, 404);
}

#[tokio::test]
async fn a_phone_comes_online_for_those_who_asked() {
    let (stage, _ada, mut wire) = stage(json!([])).await;
    let subscribe = Node::new("presence")
        .attr("type", "subscribe")
        .attr("to", BOB_JID);
    wire.send(&subscribe).await;
    assert!(wire.expect_tag("presence").await.is("type", "unavailable"));
    for (available, kind) in [(true, None), (false, Some("unavailable"))] {
        let body = json!({ "available": available });
        assert_eq!(
            stage.post(&format!("/accounts/{BOB}/presence"), body).await.0,
            204
        );
        assert_eq!(wire.expect_tag("presence").await.get("type"), kind);
    }
}
