//! What is not a message: presence, typing, who is on WhatsApp, and the state of chats.

use serde_json::{Value, json};

use crate::baileys::{Baileys, address};
use crate::ground::{CAROL, Ground};
use crate::world::{ALICE, BOB};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn presence_and_typing_are_seen() {
    let ground = Ground::start().await;
    let carol = ground.linked("carol", CAROL).await;
    let alice = ground.linked("alice", ALICE).await;
    alice.call("sendPresenceUpdate", json!(["unavailable"])).await;
    carol.call("presenceSubscribe", json!([address(ALICE)])).await;
    seen(&carol, ALICE, |presence| presence == "unavailable").await;
    for (sent, shown) in [
        ("available", "available"),
        ("composing", "composing"),
        ("recording", "recording"),
        ("unavailable", "unavailable"),
    ] {
        alice
            .call("sendPresenceUpdate", json!([sent, address(CAROL)]))
            .await;
        seen(&carol, ALICE, |presence| presence == shown).await;
    }
    carol.quit().await;
    alice.quit().await;
    ground.end().await;
}

/// Waits until a client knows a presence of somebody.
async fn seen(baileys: &Baileys, who: &str, test: impl Fn(&str) -> bool) {
    baileys
        .event("presence.update", |update| {
            let presence = &update["presences"][address(who)]["lastKnownPresence"];
            update["id"] == address(who) && presence.as_str().is_some_and(&test)
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn it_learns_who_is_on_whatsapp() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    let found = baileys
        .call("onWhatsApp", json!([BOB, format!("+{ALICE}"), "4915559999"]))
        .await;
    let found: Vec<&Value> = found
        .as_array()
        .unwrap()
        .iter()
        .filter(|user| user["exists"] == true)
        .map(|user| &user["jid"])
        .collect();
    assert_eq!(found, [&json!(address(BOB)), &json!(address(ALICE))]);
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn devices_of_one_account_share_the_state_of_chats() {
    let ground = Ground::start().await;
    let desk = ground.linked("desk", CAROL).await;
    let sofa = ground.linked("sofa", CAROL).await;
    ground.world.phone_sends(BOB, CAROL, "keep this").await;
    let message = desk.has("keep this").await;
    sofa.has("keep this").await;
    let last = json!([{"key": message["key"], "messageTimestamp": message["messageTimestamp"]}]);
    let bob = address(BOB);

    let archive = json!({"archive": true, "lastMessages": last});
    desk.call("chatModify", json!([archive, bob])).await;
    chat_has(&sofa, |chat| chat["archived"] == true).await;
    desk.call("chatModify", json!([{"pin": true}, bob])).await;
    chat_has(&sofa, |chat| chat["pinned"].is_number()).await;

    // And back again, each from what the other wrote last.
    let archive = json!({"archive": false, "lastMessages": last});
    sofa.call("chatModify", json!([archive, bob])).await;
    chat_has(&desk, |chat| chat["archived"] == false).await;
    sofa.call("chatModify", json!([{"mute": 4_102_444_800_000_u64}, bob]))
        .await;
    chat_has(&desk, |chat| {
        chat["muteEndTime"].to_string().contains("4102444800000")
    })
    .await;
    desk.call("star", json!([bob, [message["key"]], true])).await;
    has_starred(&sofa, &message).await;

    // A device that comes later is told too. (Of chats, Baileys tells only those in its history.)
    let late = ground.linked("late", CAROL).await;
    has_starred(&late, &message).await;
    for baileys in [desk, sofa, late] {
        baileys.quit().await;
    }
    ground.end().await;
}

/// Waits until a client was told something about the chat with Bob.
async fn chat_has(baileys: &Baileys, test: impl Fn(&Value) -> bool) {
    baileys
        .event("chats.update", |chats| {
            let mut chats = chats.as_array().unwrap().iter();
            chats.any(|chat| chat["id"] == address(BOB) && test(chat))
        })
        .await;
}

async fn has_starred(baileys: &Baileys, message: &Value) {
    let id = message["key"]["id"].as_str().unwrap();
    baileys.becomes(id, |message| message["starred"] == true).await;
}
