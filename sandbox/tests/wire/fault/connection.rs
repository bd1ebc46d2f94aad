//! Faults of a connection: refused, cut, silent, its frames lost or changed.

use roost_sandbox::server::SandboxConfig;
use roost_sandbox::wire::node::Node;
use serde_json::{Value, json};

use super::{ADA, BOB, stage, strikes};
use crate::client::{Companion, Wire};
use crate::stage::{Stage, eventually};

fn ping(id: &'static str) -> Node {
    Node::new("iq")
        .attr("id", id)
        .attr("to", "s.whatsapp.net")
        .attr("type", "get")
        .attr("xmlns", "w:p")
}

/// The only stanza a client that is refused gets.
async fn refused(stage: &Stage, companion: &Companion) -> Node {
    let mut nodes = companion.connect(stage).await.until_closed().await;
    assert_eq!(nodes.len(), 1, "{nodes:?}");
    nodes.remove(0)
}

#[tokio::test]
async fn refused_logins_get_the_failure_that_was_asked_for() {
    let (stage, ada, wire) = stage().await;
    drop(wire);
    for reason in ["401", "403", "405", "500", "503"] {
        let body = json!({"kind": "refuse_logins", "reason": reason.parse::<u16>().unwrap(), "count": 1});
        stage.fault(body).await;
        let failure = refused(&stage, &ada).await;
        assert_eq!((&*failure.tag, failure.get("reason")), ("failure", Some(reason)));
    }
    ada.connect(&stage).await.expect_tag("success").await;
}

#[tokio::test]
async fn a_temporary_ban_names_its_reason_and_how_long_it_lasts() {
    let (stage, ada, _wire) = stage().await;
    let body = json!({"kind": "temporary_ban", "account": ADA, "code": 101, "expire_s": 3600,
        "message": "too many", "url": "https://example.org/ban"});
    let id = stage.fault(body).await;
    let failure = refused(&stage, &ada).await;
    let names = ["reason", "code", "expire", "message", "url"];
    assert_eq!(
        names.map(|name| failure.get(name).unwrap()),
        ["402", "101", "3600", "too many", "https://example.org/ban"]
    );
    stage.delete(&format!("/faults/{id}")).await;
    ada.connect(&stage).await.expect_tag("success").await;
}

#[tokio::test]
async fn a_fault_for_all_refuses_clients_that_are_not_linked_too() {
    let (stage, ..) = stage().await;
    stage
        .fault(json!({"kind": "refuse_logins", "reason": 405, "account": BOB}))
        .await;
    let wire = &mut Companion::new().register(&stage).await;
    wire.expect(|node| node.find("pair-device").is_some()).await;
    stage.fault(json!({"kind": "refuse_logins", "reason": 405})).await;
    let nodes = Companion::new().register(&stage).await.until_closed().await;
    assert_eq!(nodes[0].get("reason"), Some("405"));
}

#[tokio::test]
async fn a_stream_error_is_said_at_once_at_login_or_at_a_frame() {
    let (stage, ada, mut wire) = stage().await;
    let id = stage.fault(json!({"kind": "stream_error", "code": 503})).await;
    let last = wire.until_closed().await.pop().unwrap();
    assert_eq!((&*last.tag, last.get("code")), ("stream:error", Some("503")));
    assert_eq!(strikes(&stage, &id).await, 1);

    stage
        .fault(json!({"kind": "stream_error", "code": 515, "on": "login", "count": 1}))
        .await;
    let restart = refused(&stage, &ada).await;
    assert_eq!(
        (&*restart.tag, restart.get("code")),
        ("stream:error", Some("515"))
    );

    let body = json!({"kind": "stream_error", "code": 429, "on": "frame", "nth": 2, "count": 1});
    stage.fault(body).await;
    let mut wire = ada.connect(&stage).await;
    wire.expect_tag("success").await;
    wire.send(&ping("p1")).await;
    wire.expect(|node| node.is("id", "p1")).await;
    wire.send(&ping("p2")).await;
    let nodes = wire.until_closed().await;
    assert!(
        nodes.iter().all(|node| !node.is("id", "p2")),
        "the frame is not answered"
    );
    assert_eq!(nodes.last().unwrap().get("code"), Some("429"));
}

#[tokio::test]
async fn a_session_that_was_replaced_is_told_so() {
    let (stage, _ada, mut wire) = stage().await;
    stage
        .fault(json!({"kind": "conflict_replaced", "account": ADA}))
        .await;
    let last = wire.until_closed().await.pop().unwrap();
    assert_eq!(last.tag, "stream:error");
    assert_eq!(last.find("conflict").unwrap().get("type"), Some("replaced"));
}

#[tokio::test]
async fn a_connection_is_dropped_without_a_word_now_at_login_and_after_frames() {
    let (stage, ada, mut wire) = stage().await;
    let id = stage
        .fault(json!({"kind": "drop_connection", "account": ADA, "device": 1}))
        .await;
    assert_eq!(wire.until_closed().await, []);
    let (_, fault) = stage.get(&format!("/faults/{id}")).await;
    assert_eq!((&fault["state"], &fault["strikes"]), (&json!("ended"), &json!(1)));

    stage
        .fault(json!({"kind": "drop_connection", "on": "login", "count": 1}))
        .await;
    assert_eq!(ada.connect(&stage).await.until_closed().await, []);

    let body = json!({"kind": "drop_connection", "on": "frame", "after": 2, "count": 1});
    stage.fault(body).await;
    let mut wire = ada.connect(&stage).await;
    for id in ["p1", "p2"] {
        wire.send(&ping(id)).await;
        wire.expect(|node| node.is("id", id)).await;
    }
    wire.send(&ping("p3")).await;
    let nodes = wire.until_closed().await;
    assert!(nodes.iter().all(|node| !node.is("id", "p3")));
    ada.connect(&stage).await.expect_tag("success").await;
}

/// Nothing comes, not even the pong of the WebSocket.
async fn is_silent(wire: &mut Wire) -> bool {
    let patience = std::time::Duration::from_millis(300);
    // What was on its way when the fault struck still comes.
    wire.settle(patience).await;
    let ping = tokio_tungstenite::tungstenite::Message::Ping(b"there?".as_slice().into());
    wire.send_raw(ping).await;
    tokio::time::timeout(patience, wire.next_message()).await.is_err()
}

#[tokio::test]
async fn a_silent_connection_stays_open_and_goes_on_when_the_fault_is_taken_away() {
    let (stage, _ada, mut wire) = stage().await;
    let id = stage.fault(json!({"kind": "silence", "account": ADA})).await;
    wire.send(&ping("p1")).await;
    assert!(is_silent(&mut wire).await);
    stage.phone_sends(BOB, ADA, "are you there").await;
    assert!(is_silent(&mut wire).await);
    assert_eq!(stage.stat("connected").await, 1);
    stage.delete(&format!("/faults/{id}")).await;
    wire.expect(|node| node.is("id", "p1")).await;
    wire.expect(|node| node.tag == "message").await;
}

#[tokio::test]
async fn another_login_takes_the_place_of_a_silent_one() {
    let (stage, ada, wire) = stage().await;
    drop(wire);
    stage
        .fault(json!({"kind": "silence", "on": "login", "count": 1}))
        .await;
    let mut first = ada.connect(&stage).await;
    assert!(is_silent(&mut first).await);
    let mut second = ada.connect(&stage).await;
    second.expect_tag("success").await;
    assert_eq!(first.until_closed().await, []);
}

#[tokio::test]
async fn a_silence_ends_with_its_duration() {
    let (stage, _ada, mut wire) = stage().await;
    let id = stage.fault(json!({"kind": "silence", "duration_ms": 300})).await;
    wire.send(&ping("p1")).await;
    wire.expect(|node| node.is("id", "p1")).await;
    assert_eq!(strikes(&stage, &id).await, 1);
}

#[tokio::test]
async fn a_connection_is_not_kept_silent_for_ever() {
    let stage = Stage::with(SandboxConfig {
        silence_timeout: std::time::Duration::from_millis(200),
        ..SandboxConfig::default()
    })
    .await;
    stage.account(ADA, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut wire = ada.open(&stage).await;
    stage.fault(json!({"kind": "silence", "on": "frame"})).await;
    wire.send(&ping("p1")).await;
    assert_eq!(wire.until_closed().await, []);
}

#[tokio::test]
async fn the_frame_after_a_lost_one_does_not_decrypt() {
    let (stage, _ada, mut wire) = stage().await;
    stage
        .fault(json!({"kind": "drop_frame", "account": ADA, "count": 1}))
        .await;
    wire.send(&ping("p1")).await;
    wire.send(&ping("p2")).await;
    assert!(wire.try_read().await.unwrap().is_err());
    let events = events(&stage).await;
    assert!(
        events.contains(&("lost".to_owned(), "p1".to_owned())),
        "{events:?}"
    );
    assert!(
        events.contains(&("out".to_owned(), "p2".to_owned())),
        "{events:?}"
    );
}

#[tokio::test]
async fn a_changed_frame_does_not_decrypt() {
    let (stage, _ada, mut wire) = stage().await;
    stage
        .fault(json!({"kind": "corrupt_frame", "account": ADA, "count": 1}))
        .await;
    wire.send(&ping("p1")).await;
    assert!(wire.try_read().await.unwrap().is_err());
    let events = events(&stage).await;
    assert!(
        events.contains(&("corrupted".to_owned(), "p1".to_owned())),
        "{events:?}"
    );
}

/// What happened to which stanza, of Ada's companion.
async fn events(stage: &Stage) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    eventually(|| async {
        let (_, ledger) = stage.get(&format!("/accounts/{ADA}/ledger?device=1")).await;
        let data = ledger["data"].as_array()?;
        Some(
            data.iter()
                .map(|event| (text(&event["event"]), text(&event["id"])))
                .collect(),
        )
    })
    .await
}
