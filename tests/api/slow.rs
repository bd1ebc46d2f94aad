//! Clients that stop reading.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::world::{ALICE, BOB, World, eventually};

/// More than the kernel's buffers of one connection hold, in texts of this length.
const TEXT_BYTES: usize = 60_000;
const TEXTS: usize = 200;

async fn connect(world: &World) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(world.app().address()).await.unwrap()
}

async fn until_head_ends(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
}

/// Sends until the gateway has let go of the stream, and checks that no event was lost by it.
async fn flood(world: &World) {
    let subscriptions = || world.app().runtime().streams().subscriptions();
    eventually("the stream is open", || async {
        (subscriptions() == 1).then_some(())
    })
    .await;
    let text = "x".repeat(TEXT_BYTES);
    for _ in 0..TEXTS {
        world.phone_sends(BOB, ALICE, &text).await;
    }
    eventually("the gateway let go of the stream", || async {
        (subscriptions() == 0).then_some(())
    })
    .await;
    let api = world.api();
    eventually("every message is in the log", || async {
        let events = api.events(0, "&types=message.received").await;
        (events.len() == TEXTS).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_reads_is_closed() {
    let world = World::start_with(&[("http.stream_stall_timeout", "1s")]).await;
    world.paired(ALICE).await;
    let mut stream = connect(&world).await;
    let request = format!(
        "GET /v1/events HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\n\r\n",
        world.api().key()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    until_head_ends(&mut stream).await;
    flood(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_nobody_reads_is_closed() {
    let world = World::start_with(&[("http.stream_stall_timeout", "1s")]).await;
    world.paired(ALICE).await;
    let mut stream = connect(&world).await;
    let request = format!(
        "GET /v1/events/ws HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        world.api().key()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    until_head_ends(&mut stream).await;
    // A masked text frame with the mask 0.
    let subscribe = br#"{"type":"subscribe"}"#;
    let mut frame = vec![0x81, 0x80 | u8::try_from(subscribe.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(subscribe);
    stream.write_all(&frame).await.unwrap();
    flood(&world).await;
}
