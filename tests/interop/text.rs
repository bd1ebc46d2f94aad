//! Texts and receipts, between Baileys and an instance of Roost, and between Baileys and phones.

use serde_json::json;

use crate::baileys::{DELIVERED, READ};
use crate::ground::{CAROL, Ground};
use crate::world::{ALICE, BOB};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn roost_and_baileys_write_to_each_other() {
    let ground = Ground::start().await;
    let api = ground.world.api();
    let baileys = ground.linked("carol", CAROL).await;
    let instance = ground.world.paired(ALICE).await;

    // From Roost.
    let sent = api.send_text(&instance, CAROL, "Hello Baileys").await;
    let heard = baileys.has("Hello Baileys").await;
    assert_eq!(heard["key"]["id"], sent["whatsapp_id"]);
    assert_eq!(heard["key"]["fromMe"], false);
    let message = sent["id"].as_str().unwrap();
    api.status_becomes(message, "delivered").await;
    baileys.call("readMessages", json!([[heard["key"]]])).await;
    api.status_becomes(message, "read").await;

    // From Baileys.
    let answer = baileys.send_text(ALICE, "Hello Roost").await;
    let event = api
        .event("message.received", |event| {
            event["data"]["message"]["whatsapp_id"] == answer
        })
        .await;
    let received = &event["data"]["message"];
    assert_eq!(received["text"]["body"], "Hello Roost");
    assert_eq!(received["sender"]["phone_number"], format!("+{CAROL}"));
    baileys.status_becomes(&answer, DELIVERED).await;
    api.post(
        &format!("/v1/messages/{}/read", received["id"].as_str().unwrap()),
        json!({}),
    )
    .await
    .expect(200);
    baileys.status_becomes(&answer, READ).await;

    // Both accounts' phones hold both messages.
    for phone in [ALICE, CAROL] {
        ground.world.phone_has(phone, "Hello Baileys").await;
        ground.world.phone_has(phone, "Hello Roost").await;
    }
    assert_eq!(ground.look("stats").await["retry_receipts"], 0);
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn a_long_conversation_keeps_its_order_and_loses_nothing() {
    let ground = Ground::start().await;
    let api = ground.world.api();
    let baileys = ground.linked("carol", CAROL).await;
    let instance = ground.world.paired(ALICE).await;
    let mut spoken = Vec::new();
    // In turns: Baileys loses its session when it sends and receives at the same time (see docs/sandbox.md).
    for turn in 0..20 {
        let text = format!("Roost says {turn}");
        api.send_text(&instance, CAROL, &text).await;
        baileys.has(&text).await;
        spoken.push(text);
        let text = format!("Baileys says {turn}");
        let id = baileys.send_text(ALICE, &text).await;
        api.event("message.received", |event| {
            event["data"]["message"]["whatsapp_id"] == id
        })
        .await;
    }
    assert_eq!(baileys.texts(), spoken);
    assert_eq!(ground.look("stats").await["retry_receipts"], 0);
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn phones_and_baileys_write_to_each_other_under_both_addressings() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    let bob = ground.look(&format!("accounts/{BOB}")).await;
    let bob_lid = format!("{}@lid", bob["lid"].as_str().unwrap());

    for (to, text) in [(BOB, "by number"), (bob_lid.as_str(), "by hidden number")] {
        let id = baileys.send_text(to, text).await;
        let heard = ground.world.phone_has(BOB, text).await;
        assert_eq!(heard["whatsapp_id"], id);
        assert_eq!(
            (&heard["from"], &heard["from_device"]),
            (&json!(CAROL), &json!(1))
        );
        baileys.status_becomes(&id, DELIVERED).await;
        ground
            .act(&format!("accounts/{BOB}/read"), json!({"whatsapp_id": id}))
            .await;
        baileys.status_becomes(&id, READ).await;
    }
    for (addressing, text) in [("pn", "to the number"), ("lid", "to the hidden number")] {
        let body = json!({"to": CAROL, "text": text, "addressing": addressing});
        let sent = ground.act(&format!("accounts/{BOB}/messages"), body).await;
        let heard = baileys.has(text).await;
        assert_eq!(heard["key"]["id"], sent["whatsapp_id"]);
        let (number, lid) = (json!(format!("{BOB}@s.whatsapp.net")), json!(bob_lid));
        let names = (&heard["key"]["remoteJid"], &heard["key"]["remoteJidAlt"]);
        let expected = if addressing == "pn" {
            (&number, &lid)
        } else {
            (&lid, &number)
        };
        assert_eq!(names, expected);
    }
    assert_eq!(ground.look("stats").await["retry_receipts"], 0);
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn a_message_to_nobody_is_refused_and_does_no_harm() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    let arguments = json!(["4915559999@s.whatsapp.net", {"text": "anyone?"}]);
    let error = baileys.try_call("sendMessage", arguments).await.unwrap_err();
    assert!(error.contains("item-not-found"), "{error}");
    baileys.send_text(BOB, "someone").await;
    ground.world.phone_has(BOB, "someone").await;
    baileys.quit().await;
    ground.end().await;
}
