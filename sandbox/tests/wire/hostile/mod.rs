//! Clients that do not behave: each ends alone, with an error or a clean close.

mod act;
mod opening;
mod pair;
mod raw;
mod stanza;
mod websocket;

use std::time::Duration;

use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use roost_sandbox::server::SandboxConfig;
use roost_sandbox::signal::KeyPair;
use roost_sandbox::wire::frame::{client_header, write_frame};
use roost_sandbox::wire::node::Node;
use roost_sandbox::wire::noise::{Hello, Initiator};
use roost_sandbox::wire::proto::ClientPayload;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::client::{Companion, WebSocket, Wire, websocket};
use crate::stage::{DEADLINE, Stage, eventually};

const ADA: &str = "15550000001";

/// The code of the close frame the server ends with.
async fn close_code(socket: &mut WebSocket) -> Option<CloseCode> {
    let waiting = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    };
    tokio::time::timeout(DEADLINE, waiting)
        .await
        .expect("the server closes before the deadline")
}

#[tokio::test]
async fn broken_openings_are_closed_and_others_go_on() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    let mut bystander = ada.open(&stage).await;
    let hello = |version| {
        let mut out = BytesMut::from(&client_header(version)[..]);
        write_frame(
            &mut out,
            Initiator::new(&client_header(version), Hello::Xx).hello(),
        )
        .unwrap();
        out
    };
    let mut too_long = BytesMut::from(&client_header(3)[..]);
    too_long.extend_from_slice(&[0xFF, 0xFF, 0xFF]);
    let mut garbage = BytesMut::from(&client_header(3)[..]);
    write_frame(&mut garbage, &[0xFF; 100]).unwrap();
    let mut bad_finish = hello(3);
    write_frame(&mut bad_finish, &[0x22, 4, 0x0A, 2, 1, 1]).unwrap();
    let openings = [
        ("no header", BytesMut::from(&b"GET / HTTP/1.1"[..])),
        ("dictionary version 2", hello(2)),
        ("frame over the limit", too_long),
        ("no protobuf", garbage),
        ("finish that does not decrypt", bad_finish),
    ];
    for (what, bytes) in openings {
        let mut socket = websocket(&stage).await;
        socket.send(bytes.freeze().into()).await.unwrap();
        assert_eq!(close_code(&mut socket).await, Some(CloseCode::Protocol), "{what}");
    }
    let mut socket = websocket(&stage).await;
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Protocol));
    assert!(
        bystander
            .query("get", "w:p", Node::new("ping"))
            .await
            .is("type", "result")
    );
    assert_eq!(stage.stat("handshakes_failed").await, 6);
}

#[tokio::test]
async fn a_client_that_never_finishes_the_handshake_is_closed() {
    let config = SandboxConfig {
        handshake_timeout: Duration::from_millis(100),
        ..SandboxConfig::default()
    };
    let stage = Stage::with(config).await;
    let mut socket = websocket(&stage).await;
    assert_eq!(close_code(&mut socket).await, Some(CloseCode::Protocol));
}

#[tokio::test]
async fn a_silent_client_is_closed() {
    let config = SandboxConfig {
        idle_timeout: Duration::from_millis(200),
        ..SandboxConfig::default()
    };
    let stage = Stage::with(config).await;
    let companion = Companion::new();
    let mut wire = companion.register(&stage).await;
    wire.until_closed().await;
}

#[tokio::test]
async fn malformed_registrations_are_closed() {
    let stage = Stage::new().await;
    let companion = Companion::new();
    let mut payloads = vec![ClientPayload::default()];
    let mut short = companion.pairing_data();
    short.e_ident = Some(vec![1; 31]);
    let mut unsigned = companion.pairing_data();
    unsigned.e_skey_sig = Some(vec![0; 64]);
    for data in [short, unsigned] {
        payloads.push(ClientPayload {
            device_pairing_data: Some(data),
            ..Default::default()
        });
    }
    for payload in payloads {
        let mut wire = Wire::open(&stage, &KeyPair::generate(), &payload, Hello::Xx).await;
        assert!(wire.until_closed().await.is_empty());
    }
    assert_eq!(stage.stat("protocol_errors").await, 3);
}

#[tokio::test]
async fn a_malformed_stanza_gets_a_stream_error_and_a_close() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let companion = Companion::paired(&stage, ADA).await;
    for plain in [
        &[0, 0xF8, 200, 1][..],
        &[2, 1, 2, 3],
        &[0],
        &[0, 0xF8, 2, 25, 0xFE, 0xFF, 0xFF, 0xFF, 0xFF],
    ] {
        let mut wire = companion.connect(&stage).await;
        wire.expect_tag("success").await;
        wire.send_plain(plain).await;
        let last = wire.until_closed().await;
        assert!(last.iter().any(|node| node.tag == "stream:error"), "{plain:?}");
    }
    let mut wire = companion.connect(&stage).await;
    wire.send(&Node::new("iq").attr("type", "get").attr("xmlns", "w:p"))
        .await;
    let last = wire.until_closed().await;
    assert!(
        last.iter().any(|node| node.tag == "stream:error"),
        "a query without an id cannot be answered"
    );
}

#[tokio::test]
async fn a_frame_that_does_not_decrypt_ends_the_connection() {
    let stage = Stage::new().await;
    let companion = Companion::new();
    let mut wire = companion.register(&stage).await;
    let mut out = BytesMut::new();
    write_frame(&mut out, &[0x77; 64]).unwrap();
    wire.send_raw(out.freeze().into()).await;
    wire.until_closed().await;
}

#[tokio::test]
async fn odd_stanzas_are_survived() {
    let stage = Stage::new().await;
    stage.account(ADA, false).await;
    let companion = Companion::paired(&stage, ADA).await;
    let mut wire = companion.connect(&stage).await;
    for node in [
        Node::new("presence"),
        Node::new("presence")
            .attr("type", "subscribe")
            .attr("to", "nowhere"),
        Node::new("chatstate").attr("to", "@@"),
        Node::new("ack").attr("class", "message").attr("id", "none"),
        Node::new("receipt")
            .attr("id", "none")
            .attr("to", "15559999999@s.whatsapp.net"),
        Node::new("message"),
        Node::new("unheard-of").child(Node::new("thing")),
        Node::new("iq")
            .attr("id", "1")
            .attr("type", "set")
            .attr("xmlns", "encrypt")
            .child(Node::new("rotate")),
        Node::new("iq")
            .attr("id", "2")
            .attr("type", "get")
            .attr("xmlns", "usync"),
        Node::new("iq")
            .attr("id", "3")
            .attr("type", "set")
            .attr("xmlns", "w:sync:app:state"),
        Node::new("iq")
            .attr("id", "4")
            .attr("type", "odd")
            .attr("xmlns", "md"),
    ] {
        wire.send(&node).await;
    }
    assert!(
        wire.query("get", "w:p", Node::new("ping"))
            .await
            .is("type", "result")
    );
}

#[tokio::test]
async fn connections_over_the_limit_are_refused() {
    let stage = Stage::with(SandboxConfig {
        links_max: 1,
        ..SandboxConfig::default()
    })
    .await;
    let _first = Companion::new().register(&stage).await;
    eventually(|| async { (stage.stat("links").await == 1).then_some(()) }).await;
    let refused = tokio_tungstenite::connect_async(stage.websocket_url()).await;
    let Err(tungstenite::Error::Http(answer)) = refused else {
        panic!("the second connection was accepted")
    };
    assert_eq!(answer.status().as_u16(), 503);
}

#[tokio::test]
async fn a_sender_is_told_when_a_queue_is_full() {
    let stage = Stage::with(SandboxConfig {
        queue_entries_max: 4,
        ..SandboxConfig::default()
    })
    .await;
    stage.account(ADA, false).await;
    stage.account("15550000002", false).await;
    let mut ada = Companion::paired(&stage, ADA).await;
    drop(ada.open(&stage).await);
    eventually(|| async { (stage.stat("connected").await == 0).then_some(()) }).await;
    for _ in 0..4 {
        stage.phone_sends("15550000002", ADA, "x").await;
    }
    let body = serde_json::json!({"to": ADA, "text": "one too many"});
    let (status, body) = stage.post("/accounts/15550000002/messages", body).await;
    assert_eq!((status, body["code"].as_str()), (503, Some("queue_full")));
}
