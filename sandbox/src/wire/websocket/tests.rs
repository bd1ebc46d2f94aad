use bytes::{BufMut, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Everything in `bytes`, data joined.
fn read_all(reader: &mut Reader, bytes: &[u8]) -> Result<(Vec<u8>, Vec<Item<'static>>), WebSocketError> {
    let mut bytes = bytes.to_vec();
    let mut input = &mut bytes[..];
    let (mut data, mut others) = (Vec::new(), Vec::new());
    while let Some(item) = reader.next(&mut input)? {
        match item {
            Item::Data(piece) => data.extend_from_slice(piece),
            Item::Ping(payload) => others.push(Item::Ping(payload)),
            Item::Pong => others.push(Item::Pong),
            Item::Close(code) => others.push(Item::Close(code)),
        }
    }
    Ok((data, others))
}

fn server() -> Reader {
    Reader::new(Side::Server, 1 << 20)
}

fn message(bytes: &[u8], mask: Option<[u8; 4]>) -> BytesMut {
    let mut message = begin(bytes.len());
    message.put_slice(bytes);
    assert_eq!(length(&message), bytes.len());
    finish(message, mask)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn messages_survive_any_split(
        payloads in vec(vec(any::<u8>(), 0..400), 0..6),
        long in any::<bool>(),
        mask in proptest::option::of(any::<[u8; 4]>()),
        cuts in vec(1_usize..90, 1..40),
    ) {
        let mut payloads = payloads;
        if long {
            payloads.push((0..70_000_u32).map(|number| number as u8).collect());
        }
        let mut wire = Vec::new();
        for payload in &payloads {
            wire.extend_from_slice(&message(payload, mask));
            wire.extend_from_slice(&ping(b"now", mask));
        }
        wire.extend_from_slice(&close(1000, "done", mask));
        let side = if mask.is_some() { Side::Server } else { Side::Client };
        let mut reader = Reader::new(side, 1 << 20);
        let (mut data, mut others) = (Vec::new(), Vec::new());
        let mut rest = &wire[..];
        for cut in cuts.into_iter().cycle() {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            let (read, found) = read_all(&mut reader, piece).unwrap();
            data.extend(read);
            others.extend(found);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(data, payloads.concat());
        prop_assert_eq!(others.len(), payloads.len() + 1);
        prop_assert_eq!(others.last(), Some(&Item::Close(Some(1000))));
    }

    #[test]
    fn arbitrary_bytes_are_items_or_an_error(pieces in vec(vec(any::<u8>(), 0..200), 0..20), client in any::<bool>()) {
        let side = if client { Side::Client } else { Side::Server };
        let mut reader = Reader::new(side, 1_000);
        for piece in pieces {
            if read_all(&mut reader, &piece).is_err() {
                break;
            }
        }
    }
}

#[test]
fn known_frames_have_the_bytes_of_the_standard() {
    assert_eq!(&message(b"Hello", None)[..], b"\x82\x05Hello");
    let masked = message(b"Hello", Some([0x37, 0xfa, 0x21, 0x3d]));
    assert_eq!(
        &masked[..],
        [0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
    );
    assert_eq!(&message(&[0; 256], None)[..4], [0x82, 0x7E, 0x01, 0x00]);
    assert_eq!(
        &message(&[0; 65_536], None)[..10],
        [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]
    );
    assert_eq!(&pong(b"Hello", None)[..], b"\x8a\x05Hello");
    assert_eq!(&close(1000, "", None)[..], [0x88, 2, 3, 0xE8]);
}

#[test]
fn fragments_join_and_control_frames_may_come_between() {
    let wire = [
        &[0x02, 0x83, 0, 0, 0, 0][..],
        b"one",
        &[0x89, 0x80, 1, 2, 3, 4],
        &[0x00, 0x80, 0, 0, 0, 0],
        &[0x80, 0x83, 0, 0, 0, 0],
        b"two",
    ];
    let (data, others) = read_all(&mut server(), &wire.concat()).unwrap();
    assert_eq!(data, b"onetwo");
    assert_eq!(others, [Item::Ping(Vec::new())]);
}

#[test]
fn every_violation_is_told_apart() {
    const KEY: [u8; 4] = [0; 4];
    let frame = |head: &[u8], payload: &[u8]| [head, &KEY, payload].concat();
    let cases: [(Vec<u8>, WebSocketError); 14] = [
        (vec![0xC2, 0x80], WebSocketError::ReservedBits),
        (vec![0x92, 0x80], WebSocketError::ReservedBits),
        (frame(&[0x83, 0x80], b""), WebSocketError::UnknownOpcode(3)),
        (frame(&[0x8B, 0x80], b""), WebSocketError::UnknownOpcode(11)),
        (frame(&[0x81, 0x81], b"x"), WebSocketError::Text),
        (vec![0x82, 0x01, b'x'], WebSocketError::NotMasked),
        (frame(&[0x82, 0xFE, 0, 125], b""), WebSocketError::LengthForm),
        (
            frame(&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], b""),
            WebSocketError::LengthForm,
        ),
        (
            frame(&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0], b""),
            WebSocketError::LengthForm,
        ),
        (frame(&[0x89, 0xFE, 0, 126], b""), WebSocketError::BadControl),
        (frame(&[0x09, 0x80], b""), WebSocketError::BadControl),
        (frame(&[0x80, 0x80], b""), WebSocketError::BadFragment),
        (
            [frame(&[0x02, 0x80], b""), frame(&[0x82, 0x80], b"")].concat(),
            WebSocketError::BadFragment,
        ),
        (frame(&[0x88, 0x81], b"x"), WebSocketError::BadClose),
    ];
    for (wire, error) in cases {
        assert_eq!(read_all(&mut server(), &wire), Err(error), "{wire:02x?}");
    }
    for code in [0_u16, 999, 1005, 1006, 1015, 5000] {
        let wire = close(code, "", Some(KEY));
        assert_eq!(
            read_all(&mut server(), &wire),
            Err(WebSocketError::BadClose),
            "{code}"
        );
    }
    let masked = message(b"x", Some([1, 2, 3, 4]));
    let mut client = Reader::new(Side::Client, 100);
    assert_eq!(read_all(&mut client, &masked), Err(WebSocketError::Masked));
}

#[test]
fn a_message_over_the_limit_is_refused_before_it_arrives() {
    let mut reader = Reader::new(Side::Server, 1_000);
    let header = [0x82, 0xFF, 0, 0, 0, 0xFF, 0, 0, 0, 0, 1, 2, 3, 4];
    let bytes = 0xFF << 32;
    assert_eq!(
        read_all(&mut reader, &header),
        Err(WebSocketError::TooLong { bytes, max: 1_000 })
    );
    let mut reader = Reader::new(Side::Server, 1_000);
    let mut fragments = vec![0x02, 0xFE, 2, 0, 0, 0, 0, 0];
    fragments.extend([7; 512]);
    fragments.extend([0x00, 0xFE, 2, 0, 0, 0, 0, 0]);
    let max = 1_000;
    assert_eq!(
        read_all(&mut reader, &fragments),
        Err(WebSocketError::TooLong { bytes: 1_024, max })
    );
}

#[test]
fn nothing_is_read_after_a_close_frame() {
    let mut reader = server();
    let wire = [
        &close(1001, "bye", Some([9; 4]))[..],
        &message(b"late", Some([9; 4])),
    ]
    .concat();
    let (data, others) = read_all(&mut reader, &wire).unwrap();
    assert!(data.is_empty());
    assert_eq!(others, [Item::Close(Some(1001))]);
}
