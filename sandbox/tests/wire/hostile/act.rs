//! Well-formed stanzas that ask for what their sender has no right to, or for too much.

use roost_sandbox::signal::KeyPair;
use roost_sandbox::wire::node::Node;

use super::pair::{ADA_JID, BOB_JID, Pair};
use crate::bundle::key_node;
use crate::client::{Companion, Wire};
use crate::stage::{Stage, eventually};

const EVE: &str = "15550000003";
const EVE_JID: &str = "15550000003@s.whatsapp.net";
const MAL: &str = "15550000004";
const MAL_JID: &str = "15550000004@s.whatsapp.net";

/// A pair that talks, and a companion that is up to something.
async fn stage() -> (Stage, Pair, Companion, Wire) {
    let stage = Stage::new().await;
    let pair = Pair::start(&stage).await;
    stage.account(EVE, false).await;
    stage.account(MAL, false).await;
    let mut eve = Companion::paired(&stage, EVE).await;
    let wire = eve.open(&stage).await;
    (stage, pair, eve, wire)
}

fn copy(jid: &str) -> Node {
    let enc = Node::new("enc")
        .attr("v", "2")
        .attr("type", "msg")
        .bytes(vec![1; 40]);
    Node::new("to").attr("jid", jid.to_owned()).child(enc)
}

fn message(to: &str, id: &str, copies: Vec<Node>) -> Node {
    Node::new("message")
        .attr("to", to.to_owned())
        .attr("id", id.to_owned())
        .attr("type", "text")
        .child(Node::new("participants").with_children(copies))
}

#[tokio::test]
async fn messages_to_nobody_and_to_everybody_are_refused() {
    let (stage, pair, _, mut wire) = stage().await;
    let crowd = (0..5_000).map(|number| copy(&format!("1555{number:07}@s.whatsapp.net")));
    let refused = [
        (
            "15559999999@s.whatsapp.net",
            vec![copy("15559999999@s.whatsapp.net")],
            "404",
        ),
        (BOB_JID, crowd.collect(), "400"),
        (BOB_JID, vec![copy(BOB_JID); 200], "400"),
        (BOB_JID, vec![copy(ADA_JID)], "400"),
        (BOB_JID, vec![copy("@")], "400"),
        ("15550000002:99@s.whatsapp.net@lid", vec![copy(BOB_JID)], "400"),
    ];
    for (number, (to, copies, error)) in refused.into_iter().enumerate() {
        let id = format!("E{number}");
        wire.send(&message(to, &id, copies)).await;
        assert_eq!(wire.expect_ack(&id).await.get("error"), Some(error), "{number}");
    }
    let long = "9".repeat(200_000);
    wire.send(&message(BOB_JID, &long, vec![copy(BOB_JID)])).await;
    let ack = wire
        .expect(|node| node.tag == "ack" && node.is("class", "message"))
        .await;
    assert_eq!(ack.get("error"), Some("400"));
    assert_eq!(stage.stat("messages_refused").await, 7);
    pair.finish().await;
}

#[tokio::test]
async fn a_forged_sender_is_not_believed() {
    let (stage, pair, mut eve, mut wire) = stage().await;
    let mut mal = Companion::paired(&stage, MAL).await;
    let mut at_mal = mal.open(&stage).await;
    let message = eve.message(
        &mut wire,
        MAL_JID,
        &[MAL_JID, "15550000004:1@s.whatsapp.net", EVE_JID],
        "F1",
        "hi",
    );
    let mut forged = message.await;
    for (key, value) in [
        ("from", ADA_JID),
        ("participant", ADA_JID),
        ("notify", "Ada"),
        ("sender_lid", "1@lid"),
    ] {
        forged = forged.attr(key, value);
    }
    wire.send(&forged).await;
    assert_eq!(wire.expect_ack("F1").await.get("error"), None);
    let received = at_mal.expect(|node| node.is("id", "F1")).await;
    assert_eq!(received.get("from"), Some("15550000003:1@s.whatsapp.net"));
    assert_ne!(received.get("sender_lid"), Some("1@lid"));
    assert_ne!(received.get("participant"), Some(ADA_JID));
    assert_eq!(stage.phone_has(MAL, 1).await[0]["from"], EVE);
    pair.finish().await;
}

#[tokio::test]
async fn a_receipt_for_anothers_message_settles_nothing_of_theirs() {
    let (stage, pair, mut eve, mut wire) = stage().await;
    let mut mal = Companion::paired(&stage, MAL).await;
    drop(mal.open(&stage).await);
    // The pair's two and Eve.
    eventually(|| async { (stage.stat("connected").await == 3).then_some(()) }).await;
    let devices = [MAL_JID, "15550000004:1@s.whatsapp.net", EVE_JID];
    let sent = eve.message(&mut wire, MAL_JID, &devices, "R1", "for Mal").await;
    wire.send(&sent).await;
    wire.expect_ack("R1").await;
    // Eve says for herself what only Mal could say, and acknowledges what is not hers.
    for to in [
        MAL_JID,
        EVE_JID,
        "15550000003:1@s.whatsapp.net",
        "nowhere",
        "@lid",
    ] {
        let receipt = Node::new("receipt")
            .attr("id", "R1")
            .attr("to", to)
            .attr("from", MAL_JID);
        wire.send(&receipt).await;
        wire.expect(|node| node.tag == "ack" && node.is("class", "receipt"))
            .await;
        let ack = Node::new("ack")
            .attr("class", "message")
            .attr("id", "R1")
            .attr("to", to);
        wire.send(&ack).await;
    }
    let mut items = Node::new("list");
    for number in 0..20_000 {
        items = items.child(Node::new("item").attr("id", format!("I{number}")));
    }
    let flood = Node::new("receipt")
        .attr("id", "R2")
        .attr("to", MAL_JID)
        .attr("type", "read")
        .child(items);
    wire.send(&flood).await;
    wire.expect(|node| node.tag == "ack" && node.is("id", "R2")).await;
    let mut at_mal = mal.connect(&stage).await;
    let received = at_mal
        .expect(|node| node.is("id", "R1") && node.tag == "message")
        .await;
    assert_eq!(mal.read(&received).text(), Some("for Mal"));
    pair.finish().await;
}

#[tokio::test]
async fn prekeys_that_are_unsigned_repeated_or_too_many_are_not_taken() {
    let (stage, pair, mut eve, mut wire) = stage().await;
    let own = *eve.signal.identity().public();
    let key = |id| key_node("key", id, &[7; 32], None);
    let stranger = KeyPair::generate();
    let wrong = key_node(
        "skey",
        1,
        stranger.public(),
        Some(&stranger.sign(b"something else")),
    );
    let upload = |keys: Vec<Node>, skey: Node, eve: &Companion| {
        vec![
            Node::new("registration").bytes(eve.signal.registration_id().to_be_bytes().to_vec()),
            Node::new("type").bytes(vec![5]),
            Node::new("identity").bytes(own.to_vec()),
            Node::new("list").with_children(keys),
            skey,
        ]
    };
    let answer = wire
        .query_all("set", "encrypt", upload(vec![key(900)], wrong.clone(), &eve))
        .await;
    assert!(answer.find("error").unwrap().is("code", "406"));
    let rotate = Node::new("rotate").child(wrong);
    let answer = wire.query("set", "encrypt", rotate).await;
    assert!(answer.find("error").unwrap().is("code", "406"));

    let signed = eve.signal.fresh_bundle().signed_prekey;
    let skey = || key_node("skey", signed.id, &signed.public, Some(&signed.signature));
    let before = stored(&mut wire).await;
    let twice = vec![key(901), key(901), key(901)];
    assert!(
        wire.query_all("set", "encrypt", upload(twice, skey(), &eve))
            .await
            .is("type", "result")
    );
    assert_eq!(stored(&mut wire).await, before + 1);
    let flood = (10_000..15_000).map(key).collect();
    let answer = wire
        .query_all("set", "encrypt", upload(flood, skey(), &eve))
        .await;
    assert!(answer.find("error").unwrap().is("code", "406"));
    for round in 1..4_u32 {
        let keys = (0..1_500).map(|number| key(round * 10_000 + number)).collect();
        wire.query_all("set", "encrypt", upload(keys, skey(), &eve)).await;
    }
    assert_eq!(stored(&mut wire).await, 2_000);
    pair.finish().await;
    drop(stage);
}

/// How many one-time keys the server holds.
async fn stored(wire: &mut Wire) -> usize {
    let answer = wire.query("get", "encrypt", Node::new("count")).await;
    answer
        .find("count")
        .unwrap()
        .get("value")
        .unwrap()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn questions_about_everybody_at_once_are_refused() {
    let (_stage, pair, _, mut wire) = stage().await;
    let users = |count: usize| {
        let users =
            (0..count).map(|number| Node::new("user").attr("jid", format!("1{number:010}@s.whatsapp.net")));
        Node::new("list").with_children(users.collect())
    };
    let usync = |protocols: usize, count: usize| {
        let protocols = (0..protocols).map(|number| Node::new(format!("p{number}")));
        Node::new("usync")
            .attr("sid", "s")
            .child(Node::new("query").with_children(protocols.collect()))
            .child(users(count))
    };
    for (protocols, count) in [(20_000, 4_000), (1, 10_000), (0, 1)] {
        let answer = wire.query("get", "usync", usync(protocols, count)).await;
        assert!(
            answer.find("error").unwrap().is("code", "400"),
            "{protocols} × {count}"
        );
    }
    let mut key = Node::new("key");
    for number in 0..10_000 {
        key = key.child(Node::new("user").attr("jid", format!("1{number:010}@s.whatsapp.net")));
    }
    let answer = wire.query("get", "encrypt", key).await;
    assert!(answer.find("error").unwrap().is("code", "400"));
    pair.finish().await;
}

#[tokio::test]
async fn app_state_that_is_no_patch_or_too_much_is_refused() {
    let (_stage, pair, _, mut wire) = stage().await;
    let collection = |name: String, patch: Vec<u8>| {
        Node::new("collection")
            .attr("name", name)
            .attr("version", "0")
            .child(Node::new("patch").bytes(patch))
    };
    let sync = |collections: Vec<Node>| Node::new("sync").with_children(collections);
    let garbage = sync(vec![collection("regular".to_owned(), vec![0xFF; 900_000])]);
    let answer = wire.query("set", "w:sync:app:state", garbage).await;
    let refused = &answer.find("sync").unwrap().children()[0];
    assert!(refused.find("error").is_some(), "{:?}", refused.attrs);
    let many = (0..5_000).map(|number| collection(format!("c{number}"), vec![]));
    let answer = wire.query("set", "w:sync:app:state", sync(many.collect())).await;
    assert!(answer.find("error").unwrap().is("code", "400"));
    let long = sync(vec![collection("n".repeat(100_000), vec![])]);
    let answer = wire.query("set", "w:sync:app:state", long).await;
    assert!(answer.find("sync").unwrap().children()[0].find("error").is_some());
    pair.finish().await;
}
