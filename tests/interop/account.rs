//! What belongs to an account: its profile, its app state on the phone, its keys and numbers.

use reqwest::Method;
use serde_json::{Value, json};

use crate::baileys::{Baileys, DELIVERED, address};
use crate::ground::{CAROL, Ground};
use crate::world::{ALICE, BOB, eventually};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn a_phone_verifies_and_reads_the_app_state_that_baileys_writes() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    let id = ground.world.phone_sends(BOB, CAROL, "keep this").await;
    let message = baileys.has("keep this").await;
    let last = json!([{"key": message["key"], "messageTimestamp": message["messageTimestamp"]}]);
    let bob = address(BOB);
    let archive = json!({"archive": true, "lastMessages": last});
    baileys.call("chatModify", json!([archive, bob])).await;
    baileys.call("chatModify", json!([{"pin": true}, bob])).await;
    baileys.call("star", json!([bob, [message["key"]], true])).await;
    phone_knows(
        &ground,
        json!({"action": "archive", "chat": bob, "archived": true}),
    )
    .await;
    phone_knows(&ground, json!({"action": "pin", "chat": bob, "pinned": true})).await;
    phone_knows(
        &ground,
        json!({"action": "star", "whatsapp_id": id, "starred": true}),
    )
    .await;

    // The phone writes, Baileys reads; also under a new key.
    for (key_is_new, muted) in [(false, true), (true, false)] {
        if key_is_new {
            ground
                .control(Method::POST, &format!("accounts/{CAROL}/app-state/key"), None)
                .await;
        }
        let mute = json!({"action": "mute", "chat": BOB, "muted": muted, "until_ms": null});
        ground.act(&format!("accounts/{CAROL}/app-state"), mute).await;
        baileys
            .event("chats.update", |chats| {
                let mut chats = chats.as_array().unwrap().iter();
                chats.any(|chat| {
                    chat["id"] == bob
                        && chat
                            .as_object()
                            .unwrap()
                            .get("muteEndTime")
                            .is_some_and(|end| end.is_null() != muted)
                })
            })
            .await;
    }
    baileys.call("chatModify", json!([{"pin": false}, bob])).await;
    phone_knows(&ground, json!({"action": "pin", "chat": bob, "pinned": false})).await;
    let state = ground.look(&format!("accounts/{CAROL}/app-state")).await;
    for collection in state["data"].as_array().unwrap() {
        assert!(collection["fault"].is_null(), "{collection}");
    }
    baileys.quit().await;
    ground.end().await;
}

/// Waits until Carol's phone has verified and decrypted an action that says this.
async fn phone_knows(ground: &Ground, said: Value) {
    eventually(&format!("the phone knows {said}"), || async {
        let state = ground.look(&format!("accounts/{CAROL}/app-state")).await;
        let collections = state["data"].as_array().unwrap().iter();
        let mut entries = collections.flat_map(|collection| collection["entries"].as_array().unwrap());
        let said = said.as_object().unwrap();
        entries
            .find(|entry| said.iter().all(|(name, value)| entry[name] == *value))
            .map(|_| ())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn profile_privacy_and_block_list_are_changed_from_both_sides() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    let profile = format!("accounts/{CAROL}/profile");
    baileys.call("updateProfileStatus", json!(["at the sea"])).await;
    baileys.call("updateLastSeenPrivacy", json!(["none"])).await;
    // Baileys blocks by the hidden number, which it learns from a message.
    ground.world.phone_sends(BOB, CAROL, "buy this").await;
    baileys.has("buy this").await;
    baileys
        .call("updateBlockStatus", json!([address(BOB), "block"]))
        .await;
    let seen = ground.look(&profile).await;
    assert_eq!(
        (&seen["about"], &seen["privacy"]["last"], &seen["blocked"]),
        (&json!("at the sea"), &json!("none"), &json!([BOB]))
    );

    let change = json!({"about": "back home", "unblock": [BOB], "block": [ALICE]});
    ground.control(Method::PATCH, &profile, Some(change)).await;
    baileys
        .event("blocklist.update", |update| update["type"] == "remove")
        .await;
    baileys
        .event("blocklist.update", |update| update["type"] == "add")
        .await;
    let blocked = baileys.call("fetchBlocklist", json!([])).await;
    assert_eq!(blocked.as_array().unwrap().len(), 1, "{blocked}");
    let about = baileys.call("fetchStatus", json!([address(CAROL)])).await;
    assert_eq!(about[0]["status"]["status"], "back home", "{about}");
    baileys.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn a_phone_and_baileys_see_each_other_type() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    baileys.call("presenceSubscribe", json!([address(BOB)])).await;
    ground
        .act(&format!("accounts/{BOB}/presence"), json!({"available": true}))
        .await;
    seen(&baileys, "available").await;
    for state in ["composing", "recording"] {
        let body = json!({"to": CAROL, "state": state});
        ground.act(&format!("accounts/{BOB}/typing"), body).await;
        seen(&baileys, state).await;
        baileys
            .call("sendPresenceUpdate", json!([state, address(BOB)]))
            .await;
        eventually(&format!("the phone sees {state}"), || async {
            let heard = ground.look(&format!("accounts/{BOB}/chat-states")).await;
            let heard = heard["data"].as_array().unwrap().clone();
            let mut heard = heard.iter();
            heard
                .find(|heard| heard["from"] == CAROL && heard["state"] == state)
                .map(|_| ())
        })
        .await;
    }
    baileys.quit().await;
    ground.end().await;
}

async fn seen(baileys: &Baileys, presence: &str) {
    baileys
        .event("presence.update", |update| {
            update["presences"][address(BOB)]["lastKnownPresence"] == presence
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn a_contact_may_get_new_keys_and_another_lid() {
    let ground = Ground::start().await;
    let baileys = ground.linked("carol", CAROL).await;
    both_ways(&ground, &baileys, "at first").await;
    for what in ["register-again", "change-lid"] {
        ground
            .control(Method::POST, &format!("accounts/{BOB}/{what}"), None)
            .await;
        both_ways(&ground, &baileys, what).await;
    }
    baileys.quit().await;
    // Baileys may have written before it heard of the new keys; then it was asked to do so again.
    ground.end_despite(&["phone_decrypt_failures"]).await;
}

/// A text from Baileys to Bob's phone and one back.
async fn both_ways(ground: &Ground, baileys: &Baileys, when: &str) {
    let text = format!("hello Bob, {when}");
    let id = baileys.send_text(BOB, &text).await;
    ground.world.phone_has(BOB, &text).await;
    baileys.status_becomes(&id, DELIVERED).await;
    let text = format!("hello Carol, {when}");
    ground.world.phone_sends(BOB, CAROL, &text).await;
    baileys.has(&text).await;
}
