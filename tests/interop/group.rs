//! Groups, made by Baileys and by phones, in both addressings.

use reqwest::Method;
use serde_json::{Value, json};

use crate::baileys::{Baileys, address, named};
use crate::ground::{CAROL, Ground};
use crate::world::{ALICE, BOB, ECHO};

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

/// A group of Bob, whose phone makes it, Carol and Alice.
async fn phone_makes_group(ground: &Ground, addressing: &str) -> String {
    let group = json!({
        "creator": BOB, "subject": "Band", "participants": [CAROL, ALICE], "addressing": addressing,
    });
    let group = ground.act("groups", group).await;
    group["group_id"].as_str().unwrap().to_owned()
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

async fn phone_heard(ground: &Ground, phone: &str, group: &str, author: &str, text: &str) {
    let record = ground
        .phone_record(phone, text, |record| record["text"] == text)
        .await;
    assert_eq!(
        (&record["chat"], &record["from"]),
        (&json!(group), &json!(author))
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn baileys_changes_a_group() {
    let ground = Ground::start().await;
    let carol = ground.linked("carol", CAROL).await;
    let group = carol.call("groupCreate", json!(["Plans", [address(BOB)]])).await;
    let id = group["id"].as_str().unwrap();
    for (call, arguments, field, value) in [
        (
            "groupUpdateSubject",
            json!([id, "Dinner"]),
            "subject",
            json!("Dinner"),
        ),
        (
            "groupUpdateDescription",
            json!([id, "at eight"]),
            "description",
            json!("at eight"),
        ),
        (
            "groupUpdateDescription",
            json!([id, "at nine"]),
            "description",
            json!("at nine"),
        ),
        ("groupUpdateDescription", json!([id]), "description", Value::Null),
        (
            "groupSettingUpdate",
            json!([id, "announcement"]),
            "announcement",
            json!(true),
        ),
        (
            "groupSettingUpdate",
            json!([id, "not_announcement"]),
            "announcement",
            json!(false),
        ),
        ("groupSettingUpdate", json!([id, "locked"]), "locked", json!(true)),
        (
            "groupSettingUpdate",
            json!([id, "unlocked"]),
            "locked",
            json!(false),
        ),
        (
            "groupToggleEphemeral",
            json!([id, 86_400]),
            "ephemeral_s",
            json!(86_400),
        ),
        ("groupToggleEphemeral", json!([id, 0]), "ephemeral_s", json!(0)),
        (
            "groupMemberAddMode",
            json!([id, "admin_add"]),
            "member_add_mode",
            json!("admin_add"),
        ),
        (
            "groupJoinApprovalMode",
            json!([id, "on"]),
            "approval",
            json!(true),
        ),
        (
            "groupJoinApprovalMode",
            json!([id, "off"]),
            "approval",
            json!(false),
        ),
    ] {
        carol.call(call, arguments).await;
        let seen = ground.look(&format!("groups/{id}")).await;
        assert_eq!(seen[field], value, "{call}: {seen}");
    }
    for (action, phone, role) in [
        ("add", ALICE, json!("member")),
        ("promote", ALICE, json!("admin")),
        ("demote", ALICE, json!("member")),
        ("remove", ALICE, Value::Null),
    ] {
        let changed = carol
            .call("groupParticipantsUpdate", json!([id, [address(phone)], action]))
            .await;
        assert_eq!(changed[0]["status"], "200", "{action}: {changed}");
        assert_eq!(role_of(&ground, id, phone).await, role, "{action}");
    }
    let refused = carol
        .call(
            "groupParticipantsUpdate",
            json!([id, ["4915559999@s.whatsapp.net"], "add"]),
        )
        .await;
    assert_eq!(refused[0]["status"], "404", "{refused}");

    // By its link, first freely, then with the admin's approval.
    let code = carol.call("groupInviteCode", json!([id])).await;
    ground
        .act("groups/join", json!({"phone": ALICE, "code": code}))
        .await;
    assert_eq!(role_of(&ground, id, ALICE).await, "member");
    let code = carol.call("groupRevokeInvite", json!([id])).await;
    carol.call("groupJoinApprovalMode", json!([id, "on"])).await;
    ground
        .act("groups/join", json!({"phone": ECHO, "code": code}))
        .await;
    assert!(role_of(&ground, id, ECHO).await.is_null());
    let requests = carol.call("groupRequestParticipantsList", json!([id])).await;
    let asking = requests[0]["jid"].clone();
    let arguments = json!([id, [asking], "approve"]);
    carol.call("groupRequestParticipantsUpdate", arguments).await;
    assert_eq!(role_of(&ground, id, ECHO).await, "member", "{requests}");

    carol.call("groupLeave", json!([id])).await;
    assert!(role_of(&ground, id, CAROL).await.is_null());
    carol.quit().await;
    ground.end().await;
}

/// The role of a member; null of one who is none.
async fn role_of(ground: &Ground, group: &str, phone: &str) -> Value {
    let seen = ground.look(&format!("groups/{group}")).await;
    let members = seen["participants"].as_array().unwrap();
    let mut members = members.iter();
    let member = members.find(|member| member["phone_number"] == phone);
    member.map_or(Value::Null, |member| member["role"].clone())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn baileys_sees_what_a_phone_changes_in_a_group() {
    let ground = Ground::start().await;
    let carol = ground.linked("carol", CAROL).await;
    for addressing in ["pn", "lid"] {
        let id = phone_makes_group(&ground, addressing).await;
        carol.event("groups.upsert", |groups| groups[0]["id"] == id).await;
        for (change, field, value) in [
            (json!({"subject": "Choir"}), "subject", json!("Choir")),
            (json!({"description": "we sing"}), "desc", json!("we sing")),
            (json!({"announcement": true}), "announce", json!(true)),
            (json!({"locked": true}), "restrict", json!(true)),
        ] {
            let path = format!("groups/{id}");
            ground.control(Method::PATCH, &path, Some(change)).await;
            carol
                .event("groups.update", |groups| {
                    let mut groups = groups.as_array().unwrap().iter();
                    groups.any(|group| group["id"] == id && group[field] == value)
                })
                .await;
        }
        for action in ["promote", "demote", "remove", "add"] {
            let body = json!({"action": action, "participants": [ALICE]});
            ground.act(&format!("groups/{id}/participants"), body).await;
            carol
                .event("group-participants.update", |update| {
                    update["id"] == id
                        && update["action"] == action
                        && update["participants"].to_string().contains(ALICE)
                })
                .await;
        }
        // Only admins write now.
        let refused = carol.send_text(&id, "may I?").await;
        carol
            .becomes(&refused, |message| message["messageStubParameters"].is_array())
            .await;
        let body = json!({"action": "remove", "participants": [CAROL]});
        ground.act(&format!("groups/{id}/participants"), body).await;
        carol
            .event("group-participants.update", |update| {
                update["id"] == id
                    && update["action"] == "remove"
                    && update["participants"].to_string().contains(CAROL)
            })
            .await;
    }
    let invited = phone_makes_group(&ground, "lid").await;
    let body = json!({"action": "remove", "participants": [CAROL]});
    ground.act(&format!("groups/{invited}/participants"), body).await;
    let invite = ground.look(&format!("groups/{invited}/invite")).await;
    let info = carol.call("groupGetInviteInfo", json!([invite["code"]])).await;
    assert_eq!(info["id"], invited);
    let joined = carol.call("groupAcceptInvite", json!([invite["code"]])).await;
    assert_eq!(joined, invited);
    let all = carol.call("groupFetchAllParticipating", json!([])).await;
    assert_eq!(all.as_object().unwrap().keys().collect::<Vec<_>>(), [&invited]);
    carol.quit().await;
    ground.end_despite(&["messages_refused"]).await;
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
async fn members_come_and_go_and_have_several_devices() {
    let ground = Ground::start().await;
    let (desk, alice) = (
        ground.linked("desk", CAROL).await,
        ground.linked("alice", ALICE).await,
    );
    let id = phone_makes_group(&ground, "lid").await;
    desk.send_text(&id, "one device").await;
    alice.has("one device").await;

    // A device linked later gets keys of its own, and copies of what the other one writes.
    let sofa = ground.linked("sofa", CAROL).await;
    desk.send_text(&id, "two devices").await;
    let copy = sofa.has("two devices").await;
    assert_eq!(
        (&copy["key"]["remoteJid"], &copy["key"]["fromMe"]),
        (&json!(id), &json!(true))
    );
    alice.send_text(&id, "hello both").await;
    desk.has("hello both").await;
    sofa.has("hello both").await;

    // Replies, reactions, edits and revocations.
    let heard = alice.has("two devices").await;
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

    // Who has left hears nothing more; who joins hears what comes then.
    let members = format!("groups/{id}/participants");
    ground
        .act(&members, json!({"action": "remove", "participants": [ALICE]}))
        .await;
    ground
        .act(&members, json!({"action": "add", "participants": [ECHO]}))
        .await;
    desk.event("group-participants.update", |update| {
        update["id"] == id && update["action"] == "add" && update["participants"].to_string().contains(ECHO)
    })
    .await;
    desk.send_text(&id, "without Alice").await;
    phone_heard(&ground, ECHO, &id, CAROL, "without Alice").await;
    sofa.has("without Alice").await;
    let body = json!({"to": id, "text": "Bob, without Alice"});
    ground.act(&format!("accounts/{BOB}/messages"), body).await;
    desk.has("Bob, without Alice").await;
    let fence = ground
        .world
        .phone_sends(BOB, ALICE, "you have missed something")
        .await;
    alice
        .message("the fence", |message| message["key"]["id"] == fence)
        .await;
    let texts = alice.texts();
    assert!(
        !texts.iter().any(|text| text.contains("without Alice")),
        "{texts:?}"
    );
    for baileys in [desk, sofa, alice] {
        baileys.quit().await;
    }
    ground.end().await;
}
