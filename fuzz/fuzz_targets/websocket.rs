//! WebSocket frames of both sides: however they are cut, the same items come out.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roost_sandbox::wire::websocket::{Item, Reader, Side, WebSocketError};

const MESSAGE_BYTES_MAX: u64 = 4_096;

#[derive(Debug, Default, PartialEq)]
struct Found {
    data: Vec<u8>,
    pings: Vec<Vec<u8>>,
    pongs: usize,
    close: Option<Option<u16>>,
    error: Option<WebSocketError>,
}

fn read(side: Side, stream: &[u8], piece: usize) -> Found {
    let mut reader = Reader::new(side, MESSAGE_BYTES_MAX);
    let mut found = Found::default();
    let mut stream = stream.to_vec();
    for mut bytes in stream.chunks_mut(piece.max(1)) {
        loop {
            match reader.next(&mut bytes) {
                Ok(Some(item)) => match item {
                    Item::Data(data) => found.data.extend_from_slice(data),
                    Item::Ping(payload) => found.pings.push(payload),
                    Item::Pong => found.pongs += 1,
                    Item::Close(code) => {
                        assert_eq!(found.close.replace(code), None, "one close frame at most");
                    }
                },
                Ok(None) => break,
                Err(error) => {
                    found.error = Some(error);
                    return found;
                }
            }
        }
    }
    found
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, stream)) = data.split_first() else {
        return;
    };
    let side = if choice & 1 == 0 {
        Side::Server
    } else {
        Side::Client
    };
    let whole = read(side, stream, stream.len());
    assert_eq!(whole, read(side, stream, usize::from(choice >> 1)));
    assert!(whole.data.len() <= stream.len());
    assert!(whole.pings.iter().all(|payload| payload.len() <= 125));
});
