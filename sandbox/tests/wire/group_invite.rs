//! Invite codes, and joining by the leave of an admin.

use roost_sandbox::wire::node::Node;
use serde_json::json;

use crate::group::{ADA, ALL, BOB, BOB_JID, EVE, EVE_JID, NOBODY_JID, listed, participants, stage};
use crate::member::Member;

#[tokio::test]
async fn invite_codes_lead_into_the_group_until_they_are_reset() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let mut bob = Member::new(&stage, BOB).await;
    let mut eve = Member::new(&stage, EVE).await;
    let invite = || Node::new("invite");
    assert_eq!(bob.refused("get", &group, invite()).await, "401");
    assert_eq!(eve.refused("get", &group, invite()).await, "403");
    let code_of = |answer: Node| answer.find("invite").unwrap().get("code").unwrap().to_owned();
    let first = code_of(ada.asks("get", &group, invite()).await);
    assert_eq!(first, code_of(ada.asks("get", &group, invite()).await));
    let second = code_of(ada.asks("set", &group, invite()).await);
    assert_eq!(
        ada.notice("invite").await.find("invite").unwrap().get("code"),
        Some(second.as_str())
    );
    let with = |code: &str| invite().attr("code", code.to_owned());
    for kind in ["get", "set"] {
        assert_eq!(eve.refused(kind, ALL, with(&first)).await, "410");
        assert_eq!(eve.refused(kind, ALL, with("nonsense")).await, "406");
    }
    let shown = eve.asks("get", ALL, with(&second)).await;
    let shown = shown.find("group").unwrap();
    assert_eq!(
        (shown.get("subject"), shown.get("size")),
        (Some("Band"), Some("2"))
    );
    let joined = eve.asks("set", ALL, with(&second)).await;
    assert_eq!(joined.find("group").unwrap().get("jid"), Some(group.as_str()));
    let told = bob.notice("add").await;
    assert_eq!(told.get("participant"), Some(EVE_JID));
    assert_eq!(told.find("add").unwrap().get("reason"), Some("invite"));
    assert_eq!(
        eve.notice("create").await.find("create").unwrap().get("reason"),
        Some("invite")
    );
    assert_eq!(eve.refused("set", ALL, with(&second)).await, "304");
}

#[tokio::test]
async fn with_approval_admins_decide_who_comes_in() {
    let stage = stage().await;
    let group = stage.group(&[ADA], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let mut bob = Member::new(&stage, BOB).await;
    let mut eve = Member::new(&stage, EVE).await;
    stage
        .patch(&format!("/groups/{group}"), json!({"approval": true}))
        .await;
    let (_, invite) = stage.get(&format!("/groups/{group}/invite")).await;
    let join = || Node::new("invite").attr("code", invite["code"].as_str().unwrap().to_owned());
    for (member, jid) in [(&mut bob, BOB_JID), (&mut eve, EVE_JID)] {
        let asked = member.asks("set", ALL, join()).await;
        let pending = asked.find("membership_approval_request").unwrap();
        assert_eq!(pending.get("jid"), Some(group.as_str()));
        let told = ada.notice("created_membership_requests").await;
        let requested = told.children()[0].find("requested_user").unwrap();
        assert_eq!(requested.get("jid"), Some(jid));
    }
    let requests = Node::new("membership_approval_requests");
    assert_eq!(bob.refused("get", &group, requests.clone()).await, "403");
    let answer = ada.asks("get", &group, requests.clone()).await;
    let asked: Vec<_> = answer.children()[0].children().iter().collect();
    assert_eq!(asked.len(), 2);
    assert_eq!(
        (asked[0].get("jid"), asked[0].get("request_time").is_some()),
        (Some(BOB_JID), true)
    );
    let act = |action: &str, jids: &[&str]| {
        Node::new("membership_requests_action").child(participants(action, jids))
    };
    let answer = ada
        .asks("set", &group, act("reject", &[BOB_JID, NOBODY_JID]))
        .await;
    let rejected = answer.children()[0].find("reject").unwrap();
    assert_eq!(listed(rejected), [(BOB_JID, None), (NOBODY_JID, Some("404"))]);
    bob.notice("revoked_membership_requests").await;
    ada.asks("set", &group, act("approve", &[EVE_JID])).await;
    eve.notice("create").await;
    assert_eq!(listed(&eve.group(&group).await).len(), 2);
    // Who changed his mind takes his wish back.
    bob.asks("set", ALL, join()).await;
    bob.asks(
        "set",
        &group,
        participants("cancel_membership_requests", &[BOB_JID]),
    )
    .await;
    assert!(
        ada.asks("get", &group, requests).await.children()[0]
            .children()
            .is_empty()
    );
    assert_eq!(
        bob.refused("set", &group, participants("cancel_membership_requests", &[]))
            .await,
        "404"
    );
}
