//! Groups: making them, changing them, and who may do what.

use roost_sandbox::server::SandboxConfig;
use roost_sandbox::wire::node::Node;
use serde_json::json;

use crate::member::Member;
use crate::stage::Stage;

pub const ADA: &str = "15550000001";
pub const BOB: &str = "15550000002";
pub const EVE: &str = "15550000003";
pub const ADA_JID: &str = "15550000001@s.whatsapp.net";
pub const BOB_JID: &str = "15550000002@s.whatsapp.net";
pub const EVE_JID: &str = "15550000003@s.whatsapp.net";
pub const NOBODY_JID: &str = "15559999999@s.whatsapp.net";
pub const ALL: &str = "g.us";

pub async fn stage() -> Stage {
    stage_with(SandboxConfig::default()).await
}

pub async fn stage_with(config: SandboxConfig) -> Stage {
    let stage = Stage::with(config).await;
    for number in [ADA, BOB, EVE] {
        stage.account(number, false).await;
    }
    stage
}

pub fn participant(jid: &str) -> Node {
    Node::new("participant").attr("jid", jid.to_owned())
}

pub fn participants(action: &str, jids: &[&str]) -> Node {
    Node::new(action.to_owned()).with_children(jids.iter().map(|jid| participant(jid)).collect())
}

/// Who is in a group, with what role or error.
pub fn listed(node: &Node) -> Vec<(&str, Option<&str>)> {
    let listed = node
        .find_all("participant")
        .map(|node| (node.get("jid").unwrap(), node.get("type").or(node.get("error"))));
    let mut listed: Vec<_> = listed.collect();
    listed.sort_unstable();
    listed
}

fn text(node: &Node) -> &str {
    std::str::from_utf8(node.data().unwrap()).unwrap()
}

#[tokio::test]
async fn a_new_group_is_shown_to_its_maker_and_told_to_its_members() {
    let stage = stage().await;
    let mut ada = Member::new(&stage, ADA).await;
    let mut bob = Member::new(&stage, BOB).await;
    // As the engine's library writes it: settings and description at once.
    let create = participants("create", &[BOB_JID, NOBODY_JID])
        .attr("subject", "Band")
        .child(Node::new("member_link_mode").bytes("admin_link"))
        .child(Node::new("member_add_mode").bytes("admin_add"))
        .child(Node::new("ephemeral").attr("expiration", "0"))
        .child(Node::new("membership_approval_mode").child(Node::new("group_join").attr("state", "off")))
        .child(
            Node::new("description")
                .attr("id", "D1")
                .child(Node::new("body").bytes("We play")),
        );
    let answer = ada.asks("set", ALL, create).await;
    let group = answer.find("group").unwrap();
    assert_eq!(
        listed(group),
        [
            (ADA_JID, Some("superadmin")),
            (BOB_JID, None),
            (NOBODY_JID, Some("404"))
        ]
    );
    let id = format!("{}@g.us", group.get("id").unwrap());
    let told = bob.notice("create").await;
    assert_eq!(
        (told.get("from"), told.get("participant")),
        (Some(id.as_str()), Some(ADA_JID))
    );
    let created = told.find("create").unwrap();
    assert_eq!(created.get("type"), Some("new"));
    let shown = bob.group(&id).await;
    assert_eq!(created.find("group"), Some(&shown));
    for (name, value) in [
        ("subject", "Band"),
        ("creator", ADA_JID),
        ("s_o", ADA_JID),
        ("addressing_mode", "pn"),
        ("size", "2"),
    ] {
        assert_eq!(shown.get(name), Some(value), "{name}");
    }
    assert!(
        shown
            .find("participant")
            .unwrap()
            .get("lid")
            .unwrap()
            .ends_with("@lid")
    );
    assert_eq!(text(shown.find("member_add_mode").unwrap()), "admin_add");
    let description = shown.find("description").unwrap();
    assert_eq!(
        (description.get("id"), text(description.find("body").unwrap())),
        (Some("D1"), "We play")
    );
    // The other library asks for all its groups at once.
    let asked = Node::new("participating")
        .child(Node::new("participants"))
        .child(Node::new("description"));
    let groups = bob.asks("get", ALL, asked).await;
    assert_eq!(groups.find("groups").unwrap().children(), [shown]);
}

#[tokio::test]
async fn a_group_made_of_lids_addresses_everybody_by_lid() {
    let stage = stage().await;
    let mut ada = Member::new(&stage, ADA).await;
    let lid_of = async |number: &str| {
        let (_, account) = stage.get(&format!("/accounts/{number}")).await;
        format!("{}@lid", account["lid"].as_str().unwrap())
    };
    let (ada_lid, bob_lid) = (lid_of(ADA).await, lid_of(BOB).await);
    let create = Node::new("create")
        .attr("subject", "Band")
        .child(participant(&bob_lid).attr("phone_number", BOB_JID));
    let answer = ada.asks("set", ALL, create).await;
    let group = answer.find("group").unwrap();
    assert_eq!(group.get("addressing_mode"), Some("lid"));
    assert_eq!(
        (group.get("creator"), group.get("creator_pn")),
        (Some(ada_lid.as_str()), Some(ADA_JID))
    );
    let bob = group
        .find_all("participant")
        .find(|node| node.is("jid", &bob_lid))
        .unwrap();
    assert_eq!(bob.get("phone_number"), Some(BOB_JID));
    // Members may be named either way.
    let id = format!("{}@g.us", group.get("id").unwrap());
    let added = ada.asks("set", &id, participants("add", &[EVE_JID])).await;
    assert_eq!(listed(added.find("add").unwrap()), [(EVE_JID, None)]);
    let told = ada.notice("add").await;
    assert_eq!(
        (told.get("participant"), told.get("participant_pn")),
        (Some(ada_lid.as_str()), Some(ADA_JID))
    );
    let eve = told.find("add").unwrap().find("participant").unwrap();
    assert_eq!(
        (eve.get("jid"), eve.get("phone_number")),
        (Some(lid_of(EVE).await.as_str()), Some(EVE_JID))
    );
}

#[tokio::test]
async fn members_come_and_go_and_everybody_concerned_is_told() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let mut bob = Member::new(&stage, BOB).await;
    let mut eve = Member::new(&stage, EVE).await;
    let added = ada
        .asks(
            "set",
            &group,
            participants("add", &[EVE_JID, BOB_JID, NOBODY_JID]),
        )
        .await;
    assert_eq!(
        listed(added.find("add").unwrap()),
        [(BOB_JID, Some("409")), (EVE_JID, None), (NOBODY_JID, Some("404"))]
    );
    assert_eq!(
        listed(bob.notice("add").await.find("add").unwrap()),
        [(EVE_JID, None)]
    );
    let welcome = eve.notice("create").await;
    assert_eq!(
        listed(welcome.find("create").unwrap().find("group").unwrap()).len(),
        3
    );

    let promoted = ada
        .asks("set", &group, participants("promote", &[BOB_JID, NOBODY_JID]))
        .await;
    assert_eq!(
        listed(promoted.find("promote").unwrap()),
        [(BOB_JID, None), (NOBODY_JID, Some("404"))]
    );
    assert_eq!(
        listed(eve.notice("promote").await.find("promote").unwrap()),
        [(BOB_JID, Some("admin"))]
    );
    // Nobody takes the maker's place away.
    for action in ["demote", "remove"] {
        let refused = bob.asks("set", &group, participants(action, &[ADA_JID])).await;
        assert_eq!(listed(refused.find(action).unwrap()), [(ADA_JID, Some("403"))]);
    }
    ada.asks("set", &group, participants("demote", &[BOB_JID])).await;
    assert_eq!(
        listed(bob.notice("demote").await.find("demote").unwrap()),
        [(BOB_JID, None)]
    );
    for action in ["promote", "demote", "remove"] {
        assert_eq!(
            bob.refused("set", &group, participants(action, &[EVE_JID])).await,
            "403"
        );
    }
    ada.asks("set", &group, participants("remove", &[EVE_JID])).await;
    assert_eq!(
        listed(eve.notice("remove").await.find("remove").unwrap()),
        [(EVE_JID, None)]
    );
    assert_eq!(eve.refused("get", &group, Node::new("query")).await, "403");
    let leave = Node::new("leave").child(Node::new("group").attr("id", group.clone()));
    ada.asks("set", ALL, leave.clone()).await;
    assert_eq!(bob.notice("remove").await.get("participant"), Some(ADA_JID));
    // The last admin has left: who has been there longest takes over.
    assert_eq!(
        listed(bob.notice("promote").await.find("promote").unwrap()),
        [(BOB_JID, Some("admin"))]
    );
    assert_eq!(ada.refused("set", ALL, leave.clone()).await, "403");
    bob.asks("set", ALL, leave.clone()).await;
    assert_eq!(bob.refused("set", ALL, leave).await, "404");
    assert_eq!(stage.get(&format!("/groups/{group}")).await.0, 404);
}

#[tokio::test]
async fn subject_description_and_settings_change_with_a_notice() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let mut bob = Member::new(&stage, BOB).await;
    bob.asks("set", &group, Node::new("subject").bytes("Choir")).await;
    let told = ada.notice("subject").await;
    let subject = told.find("subject").unwrap();
    assert_eq!(
        (subject.get("subject"), subject.get("s_o")),
        (Some("Choir"), Some(BOB_JID))
    );
    let describe = |id: &'static str, prev: Option<&'static str>| {
        Node::new("description")
            .attr("id", id)
            .attr_opt("prev", prev)
            .child(Node::new("body").bytes("We sing"))
    };
    bob.asks("set", &group, describe("D1", None)).await;
    bob.notice("description").await;
    let told = ada.notice("description").await;
    let description = told.find("description").unwrap();
    assert_eq!(
        (description.get("id"), text(description.find("body").unwrap())),
        (Some("D1"), "We sing")
    );
    assert_eq!(
        ada.refused("set", &group, describe("D2", Some("D0"))).await,
        "409"
    );
    assert_eq!(ada.refused("set", &group, describe("D2", None)).await, "409");
    let delete = Node::new("description").attr("delete", "true").attr("prev", "D1");
    ada.asks("set", &group, delete).await;
    assert!(
        bob.notice("description")
            .await
            .find("description")
            .unwrap()
            .find("delete")
            .is_some()
    );

    let approval = |state: &'static str| {
        Node::new("membership_approval_mode").child(Node::new("group_join").attr("state", state))
    };
    for (on, off) in [
        (Node::new("announcement"), Node::new("not_announcement")),
        (Node::new("locked"), Node::new("unlocked")),
        (
            Node::new("ephemeral").attr("expiration", "86400"),
            Node::new("not_ephemeral"),
        ),
        (approval("on"), approval("off")),
        (
            Node::new("no_frequently_forwarded"),
            Node::new("frequently_forwarded_ok"),
        ),
    ] {
        let shown = |group: &Node| group.find(&on.tag).is_some();
        ada.asks("set", &group, on.clone()).await;
        assert_eq!(bob.notice(&on.tag).await.children(), std::slice::from_ref(&on));
        assert!(shown(&bob.group(&group).await), "{on:?}");
        // Members may let messages disappear; the rest is the admins'.
        if on.tag != "ephemeral" {
            assert_eq!(bob.refused("set", &group, on.clone()).await, "403");
        }
        ada.asks("set", &group, off.clone()).await;
        assert_eq!(bob.notice(&off.tag).await.children(), std::slice::from_ref(&off));
        assert!(!shown(&bob.group(&group).await), "{off:?}");
    }
}

#[tokio::test]
async fn only_admins_edit_a_locked_group_and_add_where_it_says_so() {
    let stage = stage().await;
    let group = stage.group(&[ADA, BOB], "pn").await;
    let mut ada = Member::new(&stage, ADA).await;
    let mut bob = Member::new(&stage, BOB).await;
    let subject = || Node::new("subject").bytes("Choir");
    ada.asks("set", &group, Node::new("locked")).await;
    assert_eq!(bob.refused("set", &group, subject()).await, "403");
    ada.asks("set", &group, Node::new("unlocked")).await;
    bob.asks("set", &group, subject()).await;
    let mode = |mode: &'static str| Node::new("member_add_mode").bytes(mode);
    ada.asks("set", &group, mode("admin_add")).await;
    assert_eq!(
        text(
            bob.notice("member_add_mode")
                .await
                .find("member_add_mode")
                .unwrap()
        ),
        "admin_add"
    );
    assert_eq!(
        bob.refused("set", &group, participants("add", &[EVE_JID])).await,
        "403"
    );
    ada.asks("set", &group, mode("all_member_add")).await;
    let added = bob.asks("set", &group, participants("add", &[EVE_JID])).await;
    assert_eq!(listed(added.find("add").unwrap()), [(EVE_JID, None)]);
    // The sandbox's own calls obey the same rights.
    let path = format!("/groups/{group}");
    let (status, body) = stage.patch(&path, json!({"by": BOB, "locked": true})).await;
    assert_eq!((status, body["code"].as_str()), (403, Some("group_forbidden")));
}
