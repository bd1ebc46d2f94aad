//! Both sides of the Noise handshake, and the frames after it, with every message in foreign hands.

#![no_main]

use std::sync::LazyLock;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use roost_sandbox::signal::KeyPair;
use roost_sandbox::wire::frame::client_header;
use roost_sandbox::wire::noise::{CertificateAuthority, Hello, Initiator, Responder, verify_chain};

const NOW_S: u64 = 1_800_000_000;

static AUTHORITY: LazyLock<CertificateAuthority> = LazyLock::new(|| CertificateAuthority::generate(NOW_S));
static CLIENT: LazyLock<KeyPair> = LazyLock::new(KeyPair::generate);

fuzz_target!(|data: &[u8]| {
    let Some((choice, message)) = data.split_first() else {
        return;
    };
    let header = client_header(3);
    let hello = if choice & 0x80 == 0 {
        Hello::Xx
    } else {
        Hello::RefusedIk
    };
    match choice & 7 {
        0 => {
            if let Ok((responder, _)) = Responder::start(&header, &AUTHORITY, message) {
                assert!(responder.finish(message).is_err());
            }
        }
        1 => {
            let initiator = Initiator::new(&header, hello);
            let (responder, _) = Responder::start(&header, &AUTHORITY, initiator.hello()).unwrap();
            assert!(responder.finish(message).is_err(), "nobody forges a finish");
        }
        2 => assert!(
            Initiator::new(&header, hello).read(message).is_err(),
            "nobody forges a hello"
        ),
        3 => assert!(verify_chain(message, AUTHORITY.root(), CLIENT.public()).is_err()),
        _ => exchange(&header, hello, message),
    }
});

/// A whole handshake whose payload is the input, and a frame that is changed on its way.
fn exchange(header: &[u8; 4], hello: Hello, payload: &[u8]) {
    let initiator = Initiator::new(header, hello);
    let (responder, answer) = Responder::start(header, &AUTHORITY, initiator.hello()).unwrap();
    let greeted = initiator.read(&answer).unwrap();
    verify_chain(&greeted.chain, AUTHORITY.root(), &greeted.server_key).unwrap();
    let (finish, mut client) = greeted.finish(&CLIENT, payload).unwrap();
    let mut server = responder.finish(&finish).unwrap();
    assert_eq!(
        (&server.client_key, &server.payload[..]),
        (CLIENT.public(), payload)
    );
    let mut frame = BytesMut::new();
    client.sender.seal_frame(payload, &mut frame).unwrap();
    let mut frame = frame.split_off(3);
    let at = payload.first().map_or(0, |byte| usize::from(*byte) % frame.len());
    frame[at] ^= 1;
    assert!(server.transport.open(frame).is_err());
    let mut frame = BytesMut::new();
    client.sender.seal_frame(payload, &mut frame).unwrap();
    // The frame that did not decrypt has used up its nonce.
    assert_eq!(server.transport.open(frame.split_off(3)).unwrap(), payload);
}
