//! What is changed of a group: its settings, by Baileys and by phones.

use reqwest::Method;
use serde_json::{Value, json};

use super::phone_makes_group;
use crate::baileys::address;
use crate::ground::{CAROL, Ground};
use crate::world::{ALICE, BOB};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node 20 and `npm ci --prefix tests/interop`"]
async fn baileys_changes_the_settings_of_a_group() {
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
    carol.quit().await;
    ground.end().await;
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
