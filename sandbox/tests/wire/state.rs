//! Keys, device lists, app state and presence.

use roost_sandbox::signal::proto::{ProtoMessage, SyncdPatchVersion};
use roost_sandbox::wire::node::Node;

use crate::client::{Companion, fetch};
use crate::stage::Stage;

const ADA: &str = "15550000001";
const BOB: &str = "15550000002";
const BOB_JID: &str = "15550000002@s.whatsapp.net";

async fn stage() -> Stage {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    stage
}

fn usync(protocols: &[&'static str], users: Vec<Node>) -> Node {
    let protocols = protocols.iter().map(|name| Node::new(*name)).collect();
    Node::new("usync")
        .attr("sid", "s1")
        .attr("mode", "query")
        .child(Node::new("query").with_children(protocols))
        .child(Node::new("list").with_children(users))
}

fn user(jid: &str) -> Node {
    Node::new("user").attr("jid", jid.to_owned())
}

#[tokio::test]
async fn one_time_keys_are_handed_out_once_and_then_left_out() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_bob = bob.open(&stage).await;
    let mut wire = ada.open(&stage).await;
    let jid = bob.jid.to_string();
    let mut ids = Vec::new();
    while let Some(prekey) = fetch(&mut wire, &jid).await.unwrap().prekey {
        ids.push(prekey.id);
    }
    ids.dedup();
    // Of the twenty uploaded keys Bob's phone took one when it greeted the companion.
    assert_eq!(ids.len(), 19);
    let low = at_bob.expect(|node| node.is("type", "encrypt")).await;
    assert_eq!(low.find("count").unwrap().get("value"), Some("5"));
    let count = at_bob.query("get", "encrypt", Node::new("count")).await;
    assert_eq!(count.find("count").unwrap().get("value"), Some("0"));
    assert!(fetch(&mut wire, "15559999999@s.whatsapp.net").await.is_none());
    assert!(fetch(&mut wire, "15550000002:9@s.whatsapp.net").await.is_none());
}

#[tokio::test]
async fn keys_of_another_identity_are_refused() {
    let stage = stage().await;
    let ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.connect(&stage).await;
    let children = vec![
        Node::new("registration").bytes(vec![0, 0, 0, 1]),
        Node::new("type").bytes(vec![5]),
        Node::new("identity").bytes(vec![9; 32]),
        Node::new("list"),
        Node::new("skey"),
    ];
    let answer = wire.query_all("set", "encrypt", children).await;
    assert!(answer.find("error").unwrap().is("code", "406"));
}

#[tokio::test]
async fn device_lists_are_the_same_under_both_addresses() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    Companion::paired(&stage, BOB).await;
    let mut wire = ada.open(&stage).await;
    let contact = Node::new("user").child(Node::new("contact").bytes(format!("+{BOB}")));
    let answer = wire
        .query("get", "usync", usync(&["contact", "lid"], vec![contact]))
        .await;
    let found = answer.find("usync").unwrap().find("list").unwrap().children()[0].clone();
    assert_eq!(found.get("jid"), Some(BOB_JID));
    assert!(found.find("contact").unwrap().is("type", "in"));
    let lid = found.find("lid").unwrap().get("val").unwrap().to_owned();

    let answer = wire
        .query(
            "get",
            "usync",
            usync(&["devices"], vec![user(BOB_JID), user(&lid)]),
        )
        .await;
    let users = answer
        .find("usync")
        .unwrap()
        .find("list")
        .unwrap()
        .children()
        .to_vec();
    assert_eq!(
        [users[0].get("jid"), users[1].get("jid")],
        [Some(BOB_JID), Some(lid.as_str())]
    );
    for user in &users {
        let devices = user.find("devices").unwrap();
        let ids: Vec<_> = devices
            .find("device-list")
            .unwrap()
            .children()
            .iter()
            .map(|d| d.get("id"))
            .collect();
        assert_eq!(ids, [Some("0"), Some("1")]);
        assert!(devices.find("key-index-list").is_some());
    }
    let nobody = Node::new("user").child(Node::new("contact").bytes("+15559999999"));
    let answer = wire
        .query("get", "usync", usync(&["contact"], vec![nobody]))
        .await;
    let missing = &answer.find("usync").unwrap().find("list").unwrap().children()[0];
    assert!(missing.find("contact").unwrap().is("type", "out"));
}

#[tokio::test]
async fn who_asked_for_a_device_list_hears_of_new_companions() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    wire.query("get", "usync", usync(&["devices"], vec![user(BOB_JID)]))
        .await;
    let bob = Companion::paired(&stage, BOB).await;
    let news = wire
        .expect(|node| node.tag == "notification" && node.is("type", "devices"))
        .await;
    let added = news.find("add").unwrap();
    assert_eq!(
        added.find("device").unwrap().get("jid"),
        Some(bob.jid.to_string().as_str())
    );
}

fn sync(name: &str, version: u64, patch: Option<&[u8]>) -> Node {
    let collection = Node::new("collection")
        .attr("name", name.to_owned())
        .attr("version", version.to_string());
    let patch = patch.map(|patch| Node::new("patch").bytes(patch.to_vec()));
    Node::new("sync").child(collection.child_opt(patch))
}

#[tokio::test]
async fn app_state_patches_are_versioned_and_conflicts_are_answered_with_what_is_missing() {
    let stage = stage().await;
    let mut first = Companion::paired(&stage, ADA).await;
    let mut second = Companion::paired(&stage, ADA).await;
    let mut at_first = first.open(&stage).await;
    let mut at_second = second.open(&stage).await;
    // An opaque patch: field 9 with one byte.
    let patch = [0x4A, 1, 7];
    let answer = at_first
        .query("set", "w:sync:app:state", sync("regular", 0, Some(&patch)))
        .await;
    let collection = answer.find("sync").unwrap().find("collection").unwrap();
    assert_eq!(
        (collection.get("version"), collection.get("type")),
        (Some("1"), None)
    );
    let news = at_second.expect(|node| node.is("type", "server_sync")).await;
    assert_eq!(news.find("collection").unwrap().get("version"), Some("1"));

    let answer = at_second
        .query("set", "w:sync:app:state", sync("regular", 0, Some(&patch)))
        .await;
    let collection = answer.find("sync").unwrap().find("collection").unwrap();
    assert!(collection.find("error").unwrap().is("code", "409"));
    let missing = collection.find("patches").unwrap().children()[0].data().unwrap();
    assert!(missing.starts_with(&patch));
    assert_eq!(
        SyncdPatchVersion::decode(missing).unwrap(),
        SyncdPatchVersion::of(1)
    );
    let answer = at_second
        .query("set", "w:sync:app:state", sync("regular", 1, None))
        .await;
    let collection = answer.find("sync").unwrap().find("collection").unwrap();
    assert_eq!(
        (collection.get("version"), collection.children().len()),
        (Some("1"), 0)
    );
}

#[tokio::test]
async fn presence_and_typing_reach_those_who_are_online() {
    let stage = stage().await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut bob = Companion::paired(&stage, BOB).await;
    let mut at_ada = ada.open(&stage).await;
    let mut at_bob = bob.open(&stage).await;
    at_ada
        .send(
            &Node::new("presence")
                .attr("type", "subscribe")
                .attr("to", BOB_JID),
        )
        .await;
    assert!(at_ada.expect_tag("presence").await.is("type", "unavailable"));
    at_bob
        .send(
            &Node::new("presence")
                .attr("type", "available")
                .attr("name", "Bob"),
        )
        .await;
    assert_eq!(at_ada.expect_tag("presence").await.get("type"), None);
    let typing = Node::new("chatstate")
        .attr("to", format!("{ADA}@s.whatsapp.net"))
        .child(Node::new("composing"));
    at_bob.send(&typing).await;
    let typing = at_ada.expect_tag("chatstate").await;
    assert!(typing.is("from", BOB_JID) && typing.find("composing").is_some());
    drop(at_bob);
    assert!(at_ada.expect_tag("presence").await.is("type", "unavailable"));
}

#[tokio::test]
async fn common_queries_are_answered() {
    let stage = stage().await;
    let ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.connect(&stage).await;
    for (kind, namespace, child, answer) in [
        ("get", "w:p", "ping", None),
        ("get", "abt", "props", Some("props")),
        ("get", "blocklist", "list", Some("list")),
        ("get", "privacy", "privacy", Some("privacy")),
        ("set", "w:m", "media_conn", Some("media_conn")),
        ("get", "encrypt", "digest", Some("digest")),
        ("get", "nobody:knows", "this", None),
    ] {
        let result = wire.query(kind, namespace, Node::new(child)).await;
        assert!(result.is("type", "result"), "{namespace}");
        assert!(answer.is_none_or(|tag| result.find(tag).is_some()), "{namespace}");
    }
    let picture = wire.query("get", "w:profile:picture", Node::new("picture")).await;
    assert!(picture.find("error").unwrap().is("code", "404"));
    assert_eq!(stage.stat("unknown_queries").await, 1);
}
