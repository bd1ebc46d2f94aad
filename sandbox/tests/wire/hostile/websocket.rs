//! Clients that break the WebSocket protocol.

use bytes::BufMut;
use roost_sandbox::server::SandboxConfig;
use roost_sandbox::wire::websocket;

use super::pair::Pair;
use super::raw::{Ended, Raw, opening};
use crate::stage::Stage;

const MASK: [u8; 4] = [0; 4];

/// A frame with a zero mask, whatever its head says.
fn frame(head: &[u8], payload: &[u8]) -> Vec<u8> {
    [head, &MASK, payload].concat()
}

#[tokio::test]
async fn every_violation_is_closed_and_others_go_on() {
    let stage = Stage::new().await;
    let pair = Pair::start(&stage).await;
    let violations = [
        ("unmasked", vec![0x82, 4, b'W', b'A', 6, 3]),
        ("text", frame(&[0x81, 0x84], b"WA63")),
        ("reserved bit", frame(&[0xC2, 0x84], b"WA\x06\x03")),
        ("unknown opcode", frame(&[0x87, 0x80], b"")),
        ("giant ping", frame(&[0x89, 0xFE, 0x40, 0], &[0; 0x4000])),
        ("ping in fragments", frame(&[0x09, 0x81], b"x")),
        ("continuation of nothing", frame(&[0x80, 0x81], b"x")),
        (
            "message in a message",
            [frame(&[0x02, 0x81], b"W"), frame(&[0x82, 0x81], b"A")].concat(),
        ),
        (
            "long form of a short length",
            frame(&[0x82, 0xFE, 0, 4], b"WA\x06\x03"),
        ),
        (
            "message of 2^62 bytes",
            frame(&[0x82, 0xFF, 0x40, 0, 0, 0, 0, 0, 0, 0], b"WA\x06\x03"),
        ),
        ("close with half a code", frame(&[0x88, 0x81], b"\x03")),
        (
            "close with a code of ours",
            frame(&[0x88, 0x82], &1006_u16.to_be_bytes()),
        ),
    ];
    let count = violations.len() as u64;
    for (what, bytes) in violations {
        let mut raw = Raw::upgraded(&stage).await;
        raw.write(&bytes).await;
        assert_eq!(raw.ended().await, Ended::Code(1002), "{what}");
    }
    assert_eq!(stage.stat("protocol_errors").await, count);
    pair.finish().await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_closed_before_it_has_arrived() {
    let config = SandboxConfig {
        frame_bytes_max: 64 << 10,
        ..SandboxConfig::default()
    };
    let stage = Stage::with(config).await;
    let mut raw = Raw::upgraded(&stage).await;
    raw.write(&frame(&[0x82, 0xFF, 0, 0, 0, 0, 0, 2, 0, 0], b""))
        .await;
    assert_eq!(raw.ended().await, Ended::Code(1002));
    // Nor does it help to send it in pieces.
    let mut raw = Raw::upgraded(&stage).await;
    let mut head = 0x02;
    for _ in 0..80 {
        raw.write(&frame(&[head, 0xFE, 0x04, 0], &[0; 0x400])).await;
        head = 0x00;
    }
    assert_eq!(raw.ended().await, Ended::Code(1002));
}

#[tokio::test]
async fn a_stream_in_tiny_fragments_among_pings_is_read_like_any_other() {
    let stage = Stage::new().await;
    let pair = Pair::start(&stage).await;
    let mut raw = Raw::upgraded(&stage).await;
    let mut bytes = Vec::new();
    for (at, byte) in opening().iter().enumerate() {
        bytes.extend(frame(&[if at == 0 { 0x02 } else { 0x00 }, 0x81], &[*byte]));
        bytes.extend_from_slice(&websocket::ping(b"still there", Some(MASK)));
        bytes.extend(frame(&[0x00, 0x80], b""));
    }
    bytes.extend(frame(&[0x80, 0x80], b""));
    raw.write(&bytes).await;
    let answer = raw.read_data(100).await;
    assert_eq!(answer[0], 0, "a frame with the server's hello");
    drop(raw);
    pair.finish().await;
}

#[tokio::test]
async fn a_flood_of_empty_fragments_and_pings_disturbs_nobody() {
    let stage = Stage::new().await;
    let pair = Pair::start(&stage).await;
    let mut raw = Raw::upgraded(&stage).await;
    let mut flood = frame(&[0x02, 0x80], b"");
    for _ in 0..20_000 {
        flood.extend(frame(&[0x00, 0x80], b""));
        flood.extend_from_slice(&websocket::ping(b"", Some(MASK)));
    }
    raw.write(&flood).await;
    pair.finish().await;
    // It is still a connection like any other.
    let mut message = websocket::begin(0);
    message.put_slice(b"nonsense");
    let mut rest = frame(&[0x80, 0x80], b"");
    rest.extend_from_slice(&websocket::finish(message, Some(MASK)));
    raw.write(&rest).await;
    assert_eq!(raw.ended().await, Ended::Code(1002));
}

#[tokio::test]
async fn a_close_frame_is_answered() {
    let stage = Stage::new().await;
    let mut raw = Raw::upgraded(&stage).await;
    raw.write(&websocket::close(1000, "bye", Some(MASK))).await;
    assert_eq!(raw.ended().await, Ended::Code(1000));
}
