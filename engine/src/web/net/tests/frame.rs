use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, accept_async};

use super::super::frame::{FrameError, FrameReader, Received, write_frame};
use super::super::handshake::upgrade;
use super::*;

const MAX: usize = 100_000;

/// What is read from these bytes, up to the end.
async fn read_all(bytes: &[u8]) -> Result<Vec<Received>, FrameError> {
    let mut reader = FrameReader::new(bytes, MAX);
    let mut all = Vec::new();
    while let Some(received) = reader.next().await? {
        all.push(received);
    }
    Ok(all)
}

fn binary(text: &str) -> Received {
    Received::Binary(text.to_owned().into())
}

#[tokio::test]
async fn messages_of_every_length_come_through_both_ways() {
    let (ours, theirs) = duplex(4096);
    let config = WebSocketConfig::default()
        .max_frame_size(None)
        .max_message_size(None);
    let mut server = WebSocketStream::from_raw_socket(theirs, Role::Server, Some(config)).await;
    let (reading, mut writing) = tokio::io::split(ours);
    let mut reader = FrameReader::new(reading, MAX);
    for length in [0, 1, 2, 3, 125, 126, 127, 2047, 2048, 2049, 65_535, 65_536, MAX] {
        let message: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        let write = write_frame(&mut writing, OpCode::Data(Data::Binary), &message, [1, 2, 3, 4]);
        let (written, received) = tokio::join!(write, server.next());
        written.unwrap();
        assert_eq!(received.unwrap().unwrap().into_data(), message);
        let (sent, received) = tokio::join!(server.send(Message::binary(message.clone())), reader.next());
        sent.unwrap();
        assert_eq!(received.unwrap(), Some(Received::Binary(message.into())));
    }
    drop(server);
    assert_eq!(reader.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_message_in_parts_is_joined_around_control_frames() {
    let bytes = b"\x02\x02he\x89\x01p\x00\x01l\x8a\x00\x80\x02lo\x82\x01!";
    let expected = [Received::Ping("p".into()), binary("hello"), binary("!")];
    assert_eq!(read_all(bytes).await.unwrap(), expected);
}

#[tokio::test]
async fn text_is_skipped() {
    let bytes = b"\x81\x02hi\x01\x01a\x80\x01b\x82\x01x";
    assert_eq!(read_all(bytes).await.unwrap(), [binary("x")]);
}

#[tokio::test]
async fn a_close_frame_tells_its_code_and_reason() {
    let frame = CloseFrame {
        code: CloseCode::Away,
        reason: "moved".into(),
    };
    let received = read_all(b"\x88\x07\x03\xe9moved\x88\x00").await.unwrap();
    assert_eq!(received, [Received::Close(Some(frame)), Received::Close(None)]);
}

#[tokio::test]
async fn broken_frames_are_errors() {
    for bytes in [
        &b"\xc2\x01x"[..],
        b"\x82\x81\0\0\0\0x",
        b"\x80\x01x",
        b"\x02\x01x\x82\x01x",
        b"\x83\x01x",
        b"\x8b\x01x",
        b"\x09\x01x",
        b"\x89\x7e\x00\x7ex",
        b"\x88\x01x",
        b"\x88\x03\x03\xe8\xff",
    ] {
        let error = read_all(bytes).await.unwrap_err();
        assert!(matches!(error, FrameError::Protocol(_)), "{bytes:?}: {error}");
    }
    for bytes in [&b"\x82"[..], b"\x82\x7e\x01", b"\x82\x02x", b"\x02\x02x"] {
        let error = read_all(bytes).await.unwrap_err();
        assert!(matches!(error, FrameError::Io(_)), "{bytes:?}: {error}");
    }
}

#[tokio::test]
async fn a_message_has_a_limit_in_one_part_and_in_many() {
    let mut one = b"\x82\x7f".to_vec();
    one.extend_from_slice(&(MAX as u64 + 1).to_be_bytes());
    assert!(matches!(
        read_all(&one).await,
        Err(FrameError::TooLong { max: MAX })
    ));
    one[2..].copy_from_slice(&u64::MAX.to_be_bytes());
    assert!(matches!(read_all(&one).await, Err(FrameError::TooLong { .. })));
    let mut many = b"\x02\x7e\xff\xff".to_vec();
    many.resize(many.len() + 0xffff, 0);
    many.extend_from_slice(b"\x80\x7e\xff\xff");
    assert!(matches!(read_all(&many).await, Err(FrameError::TooLong { .. })));
}

/// Connects to a server that says this after its answer to the upgrade, in the same write.
async fn upgraded(after: &'static [u8]) -> (super::super::handshake::Upgraded, DuplexStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (inner, outer) = duplex(64 * 1024);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // The answer is made in memory, so that it can be joined with what follows.
        let (mut read, mut write) = stream.into_split();
        let (mut inner_read, mut inner_write) = tokio::io::split(inner);
        tokio::spawn(async move { tokio::io::copy(&mut read, &mut inner_write).await });
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(inner_read.read_u8().await.unwrap());
        }
        answer.extend_from_slice(after);
        write.write_all(&answer).await.unwrap();
        let _ = tokio::io::copy(&mut inner_read, &mut write).await;
    });
    let endpoint = Endpoint::parse(&format!("ws://{address}/ws/chat")).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let tls = client_config("").unwrap();
    let (upgraded, server) = tokio::join!(upgrade(stream, &endpoint, &tls), accept_async(outer));
    (upgraded.unwrap(), server.unwrap().into_inner())
}

#[tokio::test]
async fn what_follows_the_upgrade_at_once_is_not_lost() {
    for after in [&b""[..], b"\x82\x01x", b"\x88\x02\x03\xe9", b"\x82\x7e"] {
        let (upgraded, _server) = upgraded(after).await;
        assert_eq!(upgraded.rest, after);
    }
}

#[tokio::test]
async fn a_secure_websocket_takes_trusted_servers_only() {
    let (acceptor, root) = localhost();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut server = accept_async(stream).await.unwrap();
            let message = server.next().await.unwrap().unwrap();
            server.send(message).await.unwrap();
        }
    });
    let endpoint = Endpoint::parse(&format!("wss://localhost:{port}/ws/chat")).unwrap();
    let dial = async || TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let strangers = client_config("").unwrap();
    assert!(upgrade(dial().await, &endpoint, &strangers).await.is_err());
    let trusting = client_config(&root).unwrap();
    let upgraded = upgrade(dial().await, &endpoint, &trusting).await.unwrap();
    let (reading, mut writing) = tokio::io::split(upgraded.socket);
    write_frame(&mut writing, OpCode::Data(Data::Binary), b"hello", [9, 8, 7, 6])
        .await
        .unwrap();
    let echoed = FrameReader::new(reading, MAX).next().await.unwrap();
    assert_eq!(echoed, Some(binary("hello")));
}
