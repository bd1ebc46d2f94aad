//! The byte stream inside the WebSocket messages: however it is cut, the same frames come out.

#![no_main]

use libfuzzer_sys::fuzz_target;
use roost_sandbox::wire::frame::{FrameError, FrameReader, Input};

const PAYLOAD_BYTES_MAX: usize = 4_096;

fn read(mut reader: FrameReader, stream: &[u8], piece: usize) -> (Vec<Input>, Option<FrameError>) {
    let mut inputs = Vec::new();
    for bytes in stream.chunks(piece.max(1)) {
        reader.push(bytes);
        loop {
            match reader.next_input() {
                Ok(Some(input)) => inputs.push(input),
                Ok(None) => break,
                Err(error) => return (inputs, Some(error)),
            }
        }
    }
    (inputs, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, stream)) = data.split_first() else {
        return;
    };
    let reader = || {
        if choice & 1 == 0 {
            FrameReader::server(PAYLOAD_BYTES_MAX)
        } else {
            FrameReader::client(PAYLOAD_BYTES_MAX)
        }
    };
    let whole = read(reader(), stream, stream.len());
    let pieces = read(reader(), stream, usize::from(choice >> 1));
    assert_eq!(whole, pieces);
    let frames = whole.0.iter().filter_map(|input| match input {
        Input::Frame(frame) => Some(frame.len()),
        Input::Header(_) => None,
    });
    assert!(frames.sum::<usize>() <= stream.len());
});
