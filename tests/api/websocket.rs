use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::world::{ALICE, BOB, Client, World};

pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// One that is opened by a token in its URL.
    pub async fn open_with_token(base: &str, token: &str) -> Self {
        let url = format!("{}/v1/events/ws?token={token}", base.replace("http://", "ws://"));
        let (socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        Self(socket)
    }

    pub async fn open(api: &Client) -> Self {
        let mut request = format!("{}/v1/events/ws", api.base().replace("http://", "ws://"))
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("x-api-key", api.key().parse().unwrap());
        let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        Self(socket)
    }

    pub async fn say(&mut self, value: Value) {
        self.0.send(Message::text(value.to_string())).await.unwrap();
    }

    async fn message(&mut self) -> Option<Message> {
        loop {
            match tokio::time::timeout(Duration::from_secs(60), self.0.next())
                .await
                .expect("silence")
            {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) | None => return None,
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }

    pub async fn hear(&mut self) -> Value {
        match self.message().await {
            Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub async fn event(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.hear().await;
            assert_eq!(frame["type"], "event", "{frame}");
            if frame["event"]["type"] == kind {
                return frame["event"].clone();
            }
        }
    }

    /// The frame that says why, and the close code after it.
    pub async fn end(&mut self) -> (Value, u16) {
        let frame = self.hear().await;
        match self.message().await {
            Some(Message::Close(Some(close))) => (frame, close.code.into()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_gets_what_it_asked_for_and_resumes() {
    let (world, api, id) = World::start_paired().await;
    let other = api.make_instance("other").await;
    let mut socket = Socket::open(&api).await;
    socket
        .say(json!({"type": "subscribe", "types": ["message.received"], "instance_ids": [id]}))
        .await;
    let subscribed = socket.hear().await;
    assert_eq!(subscribed["type"], "subscribed");
    assert_eq!(subscribed["types"], json!(["message.received"]));
    assert_eq!(subscribed["instance_ids"], json!([id]));
    let start = subscribed["after"].as_i64().unwrap();
    assert!(start > 0);

    world.phone_sends(BOB, ALICE, "one").await;
    let one = socket.event("message.received").await;
    assert_eq!(one["data"]["message"]["text"]["body"], "one");
    drop(socket);

    let two = world.phone_sends(BOB, ALICE, "two").await;
    api.received(&two).await;
    let mut socket = Socket::open(&api).await;
    socket
        .say(json!({"type": "subscribe", "types": ["message.received"], "resume_from": one["seq"]}))
        .await;
    assert_eq!(socket.hear().await["after"], one["seq"]);
    assert_eq!(
        socket.event("message.received").await["data"]["message"]["text"]["body"],
        "two"
    );

    // A second subscription changes what passes, and keeps the place.
    socket
        .say(json!({"type": "subscribe", "instance_ids": [other]}))
        .await;
    assert_eq!(socket.hear().await["type"], "subscribed");
    world.phone_sends(BOB, ALICE, "three").await;
    api.delete(&format!("/v1/instances/{other}")).await.expect(204);
    let next = socket.hear().await;
    assert_eq!(
        (&next["event"]["type"], &next["event"]["instance_id"]),
        (&json!("instance.deleted"), &json!(other))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_breaks_the_rules_is_told_why_and_disconnected() {
    let world = World::start().await;
    let api = world.api();
    for (said, code, close) in [
        (Message::text("nonsense"), "invalid_body", 1007),
        (Message::text("{}"), "invalid_body", 1007),
        (
            Message::text(r#"{"type":"subscribe","colour":1}"#),
            "invalid_body",
            1007,
        ),
        (
            Message::text(r#"{"type":"subscribe","types":["x"]}"#),
            "invalid_body",
            1007,
        ),
        (Message::binary(vec![1, 2, 3]), "invalid_body", 1007),
        (
            Message::text(r#"{"type":"subscribe","resume_from":-1}"#),
            "validation_failed",
            1008,
        ),
        (
            Message::text(r#"{"type":"subscribe","resume_from":999}"#),
            "validation_failed",
            1008,
        ),
    ] {
        let mut socket = Socket::open(&api).await;
        let text = format!("{said:?}");
        socket.0.send(said).await.unwrap();
        let (frame, closed) = socket.end().await;
        assert_eq!(
            (frame["type"].as_str(), frame["code"].as_str()),
            (Some("error"), Some(code)),
            "{text}: {frame}"
        );
        assert!(frame["detail"].is_string());
        assert_eq!(closed, close, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_too_long_ends_the_connection() {
    let world = World::start().await;
    let mut socket = Socket::open(&world.api()).await;
    let long = "x".repeat(1 << 20);
    // The gateway may be gone before everything is written.
    let _ = socket.0.send(Message::text(long)).await;
    let mut heard = Vec::new();
    while let Some(Ok(message)) = socket.0.next().await {
        heard.push(message);
    }
    assert!(heard.len() <= 2, "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_gateway_says_so_with_the_last_seq() {
    let mut world = World::start().await;
    let api = world.api();
    api.make_instance("one").await;
    let mut socket = Socket::open(&api).await;
    socket.say(json!({"type": "subscribe", "resume_from": 0})).await;
    assert_eq!(socket.hear().await["type"], "subscribed");
    socket.event("instance.created").await;
    let (stopped, (frame, code)) = tokio::join!(world.stop_app(), socket.end());
    let () = stopped;
    assert_eq!(
        (&frame["type"], &frame["reason"], &frame["last_seq"]),
        (&json!("closing"), &json!("stopping"), &json!(1))
    );
    assert_eq!(code, 1001);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_request_is_told_that_this_is_a_websocket() {
    let world = World::start().await;
    let api = world.api();
    let problem = api
        .get("/v1/events/ws")
        .await
        .expect_problem(422, "validation_failed");
    assert_eq!(problem["errors"][0]["pointer"], "/header/upgrade");
    world
        .client(None)
        .get("/v1/events/ws")
        .await
        .expect_problem(401, "unauthorized");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_answer_pings_is_disconnected() {
    let world = World::start_with(&[("http.stream_keep_alive", "1s")]).await;
    let mut socket = Socket::open(&world.api()).await;
    socket.say(json!({"type": "subscribe"})).await;
    assert_eq!(socket.hear().await["type"], "subscribed");
    // Not reading means not answering: the library answers pings only while it is polled.
    let streams = || world.app().runtime().streams().subscriptions();
    assert_eq!(streams(), 1);
    crate::world::eventually("the silent client is gone", || async {
        (streams() == 0).then_some(())
    })
    .await;
}
