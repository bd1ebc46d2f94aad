//! The control calls of groups, their limits, and queries that make no sense.

use roost_sandbox::server::SandboxConfig;
use roost_sandbox::wire::node::Node;
use serde_json::json;

use crate::group::{ADA, ALL, BOB, EVE, EVE_JID, listed, participant, participants, stage, stage_with};
use crate::member::Member;

#[tokio::test]
async fn limits_are_kept() {
    let config = SandboxConfig {
        group_members_max: 2,
        groups_per_account_max: 2,
        groups_max: 3,
        group_subject_chars_max: 5,
        group_description_chars_max: 5,
        ..SandboxConfig::default()
    };
    let stage = stage_with(config).await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let full = ada.asks("set", &group, participants("add", &[EVE_JID])).await;
    assert_eq!(listed(full.find("add").unwrap()), [(EVE_JID, Some("419"))]);
    let create = |subject: &'static str| Node::new("create").attr("subject", subject);
    assert_eq!(ada.refused("set", ALL, create("sextet")).await, "406");
    assert_eq!(ada.refused("set", ALL, create(" ")).await, "406");
    ada.asks("set", ALL, create("duo")).await;
    assert_eq!(ada.refused("set", ALL, create("trio")).await, "500");
    assert_eq!(
        ada.refused("set", &group, Node::new("subject").bytes("sextet"))
            .await,
        "406"
    );
    let description = Node::new("description")
        .attr("id", "D")
        .child(Node::new("body").bytes("quartet"));
    assert_eq!(ada.refused("set", &group, description).await, "406");
    stage.group(&[EVE], "pn").await;
    let (status, body) = stage
        .post("/groups", json!({"creator": BOB, "subject": "x"}))
        .await;
    assert_eq!((status, body["code"].as_str()), (503, Some("too_many_groups")));
    // What was refused left nothing behind.
    let (_, of_bob) = stage.get(&format!("/groups?participant={BOB}")).await;
    assert_eq!(of_bob["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn malformed_queries_get_an_error_and_nothing_else_happens() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let (_, before) = stage.get(&format!("/groups/{group}")).await;
    let node = |tag: &'static str| Node::new(tag);
    for (kind, to, child, code) in [
        ("set", ALL, node("create"), "400"),
        (
            "set",
            ALL,
            node("create").attr("subject", "x").child(participant("nonsense")),
            "400",
        ),
        (
            "set",
            ALL,
            node("create").attr("subject", "x").child(node("participant")),
            "400",
        ),
        (
            "set",
            ALL,
            node("create").attr("subject", "x").child(node("ephemeral")),
            "400",
        ),
        (
            "set",
            ALL,
            node("create").attr("subject", "x").child(node("parent")),
            "501",
        ),
        ("set", ALL, node("leave"), "400"),
        ("set", ALL, node("leave").child(node("group")), "400"),
        ("set", ALL, node("invite"), "400"),
        ("get", ALL, node("query").child(node("group")), "400"),
        ("set", ALL, node("unheard_of"), "501"),
        ("get", "s.whatsapp.net", node("query"), "400"),
        ("get", "120363999@g.us", node("query"), "404"),
        ("set", group.as_str(), node("add"), "400"),
        (
            "set",
            group.as_str(),
            node("add").child(participant("x@g.us@")),
            "400",
        ),
        ("set", group.as_str(), node("subject"), "406"),
        (
            "set",
            group.as_str(),
            node("subject").bytes(vec![0xFF, 0xFE]),
            "400",
        ),
        ("set", group.as_str(), node("description"), "400"),
        (
            "set",
            group.as_str(),
            node("description").child(node("body")),
            "400",
        ),
        (
            "set",
            group.as_str(),
            node("ephemeral").attr("expiration", "-1"),
            "400",
        ),
        (
            "set",
            group.as_str(),
            node("ephemeral").attr("expiration", "4294967295"),
            "406",
        ),
        (
            "set",
            group.as_str(),
            node("member_add_mode").bytes("nobody"),
            "400",
        ),
        ("set", group.as_str(), node("membership_approval_mode"), "400"),
        ("set", group.as_str(), node("membership_requests_action"), "400"),
        (
            "set",
            group.as_str(),
            node("membership_requests_action").child(node("perhaps")),
            "400",
        ),
        ("set", group.as_str(), node("links"), "501"),
        ("get", group.as_str(), node("links"), "501"),
    ] {
        assert_eq!(ada.refused(kind, to, child.clone()).await, code, "{child:?}");
    }
    assert_eq!(stage.get(&format!("/groups/{group}")).await.1, before);
}

#[tokio::test]
async fn many_groups_are_asked_for_at_once() {
    let stage = stage().await;
    let own = stage.group(&[ADA, BOB], "pn").await;
    let foreign = stage.group(&[BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let named = [own.as_str(), &foreign, "1203630@g.us"];
    let asked = named.map(|jid| Node::new("group").attr("jid", jid.to_owned()));
    let answer = ada
        .asks("get", ALL, Node::new("query").with_children(asked.to_vec()))
        .await;
    let groups = answer.find("groups").unwrap().children().to_vec();
    let errors: Vec<_> = groups.iter().map(|group| group.get("error")).collect();
    assert_eq!(errors, [None, Some("403"), Some("404")]);
    assert_eq!(groups[0].get("subject"), Some("Band"));
}

#[tokio::test]
async fn the_control_api_makes_lists_and_changes_groups() {
    let stage = stage().await;
    let body = json!({
        "creator": ADA, "subject": "Band", "participants": [BOB], "description": "We play", "addressing": "lid",
        "announcement": true, "locked": true, "approval": true, "ephemeral_s": 60, "member_add_mode": "admin_add",
    });
    let (status, group) = stage.post("/groups", body.clone()).await;
    assert_eq!(status, 201, "{group}");
    for name in [
        "subject",
        "description",
        "addressing",
        "announcement",
        "locked",
        "approval",
        "ephemeral_s",
        "member_add_mode",
        "creator",
    ] {
        assert_eq!(group[name], body[name], "{name}");
    }
    let path = format!("/groups/{}", group["group_id"].as_str().unwrap());
    assert_eq!(stage.get(&path).await, (200, group.clone()));
    let change = json!({"action": "add", "participants": [EVE, BOB, "15559999999"]});
    let (status, outcomes) = stage.post(&format!("{path}/participants"), change).await;
    let errors: Vec<_> = outcomes["participants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["error"].clone())
        .collect();
    assert_eq!((status, errors), (200, vec![json!(null), json!(409), json!(404)]));
    let (_, all) = stage.get("/groups?limit=1").await;
    assert_eq!(
        (all["data"].as_array().unwrap().len(), &all["next_cursor"]),
        (1, &json!(null))
    );
    let other = stage.group(&[EVE], "pn").await;
    let (_, page) = stage.get("/groups?limit=1").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let (_, rest) = stage.get(&format!("/groups?limit=1&after={cursor}")).await;
    assert_eq!(
        (rest["data"].as_array().unwrap().len(), &rest["next_cursor"]),
        (1, &json!(null))
    );
    assert_ne!(page["data"][0]["group_id"], rest["data"][0]["group_id"]);
    let (_, of_bob) = stage.get(&format!("/groups?participant={BOB}")).await;
    assert_eq!(of_bob["data"].as_array().unwrap().len(), 1);
    let member = format!("/groups/{other}");
    for (status, code, (got, body)) in [
        (404, "group_not_found", stage.get("/groups/120363").await),
        (
            404,
            "account_not_found",
            stage
                .post("/groups", json!({"creator": "15559999999", "subject": "x"}))
                .await,
        ),
        (
            422,
            "invalid_phone_number",
            stage
                .post(
                    "/groups",
                    json!({"creator": ADA, "subject": "x", "participants": ["x"]}),
                )
                .await,
        ),
        (
            422,
            "invalid_field",
            stage
                .post("/groups", json!({"creator": ADA, "subject": ""}))
                .await,
        ),
        (
            422,
            "invalid_field",
            stage
                .post(
                    &format!("{member}/participants"),
                    json!({"action": "hug", "participants": []}),
                )
                .await,
        ),
        (
            403,
            "group_forbidden",
            stage.patch(&member, json!({"by": BOB, "subject": "x"})).await,
        ),
        (
            404,
            "unknown_invite",
            stage
                .post("/groups/join", json!({"phone": ADA, "code": "x"}))
                .await,
        ),
        (
            409,
            "already_member",
            stage
                .post(
                    "/groups/join",
                    json!({"phone": EVE, "code": stage.get(&format!("{member}/invite")).await.1["link"]}),
                )
                .await,
        ),
        (
            403,
            "group_forbidden",
            stage
                .post(&format!("{member}/leave"), json!({"phone": ADA}))
                .await,
        ),
        (
            404,
            "group_not_found",
            stage
                .post(
                    &format!("/accounts/{ADA}/messages"),
                    json!({"to": "1@g.us", "text": "x"}),
                )
                .await,
        ),
    ] {
        assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{body}");
    }
}
