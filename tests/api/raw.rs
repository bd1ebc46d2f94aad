//! Bytes over a socket, for requests that no client library would send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::world::World;

const DEADLINE: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// The first bytes of an HTTP/2 connection: the preface and an empty SETTINGS.
pub const HTTP2_HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

pub async fn connect(world: &World) -> TcpStream {
    TcpStream::connect(world.app().address()).await.unwrap()
}

/// Everything that comes until the gateway closes.
pub async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut limited = stream.take(ANSWER_BYTES_MAX);
    let read = timeout(DEADLINE, limited.read_to_end(&mut answer)).await;
    // A reset is an end too.
    let _ = read.expect("the gateway leaves the connection open");
    answer
}

/// Sends bytes on a connection of their own; the answer until the gateway closes.
pub async fn exchange(world: &World, bytes: &[u8]) -> String {
    let mut stream = connect(world).await;
    // The gateway may have refused before it was all sent.
    let _ = stream.write_all(bytes).await;
    String::from_utf8_lossy(&until_closed(&mut stream).await).into_owned()
}

/// The bytes of one HTTP/1.1 head and its body.
pub async fn answer(stream: &mut TcpStream) -> (String, String) {
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
    };
    timeout(DEADLINE, reading).await.expect("no answer came");
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    timeout(DEADLINE, stream.read_exact(&mut body))
        .await
        .unwrap()
        .unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// One HTTP/2 frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Kinds of the frames in what was read of an HTTP/2 connection.
pub fn frame_kinds(mut bytes: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        kinds.push(bytes[3]);
        bytes = bytes.get(9 + length..).unwrap_or_default();
    }
    kinds
}
