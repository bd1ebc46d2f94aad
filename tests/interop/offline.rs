//! What is sent while Baileys is away.

use serde_json::json;

use crate::baileys::DELIVERED;
use crate::ground::{CAROL, Ground};
use crate::world::{ALICE, BOB};

const MESSAGES: usize = 25;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn what_waited_arrives_once_and_in_order() {
    let ground = Ground::start().await;
    let api = ground.world.api();
    let baileys = ground.linked("carol", CAROL).await;
    let instance = ground.world.paired(ALICE).await;
    // One message under way before, so that waiting messages use sessions of both ages.
    ground.world.phone_sends(BOB, CAROL, "see you").await;
    baileys.has("see you").await;
    ground.all_confirmed(CAROL).await;
    let place = baileys.quit().await;

    let (mut from_bob, mut from_alice) = (Vec::new(), Vec::new());
    for number in 0..MESSAGES {
        let text = format!("Bob {number}");
        ground.world.phone_sends(BOB, CAROL, &text).await;
        from_bob.push(text);
        let text = format!("Alice {number}");
        let sent = api.send_text(&instance, CAROL, &text).await;
        // By the account's phone.
        api.status_becomes(sent["id"].as_str().unwrap(), "delivered")
            .await;
        from_alice.push(text);
    }
    let waiting = ground.devices(CAROL).await[0]["queued"].as_u64().unwrap();
    assert!(waiting >= 2 * MESSAGES as u64, "{waiting} are waiting");

    let baileys = Ground::reopened(place).await;
    baileys.opened(1).await;
    baileys.has(from_bob.last().unwrap()).await;
    baileys.has(from_alice.last().unwrap()).await;
    ground.all_confirmed(CAROL).await;
    let texts = baileys.texts();
    let of = |author: &str| -> Vec<String> {
        let texts = texts.iter().filter(|text| text.starts_with(author));
        texts.cloned().collect()
    };
    assert_eq!(of("Bob "), from_bob);
    assert_eq!(of("Alice "), from_alice);
    assert_eq!(texts.len(), 2 * MESSAGES);

    // Nothing comes again at the next login.
    let baileys = Ground::reopened(baileys.quit().await).await;
    baileys.opened(1).await;
    ground.world.phone_sends(BOB, CAROL, "and now").await;
    baileys.has("and now").await;
    assert_eq!(baileys.texts(), ["and now"]);
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn receipts_wait_too() {
    let ground = Ground::start().await;
    let api = ground.world.api();
    let instance = ground.world.paired(ALICE).await;
    api.post(&format!("/v1/instances/{instance}/disconnect"), json!({}))
        .await
        .expect(200);
    api.state_becomes(&instance, "disconnected").await;
    let baileys = ground.linked("carol", CAROL).await;
    let id = baileys.send_text(ALICE, "for later").await;
    // The account's phone has it; its companion gets it when it comes back.
    baileys.status_becomes(&id, DELIVERED).await;
    api.post(&format!("/v1/instances/{instance}/connect"), json!({}))
        .await
        .expect(202);
    api.event("message.received", |event| {
        event["data"]["message"]["whatsapp_id"] == id
    })
    .await;
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn what_cannot_be_decrypted_is_asked_for_and_comes_again() {
    let ground = Ground::start().await;
    let api = ground.world.api();
    let baileys = ground.linked("carol", CAROL).await;
    let instance = ground.world.paired(ALICE).await;
    // Both sides have answered, so that no message carries what a session begins with.
    for (to, text) in [(BOB, "hello Bob"), (ALICE, "hello Alice")] {
        baileys.send_text(to, text).await;
        ground.world.phone_has(to, text).await;
    }
    ground.world.phone_sends(BOB, CAROL, "hello from Bob").await;
    baileys.has("hello from Bob").await;
    api.send_text(&instance, CAROL, "hello from Alice").await;
    baileys.has("hello from Alice").await;
    ground.all_confirmed(CAROL).await;

    let place = baileys.quit().await;
    place.forget("session");
    let baileys = Ground::reopened(place).await;
    baileys.opened(1).await;
    let from_bob = ground.world.phone_sends(BOB, CAROL, "Bob again").await;
    let heard = baileys.has("Bob again").await;
    assert_eq!(heard["key"]["id"], from_bob);
    let from_alice = api.send_text(&instance, CAROL, "Alice again").await;
    let heard = baileys.has("Alice again").await;
    assert_eq!(heard["key"]["id"], from_alice["whatsapp_id"]);
    assert_eq!(baileys.texts(), ["Bob again", "Alice again"]);
    let retries = ground.look("stats").await["retry_receipts"].as_u64().unwrap();
    assert!(retries >= 2, "{retries} retry receipts");
    // And the other way, with what Baileys had to build anew.
    baileys.send_text(ALICE, "all is well").await;
    ground.world.phone_has(ALICE, "all is well").await;
    api.event("message.received", |event| {
        event["data"]["message"]["text"]["body"] == "all is well"
    })
    .await;
    baileys.quit().await;
    ground.end().await;
}
