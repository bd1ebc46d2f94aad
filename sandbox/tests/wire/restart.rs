//! The program killed with SIGKILL and started again.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use roost_sandbox::server::{PersistError, Sandbox, SandboxConfig, SandboxError};
use roost_sandbox::wire::node::Node;
use serde_json::{Value, json};

use crate::client::Companion;
use crate::stage::{DEADLINE, Stage, eventually};
use crate::traffic::{Writer, phone_writes};

const ADA: &str = "15550000001";
const BOB: &str = "15550000002";
const ECHO: &str = "15550000003";
const ADA_JID: &str = "15550000001@s.whatsapp.net";
const BOB_JID: &str = "15550000002@s.whatsapp.net";
const ECHO_JID: &str = "15550000003@s.whatsapp.net";
/// How often the program is killed under traffic.
const KILLS: usize = 12;

fn is_text(node: &Node) -> bool {
    node.tag == "message" && !node.is("category", "peer")
}

#[tokio::test]
async fn a_companion_that_was_linked_a_moment_ago_logs_in() {
    let mut stage = Stage::process();
    stage.account(ADA, true).await;
    let (_, before) = stage.get("/accounts").await;
    let mut ada = Companion::paired(&stage, ADA).await;
    stage.kill();
    stage.restart();
    let (_, account) = stage.get(&format!("/accounts/{ADA}")).await;
    assert_eq!(
        (&account["echo"], &account["lid"]),
        (&json!(true), &before["data"][0]["lid"])
    );
    assert_eq!(account["devices"][0]["id"], 1);
    // The phone sends it what a new companion needs, as if nothing had happened.
    drop(ada.open(&stage).await);
    stage.kill();
    stage.restart();
    let mut wire = ada.connect(&stage).await;
    let count = wire.query("get", "encrypt", Node::new("count")).await;
    assert_eq!(count.find("count").unwrap().get("value"), Some("19"));
    assert_eq!(Companion::paired(&stage, ADA).await.jid.device, 2);
}

#[tokio::test]
async fn what_was_on_its_way_arrives_and_the_ratchets_go_on() {
    let mut stage = Stage::process();
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let message = ada
        .message(&mut wire, BOB_JID, &[BOB_JID, ADA_JID], "M1", "first")
        .await;
    wire.send(&message).await;
    wire.expect_ack("M1").await;
    let first = stage.phone_sends(BOB, ADA, "before").await;
    let before = wire.expect(is_text).await;
    assert_eq!(ada.read(&before).text(), Some("before"));
    ada.receipt(&mut wire, &before, None).await;
    drop(wire);
    eventually(|| async { (stage.stat("connected").await == 0).then_some(()) }).await;
    stage.phone_sends(BOB, ADA, "waiting").await;
    stage.kill();
    stage.restart();

    let mut wire = ada.connect(&stage).await;
    let waiting = wire.expect(is_text).await;
    assert_eq!(ada.read(&waiting).text(), Some("waiting"));
    ada.receipt(&mut wire, &waiting, None).await;
    let message = ada
        .message(&mut wire, BOB_JID, &[BOB_JID, ADA_JID], "M2", "second")
        .await;
    wire.send(&message).await;
    wire.expect_ack("M2").await;
    let received = stage.phone_has(BOB, 2).await;
    assert_eq!(
        [&received[0]["text"], &received[1]["text"]],
        [&json!("first"), &json!("second")]
    );
    assert_eq!(
        [&received[0]["number"], &received[1]["number"]],
        [&json!(1), &json!(2)]
    );
    // What the phone sent before can still be asked for.
    let request = Node::new("receipt")
        .attr("id", first.clone())
        .attr("to", BOB_JID)
        .attr("type", "retry")
        .child(Node::new("retry").attr("count", "1").attr("id", first.clone()));
    wire.send(&request).await;
    let again = wire.expect(|node| is_text(node) && node.is("id", &first)).await;
    assert_eq!(ada.read(&again).text(), Some("before"));
}

#[tokio::test]
async fn app_state_and_who_is_told_of_new_companions_are_kept() {
    let mut stage = Stage::process();
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let sync = |version: &'static str| {
        let collection = Node::new("collection")
            .attr("name", "regular")
            .attr("version", version);
        let patch = Node::new("patch").bytes(vec![0x4A, 1, 7]);
        Node::new("sync").child(collection.child(patch))
    };
    wire.query("set", "w:sync:app:state", sync("0")).await;
    let devices = Node::new("usync")
        .attr("sid", "s1")
        .child(Node::new("query").child(Node::new("devices")))
        .child(Node::new("list").child(Node::new("user").attr("jid", BOB_JID)));
    wire.query("get", "usync", devices).await;
    stage.kill();
    stage.restart();
    let mut wire = ada.connect(&stage).await;
    let answer = wire.query("set", "w:sync:app:state", sync("1")).await;
    let collection = answer.find("sync").unwrap().find("collection").unwrap();
    assert_eq!(
        (collection.get("version"), collection.get("type")),
        (Some("2"), None)
    );
    Companion::paired(&stage, BOB).await;
    let news = wire
        .expect(|node| node.tag == "notification" && node.is("type", "devices"))
        .await;
    assert!(news.find("add").is_some());
}

#[tokio::test]
async fn a_companion_that_was_unlinked_stays_unlinked() {
    let mut stage = Stage::process();
    stage.account(ADA, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    let remove = Node::new("remove-companion-device").attr("jid", ada.jid.to_string());
    wire.query("set", "md", remove).await;
    stage.kill();
    stage.restart();
    let mut wire = ada.connect(&stage).await;
    assert!(wire.expect_tag("failure").await.is("reason", "401"));
    // Nothing of it is left to the next one.
    let mut next = Companion::paired(&stage, ADA).await;
    assert_eq!(next.jid.device, 2);
    drop(next.open(&stage).await);
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_and_nothing_happens_twice_under_random_kills() {
    let mut stage = Stage::process();
    stage.account(ADA, false).await;
    stage.account(BOB, false).await;
    stage.account(ECHO, true).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    for (peer, id) in [(BOB_JID, "M1"), (ECHO_JID, "M2")] {
        let message = ada.message(&mut wire, peer, &[peer, ADA_JID], id, "hello").await;
        wire.send(&message).await;
        wire.expect_ack(id).await;
    }
    drop(wire);
    let mut writer = Writer::new(ada, ADA, [BOB, ECHO]);
    let answered = Mutex::new(BTreeMap::new());
    let progress = AtomicUsize::new(0);
    for _ in 0..KILLS {
        let enough = progress.load(Ordering::Relaxed) + rand::random_range(1..120);
        let kill = async {
            eventually(|| async { (progress.load(Ordering::Relaxed) >= enough).then_some(()) }).await;
            stage.kill();
        };
        tokio::join!(
            writer.run(&stage, &progress, true, |_| false),
            phone_writes(&stage, BOB, ADA, &answered),
            kill,
        );
        stage.restart();
    }
    let answered = answered.into_inner().unwrap();
    assert!(!answered.is_empty() && !writer.acknowledged.is_empty());

    let has_all = |writer: &Writer| {
        answered
            .iter()
            .all(|(id, text)| writer.read.get(id) == Some(text))
            && writer.acknowledged.iter().all(|(id, (peer, text))| {
                let is_echoed = || writer.read.values().any(|read| read == text);
                writer.delivered.contains(id) && (peer == BOB || is_echoed())
            })
    };
    let run = writer.run(&stage, &progress, false, has_all);
    let ended = tokio::time::timeout(DEADLINE, run).await;
    assert_eq!(ended.ok().flatten(), Some(()), "everything acknowledged arrives");

    for (number, peer) in [(BOB, BOB), (ECHO, ECHO)] {
        let received = stage.phone_has(number, 1).await;
        let ids: Vec<_> = received
            .iter()
            .map(|message| message["whatsapp_id"].as_str().unwrap())
            .collect();
        for (id, (_, text)) in writer
            .acknowledged
            .iter()
            .filter(|(_, message)| message.0 == peer)
        {
            let copies: Vec<&Value> = received
                .iter()
                .filter(|message| message["whatsapp_id"] == **id)
                .collect();
            assert_eq!(copies.len(), 1, "{id} in {ids:?}");
            assert_eq!(copies[0]["text"], **text);
        }
    }
    for (_, text) in writer.acknowledged.values().filter(|message| message.0 == ECHO) {
        assert_eq!(
            writer.read.values().filter(|read| *read == text).count(),
            1,
            "one echo of {text}"
        );
    }
}

#[tokio::test]
async fn a_data_folder_serves_one_sandbox_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = || SandboxConfig {
        data_dir: Some(folder.path().to_owned()),
        ..SandboxConfig::default()
    };
    let first = Stage::with(config()).await;
    first.account(ADA, false).await;
    let second = Sandbox::start(config()).await.err();
    assert!(
        matches!(second, Some(SandboxError::State(PersistError::InUse { .. }))),
        "{second:?}"
    );
    first.shutdown().await;
    let second = Stage::with(config()).await;
    assert_eq!(second.stat("accounts").await, 1);
}
