//! Profile pictures.

use roost_sandbox::server::SandboxConfig;
use roost_sandbox::wire::node::Node;
use serde_json::json;

use crate::client::{Companion, Wire};
use crate::group;
use crate::media::{ADA, ADA_JID, BOB, BOB_JID, Host, scene};
use crate::member::Member;
use crate::stage::Stage;

fn jpeg(rest: &[u8]) -> Vec<u8> {
    [&[0xFF, 0xD8, 0xFF, 0xE0], rest].concat()
}

/// A query about the picture of `target`; none is the asker's own.
async fn query(wire: &mut Wire, kind: &'static str, target: Option<&str>, picture: Option<Node>) -> Node {
    let id = format!("picture{}", rand::random::<u32>());
    let query = Node::new("iq")
        .attr("id", id.clone())
        .attr("to", "s.whatsapp.net")
        .attr("type", kind)
        .attr("xmlns", "w:profile:picture")
        .attr_opt("target", target.map(str::to_owned))
        .child_opt(picture);
    wire.send(&query).await;
    wire.expect(|node| node.tag == "iq" && node.is("id", &id)).await
}

fn by_url(kind: &'static str) -> Option<Node> {
    Some(Node::new("picture").attr("type", kind).attr("query", "url"))
}

fn error_code(answer: &Node) -> Option<&str> {
    answer.find("error")?.get("code")
}

async fn news(wire: &mut Wire) -> Node {
    wire.expect(|node| node.tag == "notification" && node.is("type", "picture"))
        .await
}

/// Has the companion hold the device list of another account.
async fn watch(wire: &mut Wire, jid: &'static str) {
    let devices = Node::new("usync")
        .attr("sid", "s1")
        .child(Node::new("query").child(Node::new("devices")))
        .child(Node::new("list").child(Node::new("user").attr("jid", jid)));
    wire.query("get", "usync", devices).await;
}

#[tokio::test]
async fn a_companion_sets_shows_and_removes_the_picture_of_its_account() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    let mut second = Companion::paired(&stage, ADA).await;
    let mut second_wire = second.open(&stage).await;
    let host = Host::of(&stage, &mut wire).await;
    assert_eq!(
        error_code(&query(&mut wire, "get", None, by_url("image")).await),
        Some("404")
    );

    let image = |bytes: Vec<u8>| Some(Node::new("picture").attr("type", "image").bytes(bytes));
    let answer = query(&mut wire, "set", None, image(jpeg(b"first"))).await;
    let first = answer.find("picture").unwrap().get("id").unwrap().to_owned();
    let told = news(&mut second_wire).await;
    assert_eq!(told.get("from"), Some(ADA_JID));
    assert_eq!(told.find("set").unwrap().get("id"), Some(first.as_str()));

    for (kind, target) in [("image", None), ("preview", Some(ADA_JID))] {
        let answer = query(&mut wire, "get", target, by_url(kind)).await;
        let shown = answer.find("picture").unwrap();
        assert_eq!(
            (shown.get("id"), shown.get("type")),
            (Some(first.as_str()), Some(kind))
        );
        let url = shown.get("url").unwrap();
        assert!(url.ends_with(shown.get("direct_path").unwrap()));
        let answer = host.http.get(url).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "image/jpeg");
        assert_eq!(answer.bytes().await.unwrap(), jpeg(b"first"));
    }
    let inline = Some(Node::new("picture").attr("type", "image"));
    let answer = query(&mut wire, "get", None, inline).await;
    assert_eq!(answer.find("picture").unwrap().data(), Some(&*jpeg(b"first")));
    let known = by_url("image").map(|asked| asked.attr("id", first.clone()));
    let answer = query(&mut wire, "get", None, known).await;
    assert_eq!(
        answer.find("picture").unwrap().get("url"),
        None,
        "the asker has it"
    );

    let answer = query(&mut wire, "set", None, image(jpeg(b"second"))).await;
    assert_ne!(answer.find("picture").unwrap().get("id"), Some(first.as_str()));
    news(&mut second_wire).await;
    let answer = query(&mut wire, "set", None, None).await;
    assert!(answer.is("type", "result"));
    assert!(news(&mut second_wire).await.find("delete").is_some());
    assert_eq!(
        error_code(&query(&mut wire, "get", None, by_url("image")).await),
        Some("404")
    );
}

#[tokio::test]
async fn others_see_a_phones_picture_and_are_told_when_it_changes() {
    let stage = Stage::new().await;
    let (_ada, mut wire) = scene(&stage).await;
    watch(&mut wire, BOB_JID).await;
    let host = Host::of(&stage, &mut wire).await;
    let path = format!("/accounts/{BOB}/picture");
    assert_eq!(stage.get(&path).await.1["code"], "media_not_found");
    let (status, set) = stage.put_bytes(&path, jpeg(b"bob")).await;
    assert_eq!(status, 200, "{set}");
    let told = news(&mut wire).await;
    assert_eq!(told.find("set").unwrap().get("id"), set["id"].as_str());
    let shown = query(&mut wire, "get", Some(BOB_JID), by_url("preview")).await;
    let shown = shown
        .find("picture")
        .unwrap()
        .get("direct_path")
        .unwrap()
        .to_owned();
    assert_eq!(host.get(&shown).await.bytes().await.unwrap(), jpeg(b"bob"));
    // An address that expired is replaced by the next query.
    stage.post("/media/expire", json!({"all": true})).await;
    assert_eq!(host.get(&shown).await.status(), 410);
    let again = query(&mut wire, "get", Some(BOB_JID), by_url("image")).await;
    let again = again
        .find("picture")
        .unwrap()
        .get("direct_path")
        .unwrap()
        .to_owned();
    assert_eq!(host.get(&again).await.status(), 200);
    assert_eq!(stage.get_bytes(&path).await, (200, jpeg(b"bob")));
    assert_eq!(
        stage.get(&format!("/accounts/{BOB}")).await.1["picture_id"],
        set["id"]
    );
    assert_eq!(stage.delete(&path).await.0, 204);
    assert!(news(&mut wire).await.find("delete").is_some());
}

#[tokio::test]
async fn pictures_of_others_and_what_is_no_jpeg_are_refused() {
    let stage = Stage::with(SandboxConfig {
        picture_bytes_max: 100,
        ..SandboxConfig::default()
    })
    .await;
    let (_ada, mut wire) = scene(&stage).await;
    let image = |bytes: Vec<u8>| Some(Node::new("picture").attr("type", "image").bytes(bytes));
    for (target, bytes, code) in [
        (Some(BOB_JID), jpeg(b"x"), "403"),
        (Some("15559999999@s.whatsapp.net"), jpeg(b"x"), "404"),
        (Some("120363000000000001@g.us"), jpeg(b"x"), "404"),
        (Some("nobody"), jpeg(b"x"), "404"),
        (None, b"\x89PNG".to_vec(), "406"),
        (None, jpeg(&[0; 100]), "413"),
    ] {
        let answer = query(&mut wire, "set", target, image(bytes)).await;
        assert_eq!(error_code(&answer), Some(code), "{target:?}");
    }
    let path = format!("/accounts/{BOB}/picture");
    for bytes in [b"text".to_vec(), jpeg(&[0; 100]), Vec::new()] {
        let (status, problem) = stage.put_bytes(&path, bytes).await;
        assert_eq!((status, &problem["code"]), (400, &json!("invalid_body")));
    }
}

#[tokio::test]
async fn a_picture_survives_a_kill() {
    let mut stage = Stage::process();
    stage.account(ADA, false).await;
    let path = format!("/accounts/{ADA}/picture");
    let (_, set) = stage.put_bytes(&path, jpeg(b"kept")).await;
    stage.kill();
    stage.restart();
    assert_eq!(stage.get_bytes(&path).await, (200, jpeg(b"kept")));
    assert_eq!(
        stage.get(&format!("/accounts/{ADA}")).await.1["picture_id"],
        set["id"]
    );
    stage.delete(&path).await;
    stage.kill();
    stage.restart();
    assert_eq!(stage.get(&path).await.0, 404);
}

#[tokio::test]
async fn members_set_and_see_the_picture_of_a_group_and_are_told() {
    let mut stage = Stage::process();
    for number in [ADA, BOB, group::EVE] {
        stage.account(number, false).await;
    }
    let mut ada = Member::new(&stage, ADA).await;
    let mut bob = Member::new(&stage, BOB).await;
    let mut eve = Member::new(&stage, group::EVE).await;
    let create = group::participants("create", &[BOB_JID]).attr("subject", "Band");
    let made = ada.asks("set", group::ALL, create).await;
    let jid = format!(
        "{}@g.us",
        made.find("group")
            .unwrap()
            .get("id")
            .unwrap()
            .trim_end_matches("@g.us")
    );
    let image = |bytes: Vec<u8>| Some(Node::new("picture").attr("type", "image").bytes(bytes));

    let answer = query(&mut bob.wire, "set", Some(&jid), image(jpeg(b"band"))).await;
    let set = answer.find("picture").unwrap().get("id").unwrap().to_owned();
    let told = news(&mut ada.wire).await;
    assert_eq!(
        (told.get("from"), told.get("participant")),
        (Some(&*jid), Some(BOB_JID))
    );
    let change = told.find("set").unwrap();
    assert_eq!(
        (change.get("id"), change.get("author")),
        (Some(&*set), Some(BOB_JID))
    );
    let answer = query(&mut eve.wire, "get", Some(&jid), by_url("image")).await;
    assert_eq!(error_code(&answer), Some("401"), "only members see it");
    let answer = query(&mut eve.wire, "set", Some(&jid), image(jpeg(b"x"))).await;
    assert_eq!(error_code(&answer), Some("401"));
    ada.asks("set", &jid, Node::new("locked")).await;
    let answer = query(&mut bob.wire, "set", Some(&jid), image(jpeg(b"x"))).await;
    assert_eq!(
        error_code(&answer),
        Some("403"),
        "only admins edit a locked group"
    );

    stage.kill();
    stage.restart();
    let mut wire = bob.companion.connect(&stage).await;
    let shown = query(&mut wire, "get", Some(&jid), by_url("preview")).await;
    let shown = shown.find("picture").unwrap();
    assert_eq!(shown.get("id"), Some(&*set));
    let host = Host::of(&stage, &mut wire).await;
    let answer = host.get(shown.get("direct_path").unwrap()).await;
    assert_eq!(answer.bytes().await.unwrap(), jpeg(b"band"));
    let mut admin = ada.companion.connect(&stage).await;
    let answer = query(&mut admin, "set", Some(&jid), None).await;
    assert!(answer.is("type", "result"));
    let told = wire
        .expect(|node| node.is("type", "picture") && node.find("delete").is_some())
        .await;
    assert_eq!(told.get("from"), Some(&*jid));
}

#[tokio::test]
async fn a_phone_sets_and_removes_the_picture_of_a_group_and_members_are_told() {
    let mut stage = Stage::process();
    for number in [ADA, BOB, group::EVE] {
        stage.account(number, false).await;
    }
    let mut bob = Member::new(&stage, BOB).await;
    let jid = stage.group(&[ADA, BOB], "pn").await;
    let path = format!("/groups/{jid}/picture");
    assert_eq!(stage.get(&path).await.1["code"], "media_not_found");
    let (status, set) = stage.put_bytes(&path, jpeg(b"band")).await;
    assert_eq!(status, 200, "{set}");
    let told = news(&mut bob.wire).await;
    assert_eq!(
        (told.get("from"), told.get("participant")),
        (Some(&*jid), Some(ADA_JID))
    );
    let change = told.find("set").unwrap();
    assert_eq!(change.get("id"), set["id"].as_str());
    assert_eq!(
        (change.get("jid"), change.get("author")),
        (Some(&*jid), Some(ADA_JID))
    );
    assert_eq!(
        stage.get(&format!("/groups/{jid}")).await.1["picture_id"],
        set["id"]
    );

    // The rights are those of the wire.
    let (status, problem) = stage
        .put_bytes(&format!("{path}?by={}", group::EVE), jpeg(b"x"))
        .await;
    assert_eq!((status, &problem["code"]), (403, &json!("group_forbidden")));
    let (status, problem) = stage.put_bytes(&path, b"text".to_vec()).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_body")));
    let (status, problem) = stage.put_bytes("/groups/1@g.us/picture", jpeg(b"x")).await;
    assert_eq!((status, &problem["code"]), (404, &json!("group_not_found")));
    let (status, _) = stage
        .patch(&format!("/groups/{jid}"), json!({"locked": true}))
        .await;
    assert_eq!(status, 200);
    let (status, problem) = stage.delete(&format!("{path}?by={BOB}")).await;
    assert_eq!((status, &problem["code"]), (403, &json!("group_forbidden")));

    stage.kill();
    stage.restart();
    assert_eq!(stage.get_bytes(&path).await, (200, jpeg(b"band")));
    let mut wire = bob.companion.connect(&stage).await;
    assert_eq!(stage.delete(&path).await.0, 204);
    let told = wire
        .expect(|node| node.is("type", "picture") && node.find("delete").is_some())
        .await;
    assert_eq!(told.get("from"), Some(&*jid));
    assert_eq!(stage.get(&path).await.0, 404);
    assert_eq!(
        stage.delete(&path).await.0,
        204,
        "there is nothing left to remove"
    );
}
