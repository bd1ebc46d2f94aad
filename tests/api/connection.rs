//! What one connection, and what many slow or hostile ones, can do to the others.

use std::time::Duration;

use reqwest::{Method, Version};
use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::raw::{HTTP2_HELLO, answer, connect, exchange, frame, frame_kinds, until_closed};
use crate::world::{ALICE, Client, World, eventually};

const SLOW_CLIENTS: usize = 100;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn create(world: &World, more: &str, body: &str) -> String {
    format!(
        "POST /v1/instances HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-type: application/json\r\n{more}\r\n{body}",
        world.api().key()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slow_bodies_hold_up_nobody_and_are_answered_408() {
    let world = World::start_with(&[
        ("http.requests_max", "20"),
        ("http.uploads_max", "150"),
        ("http.body_grace", "3s"),
    ])
    .await;
    let api = world.api();
    let mut slow = Vec::new();
    for _ in 0..SLOW_CLIENTS {
        let mut stream = connect(&world).await;
        let head = create(&world, "content-length: 400\r\nexpect: 100-continue\r\n", "");
        stream.write_all(head.as_bytes()).await.unwrap();
        // Its body is being waited for now.
        assert_eq!(answer(&mut stream).await.0, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"{\"name\":").await.unwrap();
        slow.push(stream);
    }
    for _ in 0..20 {
        api.get("/v1/instances").await.expect(200);
        // Bodies that are there are read however many are not.
        api.make_instance("in time").await;
    }
    for mut stream in slow {
        let (head, body) = answer(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 408 "), "{head}");
        let problem: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&problem["code"], &problem["retryable"]),
            (&json!("body_timeout"), &json!(true))
        );
        until_closed(&mut stream).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_slow_heads_hold_up_nobody_and_are_disconnected() {
    let world = World::start_with(&[("http.header_timeout", "2s")]).await;
    let mut slow = Vec::new();
    for begun in [
        &b""[..],
        b"GET /healthz HTTP/1.1\r\nhost:",
        b"PRI * HTT",
        HTTP2_HELLO,
        b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        for _ in 0..SLOW_CLIENTS {
            let mut stream = connect(&world).await;
            stream.write_all(begun).await.unwrap();
            slow.push(stream);
        }
    }
    for _ in 0..20 {
        world.api().get("/v1/instances").await.expect(200);
    }
    for mut stream in slow {
        until_closed(&mut stream).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_only_its_share_of_the_connections() {
    let world = World::start_with(&[("http.connections_per_address_max", "20")]).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(connect(&world).await);
    }
    // The client of the test has one of the twenty already, and keeps it.
    eventually("one connection too many is closed", || async {
        let mut stream = connect(&world).await;
        let _ = stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await;
        until_closed(&mut stream).await.is_empty().then_some(())
    })
    .await;
    drop(held);
    eventually("there is room again", || async {
        let text = exchange(
            &world,
            b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )
        .await;
        text.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_the_answers_is_disconnected() {
    let world = World::start_with(&[("http.write_timeout", "1s"), ("http.compression", "false")]).await;
    let api = world.api();
    for n in 0..20 {
        api.publish("custom.long", json!({"n": n, "text": "x".repeat(200_000)}))
            .await;
    }
    let mut stream = connect(&world).await;
    let request = format!(
        "GET /v1/events?after=0 HTTP/1.1\r\nhost: x\r\naccept: application/json\r\nx-api-key: {}\r\n\r\n",
        api.key()
    );
    for _ in 0..10 {
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    eventually("the gateway lets go", || async {
        (stream.try_write(b"x").is_err()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_is_spoken_to_those_who_begin_with_it() {
    let world = World::start().await;
    let api = world.api();
    let http2 = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let reply = http2
        .post(format!("{}/v1/instances", api.base()))
        .bearer_auth(api.key())
        .json(&json!({"name": "over HTTP/2"}))
        .send()
        .await
        .unwrap();
    assert_eq!((reply.version(), reply.status().as_u16()), (Version::HTTP_2, 201));
    let refused = http2
        .get(format!("{}/v1/instances", api.base()))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 401);
    let mut events = http2
        .get(format!("{}/v1/events?after=0", api.base()))
        .bearer_auth(api.key())
        .send()
        .await
        .unwrap();
    api.publish("custom.seen", json!(1)).await;
    let mut seen = String::new();
    while !seen.contains("custom.seen") {
        seen.push_str(std::str::from_utf8(&events.chunk().await.unwrap().unwrap()).unwrap());
    }
    let reply = Client::send(api.request(Method::GET, "/healthz").version(Version::HTTP_11)).await;
    assert_eq!(reply.status, 200);
    // The upgrade from HTTP/1.1 was abolished: the header says nothing.
    let upgrade = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n";
    let mut stream = connect(&world).await;
    stream.write_all(upgrade).await.unwrap();
    assert!(answer(&mut stream).await.0.starts_with("HTTP/1.1 200"));
}

/// `GET /v1/instances` without a key, in HPACK.
const REQUEST: &[u8] = b"\x82\x86\x04\x0d/v1/instances\x01\x01x";

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_http2_frames_end_their_connection_and_nothing_else() {
    let world = World::start().await;
    let mut resets = Vec::new();
    let mut begun = Vec::new();
    for n in 0..20_000 {
        let id = 2 * n + 1;
        resets.extend(frame(HEADERS, END_STREAM | END_HEADERS, id, REQUEST));
        resets.extend(frame(RST_STREAM, 0, id, &[0, 0, 0, 8]));
    }
    begun.extend(frame(HEADERS, 0, 1, REQUEST));
    for _ in 0..5_000 {
        // Each is a header field of its own, so that it is the list that grows.
        begun.extend(frame(CONTINUATION, 0, 1, &b"\x00\x01a\x01b".repeat(1000)));
    }
    let empty = frame(CONTINUATION, 0, 1, b"").repeat(100_000);
    let empty = [frame(HEADERS, 0, 1, REQUEST), empty].concat();
    let pings = frame(6, 0, 0, &[0; 8]).repeat(200_000);
    let data = frame(DATA, 0, 7, &[0; 100]).repeat(1000);
    for (what, flood, ends) in [
        ("resets", resets, true),
        ("continuations", begun, true),
        ("empty continuations", empty, true),
        // Answered one by one; who does not read the answers is disconnected for that.
        ("pings", pings, false),
        ("data of no request", data, true),
    ] {
        let mut stream = connect(&world).await;
        stream.write_all(HTTP2_HELLO).await.unwrap();
        let (mut read, mut write) = stream.split();
        let writing = async {
            let sent = write.write_all(&flood).await;
            let _ = write.shutdown().await;
            sent
        };
        let reading = async {
            let mut bytes = Vec::new();
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut bytes).await;
            bytes
        };
        let (sent, bytes) =
            tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(writing, reading) })
                .await
                .unwrap_or_else(|_| panic!("{what}: the connection stays"));
        let told = frame_kinds(&bytes).contains(&GOAWAY) || sent.is_err();
        assert!(told || !ends, "{what}: {:?}", frame_kinds(&bytes));
        world.api().get("/v1/instances").await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_beyond_the_limits_are_answered_431() {
    let world = World::start_with(&[("http.header_bytes_max", "8KiB")]).await;
    let long = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: {}\r\n\r\n",
        "x".repeat(20_000)
    );
    let many = format!(
        "GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n",
        (0..200).map(|n| format!("x-{n}: 1\r\n")).collect::<String>()
    );
    for head in [long, many] {
        let answer = exchange(&world, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let http2 = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let reply = http2
        .get(format!("{}/healthz", world.api().base()))
        .header("x-long", "x".repeat(12_000))
        .send()
        .await;
    if let Ok(reply) = reply {
        assert_eq!(reply.status(), 431);
    }
    world.api().get("/v1/instances").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_announced_is_asked_for_only_when_it_is_wanted() {
    let world = World::start().await;
    let body = r#"{"name":"announced"}"#;
    let more = format!("content-length: {}\r\nexpect: 100-continue\r\n", body.len());
    let mut stream = connect(&world).await;
    stream
        .write_all(create(&world, &more, "").as_bytes())
        .await
        .unwrap();
    assert_eq!(answer(&mut stream).await.0, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.unwrap();
    assert!(answer(&mut stream).await.0.starts_with("HTTP/1.1 201 "));
    let refused =
        format!("POST /v1/instances HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{more}\r\n");
    let answer = exchange(&world, refused.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_requests_at_work_finish() {
    let mut world = World::start().await;
    let id = world.paired(ALICE).await;
    let api = world.api();
    // A body half sent, an idle connection, and a page that waits for events.
    let body = r#"{"name":"finished"}"#;
    let head = create(&world, &format!("content-length: {}\r\n", body.len()), "");
    let mut half = connect(&world).await;
    half.write_all(head.as_bytes()).await.unwrap();
    half.write_all(&body.as_bytes()[..5]).await.unwrap();
    let mut idle = connect(&world).await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    answer(&mut idle).await;
    let last = api.events(0, "").await.last().unwrap()["seq"].clone();
    let waiting = {
        let request = api
            .request(Method::GET, &format!("/v1/events?after={last}&wait_ms=50000"))
            .header("accept", "application/json");
        tokio::spawn(Client::send(request))
    };
    let metrics = world.client(None);
    eventually("the page waits", || async {
        let text = metrics.get("/metrics").await.text;
        text.contains("roost_http_streams_open{kind=\"poll\"} 1")
            .then_some(())
    })
    .await;
    let send = {
        let body = json!({"to": "4915550003", "type": "text", "text": {"body": "x"}});
        let request = api
            .request(
                Method::POST,
                &format!("/v1/instances/{id}/messages?wait=server_ack"),
            )
            .json(&body);
        tokio::spawn(Client::send(request))
    };
    let sent = send.await.unwrap();
    assert_eq!(sent.status, 202, "{}", sent.text);
    let address = world.app().address();
    let stopping = tokio::spawn(async move {
        world.stop_app().await;
        world
    });
    eventually("no new connections are taken", || async {
        tokio::net::TcpStream::connect(address)
            .await
            .is_err()
            .then_some(())
    })
    .await;
    half.write_all(&body.as_bytes()[5..]).await.unwrap();
    let (head, text) = answer(&mut half).await;
    assert!(head.starts_with("HTTP/1.1 201 "), "{head} {text}");
    assert!(until_closed(&mut idle).await.is_empty());
    waiting.await.unwrap().expect(200);
    stopping.await.unwrap();
}
