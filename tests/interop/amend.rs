//! Replies, reactions, edits and revocations.

use serde_json::{Value, json};

use crate::baileys::{address, named};
use crate::ground::{CAROL, Ground};
use crate::world::{ALICE, BOB, Client};

async fn amendment(api: &Client, kind: &str, target: &str) -> Value {
    let event = api
        .event(kind, |event| event["data"]["whatsapp_id"] == target)
        .await;
    event["data"].clone()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn roost_understands_what_baileys_does_to_messages() {
    let ground = Ground::start().await;
    let api = ground.world.api();
    let baileys = ground.linked("carol", CAROL).await;
    let instance = ground.world.paired(ALICE).await;
    let question = api.send_text(&instance, CAROL, "What time is it?").await;
    let question_id = question["whatsapp_id"].as_str().unwrap();
    let heard = baileys.has("What time is it?").await;

    let options = json!({"quoted": named(question_id)});
    let content = json!({"text": "Nono"});
    let sent = baileys
        .call("sendMessage", json!([address(ALICE), content, options]))
        .await;
    let answer = sent["key"]["id"].as_str().unwrap();
    let event = api
        .event("message.received", |event| {
            event["data"]["message"]["whatsapp_id"] == answer
        })
        .await;
    let reply_to = &event["data"]["message"]["reply_to"];
    assert_eq!(reply_to["whatsapp_id"], question_id, "{event}");
    assert_eq!(reply_to["text"], "What time is it?");
    // It was the instance itself that wrote it.
    assert!(reply_to["sender"].is_null(), "{event}");

    baileys
        .send(ALICE, json!({"text": "Noon", "edit": sent["key"]}))
        .await;
    let edited = amendment(&api, "message.edited", answer).await;
    assert_eq!(edited["content"]["text"]["body"], "Noon", "{edited}");
    assert_eq!(edited["sender"]["phone_number"], format!("+{CAROL}"));

    baileys
        .send(ALICE, json!({"react": {"text": "👍", "key": heard["key"]}}))
        .await;
    let reaction = amendment(&api, "message.reaction", question_id).await;
    assert_eq!(reaction["emoji"], "👍", "{reaction}");
    assert_eq!(reaction["message_id"], question["id"]);
    baileys
        .send(ALICE, json!({"react": {"text": "", "key": heard["key"]}}))
        .await;
    api.event("message.reaction", |event| {
        event["data"]["whatsapp_id"] == question_id && event["data"]["emoji"].is_null()
    })
    .await;

    baileys.send(ALICE, json!({"delete": sent["key"]})).await;
    let revoked = amendment(&api, "message.revoked", answer).await;
    assert_eq!(revoked["from_me"], false, "{revoked}");
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn a_phone_understands_what_baileys_does_to_messages() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    let question = ground.world.phone_sends(BOB, CAROL, "What time is it?").await;
    let heard = baileys.has("What time is it?").await;
    let options = json!({"quoted": named(&question)});
    let sent = baileys
        .call("sendMessage", json!([address(BOB), {"text": "Nono"}, options]))
        .await;
    let answer = sent["key"]["id"].as_str().unwrap();
    let record = ground.world.phone_has(BOB, "Nono").await;
    assert_eq!(
        (&record["whatsapp_id"], &record["quoted_id"]),
        (&json!(answer), &json!(question))
    );
    for (content, kind, text, target) in [
        (
            json!({"text": "Noon", "edit": sent["key"]}),
            "edit",
            json!("Noon"),
            answer,
        ),
        (
            json!({"react": {"text": "👍", "key": heard["key"]}}),
            "reaction",
            json!("👍"),
            &question,
        ),
        (json!({"delete": sent["key"]}), "revoke", Value::Null, answer),
    ] {
        baileys.send(BOB, content).await;
        let record = ground
            .phone_record(BOB, kind, |record| record["kind"] == kind)
            .await;
        assert_eq!((&record["text"], &record["target_id"]), (&text, &json!(target)));
    }
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn baileys_understands_what_a_phone_does_to_messages() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    let question = baileys.send_text(BOB, "What time is it?").await;
    ground.world.phone_has(BOB, "What time is it?").await;
    let tell = async |body: Value| {
        let sent = ground.act(&format!("accounts/{BOB}/messages"), body).await;
        sent["whatsapp_id"].as_str().unwrap().to_owned()
    };

    let answer = tell(json!({"to": CAROL, "text": "Nono", "reply_to": question})).await;
    let heard = baileys.has("Nono").await;
    assert_eq!(heard["key"]["id"], answer);
    let context = &heard["message"]["extendedTextMessage"]["contextInfo"];
    assert_eq!(context["stanzaId"], question, "{heard}");

    tell(json!({"to": CAROL, "edit_of": answer, "text": "Noon"})).await;
    let update = baileys
        .becomes(&answer, |update| update["message"]["editedMessage"].is_object())
        .await;
    assert!(update.to_string().contains("Noon"), "{update}");

    tell(json!({"to": CAROL, "react_to": question, "emoji": "👍"})).await;
    let reactions = baileys
        .event("messages.reaction", |reactions| {
            reactions[0]["key"]["id"] == question
        })
        .await;
    assert_eq!(reactions[0]["reaction"]["text"], "👍", "{reactions}");

    tell(json!({"to": CAROL, "revoke_of": answer})).await;
    let update = baileys
        .becomes(&answer, |update| update["messageStubType"] == 1)
        .await;
    assert!(update["message"].is_null(), "{update}");
    baileys.quit().await;
    ground.end().await;
}
