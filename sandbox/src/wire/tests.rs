//! Facts about the wire: what is written reads back, and hostile bytes end in an error.

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::collection::vec;
use proptest::prelude::*;
use std::io::Write;

use super::frame::{FrameError, FrameReader, Input, client_header, write_frame};
use super::jid::{Domain, Jid};
use super::node::{Content, Limits, Node, NodeError, decode, encode_to_vec};
use super::noise::{CertificateAuthority, Hello, Initiator, NoiseError, Responder, verify_chain};
use super::token;
use crate::signal::KeyPair;

const NOW_S: u64 = 1_800_000_000;

fn header() -> [u8; 4] {
    client_header(token::DICTIONARY_VERSION)
}

fn round_trip(node: &Node) -> Node {
    decode(encode_to_vec(node).unwrap().freeze(), Limits::default()).unwrap()
}

/// Content may change its form, never its bytes.
fn same(a: &Node, b: &Node) -> bool {
    a.tag == b.tag
        && a.attrs == b.attrs
        && a.data().unwrap_or_default() == b.data().unwrap_or_default()
        && a.children().len() == b.children().len()
        && a.children().iter().zip(b.children()).all(|(a, b)| same(a, b))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_:-]{1,20}",
        "[0-9.-]{1,260}",
        "[0-9A-F]{1,260}",
        "[0-9]{5,15}@s\\.whatsapp\\.net",
        "[0-9]{5,15}:[0-9]{1,3}@(lid|s\\.whatsapp\\.net|g\\.us)",
        "(s\\.whatsapp\\.net|participant|read-self|@lid|x@y@lid|:@lid)",
        "\\PC{0,300}",
    ]
}

fn leaf() -> impl Strategy<Value = Node> {
    let content = prop_oneof![
        Just(Content::Empty),
        vec(any::<u8>(), 0..600).prop_map(|bytes| Content::Bytes(bytes.into())),
        text().prop_map(|text| Content::Text(text.into())),
    ];
    ("[a-z]{1,12}", vec(("[a-z]{1,8}", text()), 0..6), content).prop_map(|(tag, attrs, content)| {
        let attrs = attrs
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        Node {
            tag: tag.into(),
            attrs,
            content,
        }
    })
}

fn node() -> impl Strategy<Value = Node> {
    leaf().prop_recursive(4, 64, 8, |inner| {
        (leaf(), vec(inner, 1..8)).prop_map(|(node, children)| node.with_children(children))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nodes_round_trip(node in node()) {
        prop_assert!(same(&node, &round_trip(&node)));
    }

    #[test]
    fn arbitrary_bytes_are_a_node_or_an_error(bytes in vec(any::<u8>(), 0..2_000)) {
        let _ = decode(Bytes::from(bytes), Limits::default());
    }

    /// Starts like a node, so that the decoder gets further in.
    #[test]
    fn damaged_nodes_are_a_node_or_an_error(node in node(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode_to_vec(&node).unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode(Bytes::from(bytes.clone()), Limits::default());
        bytes.truncate(at);
        let _ = decode(Bytes::from(bytes), Limits::default());
    }

    #[test]
    fn decoded_nodes_encode_to_the_same_node(bytes in vec(any::<u8>(), 0..300)) {
        let mut framed = vec![0];
        framed.extend(bytes);
        if let Ok(node) = decode(framed.into(), Limits::default()) {
            prop_assert!(same(&node, &round_trip(&node)));
        }
    }

    #[test]
    fn frames_survive_any_split(payloads in vec(vec(any::<u8>(), 1..300), 0..8), cuts in vec(1_usize..50, 1..40), routing in proptest::option::of(vec(any::<u8>(), 0..60))) {
        let mut stream = BytesMut::new();
        if let Some(routing) = &routing {
            stream.extend_from_slice(b"ED\0\x01\0\0");
            stream.extend_from_slice(&[routing.len() as u8]);
            stream.extend_from_slice(routing);
        }
        stream.extend_from_slice(&header());
        for payload in &payloads {
            write_frame(&mut stream, payload).unwrap();
        }
        let mut reader = FrameReader::server(4_096);
        let mut inputs = Vec::new();
        let mut cuts = cuts.iter().cycle();
        while !stream.is_empty() {
            let piece = stream.split_to(stream.len().min(*cuts.next().unwrap()));
            reader.push(&piece);
            while let Some(input) = reader.next_input().unwrap() {
                inputs.push(input);
            }
        }
        let mut inputs = inputs.into_iter();
        prop_assert_eq!(inputs.next(), Some(Input::Header(header())));
        let frames: Vec<_> = inputs.map(|input| match input {
            Input::Frame(frame) => frame.to_vec(),
            Input::Header(_) => Vec::new(),
        }).collect();
        prop_assert_eq!(frames, payloads);
    }

    #[test]
    fn arbitrary_streams_are_frames_or_an_error(pieces in vec(vec(any::<u8>(), 0..200), 0..20)) {
        let mut reader = FrameReader::server(1_024);
        'stream: for piece in pieces {
            reader.push(&piece);
            loop {
                match reader.next_input() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
    }

    #[test]
    fn arbitrary_hellos_are_refused(bytes in vec(any::<u8>(), 0..400)) {
        let authority = CertificateAuthority::generate(NOW_S);
        let _ = Responder::start(&header(), &authority, &bytes);
        let initiator = Initiator::new(&header(), Hello::Xx);
        let (responder, _) = Responder::start(&header(), &authority, initiator.hello()).unwrap();
        prop_assert!(responder.finish(&bytes).is_err());
        prop_assert!(initiator.read(&bytes).is_err());
    }

    #[test]
    fn jids_round_trip(user in "[0-9]{5,15}", device in 0_u16..100, lid in any::<bool>()) {
        let jid = Jid::new(user, device, if lid { Domain::Lid } else { Domain::Pn });
        prop_assert_eq!(Jid::parse(&jid.to_string()), Some(jid));
    }
}

#[test]
fn known_nodes_have_the_documented_bytes() {
    let ping = Node::new("iq")
        .attr("type", "get")
        .attr("to", "s.whatsapp.net")
        .attr("id", "98765");
    // Flags, a list of seven, six tokens, then the id: packed, of an odd length.
    let bytes = [0, 248, 7, 25, 4, 41, 17, 3, 8, 255, 0x83, 0x98, 0x76, 0x5F];
    assert_eq!(encode_to_vec(&ping).unwrap().as_ref(), bytes);
    let user = Node::new("user").attr("jid", "123456789:3@lid");
    let bytes = encode_to_vec(&user).unwrap();
    assert!(
        bytes.windows(3).any(|part| part == [247, 1, 3]),
        "a device address has the device form"
    );
}

#[test]
fn the_server_address_reads_the_same_in_both_forms() {
    assert_eq!(Jid::parse("s.whatsapp.net"), Jid::parse("@s.whatsapp.net"));
    // A pair with an empty user, as some clients write it.
    let bytes = Bytes::from_static(&[0, 248, 3, 25, 17, 250, 0, 3]);
    let node = decode(bytes, Limits::default()).unwrap();
    assert_eq!(node.get("to"), Some("s.whatsapp.net"));
}

#[test]
fn tokens_are_found_by_text_and_by_index() {
    assert_eq!(token::single(0), None);
    for index in 1..=235 {
        let text = token::single(index).unwrap();
        assert_eq!(token::find(text), Some(token::Token::Single(index)));
    }
    for dictionary in 0..4 {
        for index in 0..=255 {
            let text = token::double(dictionary, index).unwrap();
            assert_eq!(token::find(text), Some(token::Token::Double(dictionary, index)));
        }
    }
    assert_eq!((token::single(236), token::double(4, 0)), (None, None));
}

#[test]
fn deep_nesting_is_refused() {
    let mut node = Node::new("a");
    for _ in 0..40 {
        node = Node::new("a").child(node);
    }
    let bytes = encode_to_vec(&node).unwrap().freeze();
    assert_eq!(decode(bytes, Limits::default()), Err(NodeError::TooDeep(32)));
}

#[test]
fn many_nodes_are_refused() {
    let node = Node::new("a").with_children(vec![Node::new("b"); 200]);
    let bytes = encode_to_vec(&node).unwrap().freeze();
    let limits = Limits {
        items_max: 100,
        ..Limits::default()
    };
    assert_eq!(decode(bytes, limits), Err(NodeError::TooMany(100)));
}

fn deflated(plain: &[u8]) -> Bytes {
    let mut out = vec![2];
    let mut encoder = ZlibEncoder::new(&mut out, Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap();
    out.into()
}

#[test]
fn compressed_nodes_are_read() {
    let node = Node::new("message").attr("id", "1").bytes(vec![7; 5_000]);
    let plain = encode_to_vec(&node).unwrap();
    assert_eq!(decode(deflated(&plain[1..]), Limits::default()), Ok(node));
}

#[test]
fn a_decompression_bomb_is_refused() {
    let limits = Limits {
        inflated_bytes_max: 10_000,
        ..Limits::default()
    };
    assert_eq!(
        decode(deflated(&vec![0; 1 << 20]), limits),
        Err(NodeError::BadCompression(10_000))
    );
}

#[test]
fn a_frame_over_the_limit_is_refused_before_it_arrives() {
    let mut reader = FrameReader::client(1_000);
    reader.push(&[0, 4, 0]);
    assert_eq!(
        reader.next_input(),
        Err(FrameError::TooLong {
            bytes: 1_024,
            max: 1_000
        })
    );
}

#[test]
fn a_stream_without_a_header_is_refused_at_its_first_byte() {
    let mut reader = FrameReader::server(1_000);
    reader.push(b"G");
    assert_eq!(reader.next_input(), Err(FrameError::NoHeader));
}

fn handshake(hello: Hello) {
    let authority = CertificateAuthority::generate(NOW_S);
    let client_key = KeyPair::generate();
    let initiator = Initiator::new(&header(), hello);
    let (responder, answer) = Responder::start(&header(), &authority, initiator.hello()).unwrap();
    let greeted = initiator.read(&answer).unwrap();
    verify_chain(&greeted.chain, authority.root(), &greeted.server_key).unwrap();
    let other = CertificateAuthority::generate(NOW_S);
    assert!(matches!(
        verify_chain(&greeted.chain, other.root(), &greeted.server_key),
        Err(NoiseError::Certificate(_))
    ));
    let (finish, mut client) = greeted.finish(&client_key, b"payload").unwrap();
    let mut server = responder.finish(&finish).unwrap();
    assert_eq!(
        (&server.client_key, server.payload.as_slice()),
        (client_key.public(), b"payload".as_slice())
    );

    let mut reader = FrameReader::client(1_000);
    let mut wire = BytesMut::new();
    for text in ["one", "two"] {
        server
            .transport
            .sender
            .seal_frame(text.as_bytes(), &mut wire)
            .unwrap();
    }
    reader.push(&wire);
    for text in ["one", "two"] {
        let Some(Input::Frame(frame)) = reader.next_input().unwrap() else {
            panic!("no frame")
        };
        assert_eq!(client.open(frame).unwrap(), text.as_bytes());
    }
    let mut wire = BytesMut::new();
    client.sender.seal_frame(b"three", &mut wire).unwrap();
    assert_eq!(
        server.transport.open(wire.split_off(3)).unwrap(),
        b"three".as_slice()
    );
}

#[test]
fn xx_gives_both_sides_the_same_keys() {
    handshake(Hello::Xx);
}

#[test]
fn a_refused_ik_goes_on_as_xx_fallback() {
    handshake(Hello::RefusedIk);
}

#[test]
fn a_repeated_frame_does_not_decrypt() {
    let authority = CertificateAuthority::generate(NOW_S);
    let initiator = Initiator::new(&header(), Hello::Xx);
    let (responder, answer) = Responder::start(&header(), &authority, initiator.hello()).unwrap();
    let (finish, mut client) = initiator
        .read(&answer)
        .unwrap()
        .finish(&KeyPair::generate(), b"")
        .unwrap();
    let mut server = responder.finish(&finish).unwrap().transport;
    let mut wire = BytesMut::new();
    client.sender.seal_frame(b"once", &mut wire).unwrap();
    let frame = wire.split_off(3);
    assert!(server.open(frame.clone()).is_ok());
    assert!(matches!(server.open(frame), Err(NoiseError::Decrypt)));
}

#[test]
fn a_low_order_key_is_refused() {
    let authority = CertificateAuthority::generate(NOW_S);
    let hello = super::proto::HandshakeMessage {
        client_hello: Some(super::proto::ClientHello {
            ephemeral: Some(vec![0; 32]),
            ..Default::default()
        }),
        ..Default::default()
    };
    let started = Responder::start(&header(), &authority, &prost::Message::encode_to_vec(&hello));
    assert!(matches!(started, Err(NoiseError::WeakKey)));
}
