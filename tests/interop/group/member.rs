//! Who is in a group: added and removed, by link, with several devices.

use serde_json::{Value, json};

use super::{phone_heard, phone_makes_group, role_of};
use crate::baileys::address;
use crate::ground::{CAROL, Ground};
use crate::world::{ALICE, BOB, ECHO};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn baileys_changes_who_is_in_a_group() {
    let ground = Ground::start().await;
    let carol = ground.linked("carol", CAROL).await;
    let group = carol.call("groupCreate", json!(["Plans", [address(BOB)]])).await;
    let id = group["id"].as_str().unwrap();
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
    carol.call("groupLeave", json!([id])).await;
    assert!(role_of(&ground, id, CAROL).await.is_null());
    carol.quit().await;
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn baileys_lets_others_in_by_link() {
    let ground = Ground::start().await;
    let carol = ground.linked("carol", CAROL).await;
    let group = carol.call("groupCreate", json!(["Plans", [address(BOB)]])).await;
    let id = group["id"].as_str().unwrap();
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
