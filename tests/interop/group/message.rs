//! Messages to groups, and their receipts.

use serde_json::{Value, json};

use super::{phone_heard, phone_makes_group};
use crate::baileys::{Baileys, address, named};
use crate::ground::{CAROL, Ground};
use crate::world::{ALICE, BOB};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn baileys_makes_a_group_and_everybody_writes() {
    let ground = Ground::start().await;
    let (carol, alice) = (
        ground.linked("carol", CAROL).await,
        ground.linked("alice", ALICE).await,
    );
    let members = [address(BOB), address(ALICE)];
    let group = carol.call("groupCreate", json!(["Plans", members])).await;
    assert_eq!(group["subject"], "Plans", "{group}");
    let id = group["id"].as_str().unwrap();
    let seen = ground.look(&format!("groups/{id}")).await;
    let mut roles: Vec<(&str, &str)> = seen["participants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| {
            let role = member["role"].as_str().unwrap();
            (member["phone_number"].as_str().unwrap(), role)
        })
        .collect();
    roles.sort_unstable();
    assert_eq!(roles, [(ALICE, "member"), (BOB, "member"), (CAROL, "superadmin")]);
    alice
        .event("groups.upsert", |groups| {
            groups[0]["id"] == id && groups[0]["subject"] == "Plans"
        })
        .await;
    everybody_writes(&ground, id, &carol, &alice).await;
    assert_eq!(ground.look("stats").await["retry_receipts"], 0);
    carol.quit().await;
    alice.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn a_phone_makes_groups_of_both_addressings_and_everybody_writes() {
    let ground = Ground::start().await;
    let (carol, alice) = (
        ground.linked("carol", CAROL).await,
        ground.linked("alice", ALICE).await,
    );
    for addressing in ["pn", "lid"] {
        let id = phone_makes_group(&ground, addressing).await;
        for baileys in [&carol, &alice] {
            let group = baileys.call("groupMetadata", json!([id])).await;
            assert_eq!(group["addressingMode"], addressing, "{group}");
            assert_eq!(group["participants"].as_array().unwrap().len(), 3);
            let members = group["participants"].as_array().unwrap().iter();
            for member in members {
                let (user, other) = if addressing == "pn" {
                    (&member["id"], &member["lid"])
                } else {
                    (&member["phoneNumber"], &member["id"])
                };
                assert!(user.as_str().unwrap().ends_with("@s.whatsapp.net"), "{member}");
                assert!(other.as_str().unwrap().ends_with("@lid"), "{member}");
            }
        }
        everybody_writes(&ground, &id, &carol, &alice).await;
    }
    assert_eq!(ground.look("stats").await["retry_receipts"], 0);
    carol.quit().await;
    alice.quit().await;
    ground.end().await;
}

/// Each member writes, all others hold it; Carol learns who has received and read what she wrote.
async fn everybody_writes(ground: &Ground, group: &str, carol: &Baileys, alice: &Baileys) {
    for round in 0..2 {
        let text = format!("Carol to {group}, {round}");
        let id = carol.send_text(group, &text).await;
        let heard = alice.has(&text).await;
        assert_eq!(heard["key"]["id"], id);
        is_from(&heard, group, CAROL);
        phone_heard(ground, BOB, group, CAROL, &text).await;
        carol.receipted(&id, "receiptTimestamp").await;
        alice.call("readMessages", json!([[heard["key"]]])).await;
        carol.receipted(&id, "readTimestamp").await;

        let text = format!("Alice to {group}, {round}");
        alice.send_text(group, &text).await;
        is_from(&carol.has(&text).await, group, ALICE);
        phone_heard(ground, BOB, group, ALICE, &text).await;

        let text = format!("Bob to {group}, {round}");
        let body = json!({"to": group, "text": text});
        ground.act(&format!("accounts/{BOB}/messages"), body).await;
        for baileys in [carol, alice] {
            is_from(&baileys.has(&text).await, group, BOB);
        }
    }
}

/// Asserts that a message came in this group from this number, whichever of its names is shown.
fn is_from(message: &Value, group: &str, phone: &str) {
    let key = &message["key"];
    assert_eq!(
        (&key["remoteJid"], &key["fromMe"]),
        (&json!(group), &json!(false)),
        "{message}"
    );
    let names = [&key["participant"], &key["participantAlt"]];
    let number = address(phone);
    let is_author = |name: &&Value| {
        // Names may carry the device.
        let name = name.as_str().unwrap_or_default();
        name == number || name.starts_with(&format!("{phone}:"))
    };
    assert!(names.iter().any(is_author), "{message}");
    assert!(
        names
            .iter()
            .any(|name| name.as_str().unwrap_or_default().ends_with("@lid")),
        "{message}"
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn group_messages_wait_and_missing_sender_keys_are_sent_again() {
    let ground = Ground::start().await;
    let (carol, alice) = (
        ground.linked("carol", CAROL).await,
        ground.linked("alice", ALICE).await,
    );
    let id = phone_makes_group(&ground, "lid").await;
    let bob_writes = async |text: &str| {
        ground
            .act(
                &format!("accounts/{BOB}/messages"),
                json!({"to": id, "text": text}),
            )
            .await;
    };
    bob_writes("at first").await;
    carol.has("at first").await;
    alice.has("at first").await;
    alice.send_text(&id, "hello").await;
    carol.has("hello").await;
    ground.all_confirmed(CAROL).await;

    let place = carol.quit().await;
    let mut expected = Vec::new();
    for number in 0..5 {
        let text = format!("waiting {number}");
        bob_writes(&text).await;
        expected.push(text);
    }
    let carol = Ground::reopened(place).await;
    carol.has("waiting 4").await;
    ground.all_confirmed(CAROL).await;
    assert_eq!(carol.texts(), expected);

    let place = carol.quit().await;
    place.forget("sender-key");
    let carol = Ground::reopened(place).await;
    carol.opened(1).await;
    bob_writes("from the phone").await;
    carol.has("from the phone").await;
    alice.send_text(&id, "from the other").await;
    carol.has("from the other").await;
    assert_eq!(carol.texts(), ["from the phone", "from the other"]);
    let retries = ground.look("stats").await["retry_receipts"].as_u64().unwrap();
    assert!(retries >= 2, "{retries} retry receipts");
    carol.quit().await;
    alice.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn an_instance_receives_what_members_write() {
    let ground = Ground::start().await;
    let api = ground.world.api();
    let carol = ground.linked("carol", CAROL).await;
    ground.world.paired(ALICE).await;
    for addressing in ["pn", "lid"] {
        let id = phone_makes_group(&ground, addressing).await;
        let text = format!("Carol to {addressing}");
        let sent = carol.send_text(&id, &text).await;
        let event = api
            .event("message.received", |event| {
                event["data"]["message"]["whatsapp_id"] == sent
            })
            .await;
        let message = &event["data"]["message"];
        assert_eq!(message["chat"]["id"], id);
        assert_eq!(message["text"]["body"], text);
        assert_eq!(message["sender"]["phone_number"], format!("+{CAROL}"));
        let body = json!({"to": id, "text": format!("Bob to {addressing}")});
        let sent = ground.act(&format!("accounts/{BOB}/messages"), body).await;
        let event = api
            .event("message.received", |event| {
                event["data"]["message"]["whatsapp_id"] == sent["whatsapp_id"]
            })
            .await;
        assert_eq!(
            event["data"]["message"]["sender"]["phone_number"],
            format!("+{BOB}")
        );
    }
    carol.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn messages_to_a_group_are_answered_and_amended() {
    let ground = Ground::start().await;
    let (carol, alice) = (
        ground.linked("carol", CAROL).await,
        ground.linked("alice", ALICE).await,
    );
    let id = phone_makes_group(&ground, "lid").await;
    carol.send_text(&id, "a proposal").await;
    let heard = alice.has("a proposal").await;
    let reply = json!([id, {"text": "a reply"}, {"quoted": named(heard["key"]["id"].as_str().unwrap())}]);
    let reply = alice.call("sendMessage", reply).await;
    let record = ground
        .phone_record(BOB, "the reply", |record| record["text"] == "a reply")
        .await;
    assert_eq!(record["quoted_id"], heard["key"]["id"]);
    for (content, kind, target) in [
        (
            json!({"react": {"text": "👍", "key": heard["key"]}}),
            "reaction",
            &heard["key"]["id"],
        ),
        (
            json!({"text": "better", "edit": reply["key"]}),
            "edit",
            &reply["key"]["id"],
        ),
        (json!({"delete": reply["key"]}), "revoke", &reply["key"]["id"]),
    ] {
        alice.send(&id, content).await;
        let record = ground
            .phone_record(BOB, kind, |record| record["kind"] == kind && record["chat"] == id)
            .await;
        assert_eq!(record["target_id"], *target);
    }
    carol.quit().await;
    alice.quit().await;
    ground.end().await;
}
