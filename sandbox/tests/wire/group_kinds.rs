//! Every kind of message in a group, under both addressings.

use serde_json::{Value, json};

use crate::member::Member;
use crate::stage::{Stage, eventually};

const ADA: &str = "15550000001";
const BOB: &str = "15550000002";
const EVE: &str = "15550000003";

async fn stage() -> Stage {
    let stage = Stage::new().await;
    for number in [ADA, BOB, EVE] {
        stage.account(number, false).await;
    }
    stage
}

async fn sends(stage: &Stage, from: &str, group: &str, mut body: Value) -> String {
    body["to"] = json!(group);
    let (status, answer) = stage.post(&format!("/accounts/{from}/messages"), body).await;
    assert_eq!(status, 201, "{answer}");
    answer["whatsapp_id"].as_str().unwrap().to_owned()
}

async fn noted(stage: &Stage, number: &str, id: &str) -> Value {
    eventually(|| async {
        let messages = stage.phone_has(number, 1).await;
        messages.into_iter().find(|message| message["whatsapp_id"] == id)
    })
    .await
}

#[tokio::test]
async fn every_kind_a_phone_sends_is_noted_by_the_phones_of_a_group() {
    let stage = stage().await;
    for addressing in ["pn", "lid"] {
        let group = stage.group(&[ADA, BOB, EVE], addressing).await;
        let from_ada = sends(&stage, ADA, &group, json!({"text": "first"})).await;
        noted(&stage, BOB, &from_ada).await;
        let from_bob = sends(&stage, BOB, &group, json!({"text": "second"})).await;
        let bodies = [
            (
                "text",
                json!({"text": "hello", "mentions": [EVE], "forward_score": 2}),
            ),
            ("text", json!({"text": "indeed", "reply_to": from_ada})),
            ("edit", json!({"edit_of": from_bob, "text": "2nd"})),
            ("reaction", json!({"react_to": from_ada, "emoji": "👍"})),
            ("revoke", json!({"revoke_of": from_bob})),
            (
                "media",
                json!({"media": {"kind": "image", "size": 1_000, "caption": "look"}, "view_once": true}),
            ),
            ("media", json!({"media": {"kind": "sticker", "size": 100}})),
            (
                "contacts",
                json!({"content": {"type": "contacts",
                "contacts": [{"name": "Zoe", "phone_number": "15550000009"}]}}),
            ),
            (
                "location",
                json!({"content": {"type": "location", "latitude": 52.5, "longitude": 13.25}}),
            ),
            (
                "event",
                json!({"content": {"type": "event", "name": "Party", "start_s": 1_900_000_000}}),
            ),
            ("pin", json!({"content": {"type": "pin", "target_id": from_ada}})),
            (
                "comment",
                json!({"content": {"type": "comment", "target_id": from_ada, "text": "so true"}}),
            ),
        ];
        for (kind, body) in bodies {
            let id = sends(&stage, BOB, &group, body).await;
            for number in [ADA, EVE] {
                let noted = noted(&stage, number, &id).await;
                assert_eq!(
                    (&noted["kind"], &noted["chat"]),
                    (&json!(kind), &json!(group)),
                    "{noted}"
                );
                assert_eq!(noted["from"], BOB);
                if kind == "media" {
                    let path = format!("/accounts/{number}/messages/{id}/media");
                    assert_eq!(stage.get_bytes(&path).await.0, 200);
                }
            }
        }
    }
}

#[tokio::test]
async fn votes_in_a_group_are_counted_by_every_phone() {
    let stage = stage().await;
    for addressing in ["pn", "lid"] {
        let group = stage.group(&[ADA, BOB, EVE], addressing).await;
        let poll = json!({"content": {"type": "poll", "name": "Lunch?", "options": ["soup", "rice"]}});
        let poll_id = sends(&stage, BOB, &group, poll).await;
        for (number, choice) in [(ADA, "soup"), (EVE, "rice"), (BOB, "rice")] {
            if number != BOB {
                noted(&stage, number, &poll_id).await;
            }
            let vote = json!({"content": {"type": "vote", "poll_id": poll_id, "options": [choice]}});
            sends(&stage, number, &group, vote).await;
        }
        for number in [ADA, BOB, EVE] {
            let votes = eventually(|| async {
                let (_, polls) = stage.get(&format!("/accounts/{number}/polls")).await;
                let polls = polls["data"].as_array().unwrap().clone();
                let poll = polls
                    .into_iter()
                    .find(|poll| poll["whatsapp_id"] == poll_id.as_str())?;
                assert_eq!((&poll["chat"], &poll["from"]), (&json!(group), &json!(BOB)));
                let voters = |at: usize| poll["options"][at]["voters"].clone();
                (voters(0) == json!([ADA]) && voters(1) == json!([BOB, EVE])).then_some(())
            });
            votes.await;
        }
    }
}

#[tokio::test]
async fn the_stanza_of_a_group_message_tells_its_kind() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let shared = |message: &roost_sandbox::wire::node::Node, key: &str| {
        let mut encs = message.find_all("enc");
        let shared = encs.find(|enc| enc.is("type", "skmsg")).unwrap();
        shared.get(key).map(str::to_owned)
    };
    let poll = json!({"content": {"type": "poll", "name": "Lunch?", "options": ["soup", "rice"]}});
    let poll_id = sends(&stage, BOB, &group, poll).await;
    let message = ada.delivered().await;
    assert_eq!(message.get("type"), Some("poll"));
    assert!(message.find("meta").unwrap().is("polltype", "creation"));
    let vote = json!({"content": {"type": "vote", "poll_id": poll_id, "options": ["soup"]}});
    sends(&stage, BOB, &group, vote).await;
    let message = ada.delivered().await;
    assert_eq!(message.get("type"), Some("poll"));
    assert!(message.find("meta").unwrap().is("polltype", "vote"));
    assert_eq!(shared(&message, "decrypt-fail").as_deref(), Some("hide"));
    sends(
        &stage,
        BOB,
        &group,
        json!({"media": {"kind": "voice", "size": 100}}),
    )
    .await;
    let message = ada.delivered().await;
    assert_eq!(message.get("type"), Some("media"));
    assert_eq!(shared(&message, "mediatype").as_deref(), Some("ptt"));
}

#[tokio::test]
async fn a_rule_answers_a_group_with_any_kind() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "lid").await;
    let rules = json!([
        {"match": {"equals": "menu"}, "read": true, "typing_ms": 1, "react": "👍",
            "reply": {"media": {"kind": "document", "size": 50, "file_name": "menu.pdf"}}},
        {"match": {"equals": "lunch"}, "reply": {"content": {"type": "poll", "name": "{text}?", "options": ["a", "b"]}}},
    ]);
    assert_eq!(stage.put(&format!("/accounts/{BOB}/rules"), rules).await.0, 200);
    for (text, kind) in [("menu", "media"), ("lunch", "poll")] {
        sends(&stage, ADA, &group, json!({"text": text})).await;
        let answer = eventually(|| async {
            let messages = stage.phone_has(ADA, 1).await;
            messages.into_iter().find(|message| message["kind"] == kind)
        })
        .await;
        assert_eq!((&answer["chat"], &answer["from"]), (&json!(group), &json!(BOB)));
    }
}

#[tokio::test]
async fn a_phone_that_was_set_up_again_reads_and_writes_in_its_groups() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB, EVE], "pn").await;
    for from in [ADA, BOB] {
        let id = sends(&stage, from, &group, json!({"text": "before"})).await;
        noted(&stage, EVE, &id).await;
    }
    let (status, body) = stage
        .post(&format!("/accounts/{BOB}/register-again"), json!({}))
        .await;
    assert!(status < 300, "{body}");
    for from in [ADA, BOB] {
        let id = sends(&stage, from, &group, json!({"text": "after"})).await;
        for number in [ADA, BOB, EVE].into_iter().filter(|number| *number != from) {
            assert_eq!(noted(&stage, number, &id).await["text"], "after");
        }
    }
    assert_eq!(stage.stat("phone_decrypt_failures").await, 0);
}
