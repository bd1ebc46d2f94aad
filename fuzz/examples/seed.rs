//! Writes the seeds of the fuzz targets, made by the sandbox's own encoders, to `fuzz/corpus`.
//! Files found by fuzzing lie beside them and are left alone.

use std::fs;
use std::path::Path;

use bytes::BytesMut;
use prost::Message as _;
use roost_sandbox::signal::padding::pad;
use roost_sandbox::signal::proto::Message;
use roost_sandbox::signal::{Address, KeyPair, Phone};
use roost_sandbox::wire::frame::{client_header, write_frame};
use roost_sandbox::wire::node::{Node, encode_to_vec};
use roost_sandbox::wire::noise::{CertificateAuthority, Hello, Initiator, Responder};
use roost_sandbox::wire::proto::{ClientPayload, DevicePairingData};
use roost_sandbox::wire::websocket;

/// Keeps a seed; `choice` is the byte by which a target decides what to do with the rest.
fn keep(target: &str, name: &str, choice: Option<u8>, bytes: &[u8]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder).unwrap();
    let seed: Vec<u8> = choice.into_iter().chain(bytes.iter().copied()).collect();
    fs::write(folder.join(name), seed).unwrap();
}

fn nodes() -> Vec<(&'static str, Node)> {
    let iq = |id: &'static str, kind: &'static str, namespace: &'static str| {
        Node::new("iq")
            .attr("id", id)
            .attr("to", "s.whatsapp.net")
            .attr("type", kind)
            .attr("xmlns", namespace)
    };
    let enc = || {
        Node::new("enc")
            .attr("v", "2")
            .attr("type", "pkmsg")
            .bytes(vec![0x33; 40])
    };
    let copy = |jid: &'static str| Node::new("to").attr("jid", jid).child(enc());
    let key = Node::new("key")
        .child(Node::new("id").bytes(vec![0, 0, 1]))
        .child(Node::new("value").bytes(vec![7; 32]));
    vec![
        ("ping", iq("q1", "get", "w:p").child(Node::new("ping"))),
        (
            "prekeys",
            iq("q2", "set", "encrypt")
                .child(Node::new("registration").bytes(vec![0, 0, 1, 2]))
                .child(Node::new("list").with_children(vec![key.clone(), key])),
        ),
        (
            "message",
            Node::new("message")
                .attr("to", "15550000002@s.whatsapp.net")
                .attr("id", "3EB09E99C06120F63617DD")
                .attr("type", "text")
                .child(Node::new("participants").with_children(vec![
                    copy("15550000002@s.whatsapp.net"),
                    copy("15550000002:3@s.whatsapp.net"),
                    copy("647064193760921:12@lid"),
                ])),
        ),
        (
            "receipt",
            Node::new("receipt")
                .attr("id", "A1")
                .attr("to", "15550000001:1@s.whatsapp.net")
                .attr("type", "read")
                .attr("t", "1795411878")
                .child(Node::new("list").child(Node::new("item").attr("id", "A2"))),
        ),
        (
            "odd",
            Node::new("unheard-of")
                .attr("hex", "0123456789ABCDEF")
                .attr("packed", "12-34.5")
                .attr("empty", "")
                .attr("text", "größer")
                .bytes("x".repeat(300)),
        ),
    ]
}

fn main() {
    let header = client_header(3);
    let authority = CertificateAuthority::generate(1_800_000_000);
    let mut stream = BytesMut::from(&b"ED\x00\x01\x00\x00\x03abc"[..]);
    stream.extend_from_slice(&header);
    for (name, node) in nodes() {
        let plain = encode_to_vec(&node).unwrap();
        keep("node", name, None, &plain);
        write_frame(&mut stream, &plain).unwrap();
        for (side, mask) in [("client", Some([1, 2, 3, 4])), ("server", None)] {
            let mut message = websocket::begin(plain.len());
            message.extend_from_slice(&plain);
            let mut wire = websocket::ping(b"now", mask).to_vec();
            wire.extend_from_slice(&websocket::finish(message, mask));
            wire.extend_from_slice(&websocket::close(1000, "done", mask));
            let choice = u8::from(mask.is_none()) | 7 << 1;
            keep("websocket", &format!("{name}-{side}"), Some(choice), &wire);
        }
    }
    keep(
        "node",
        "deflated",
        None,
        b"\x02x\xda\xfb\xc1(\x01\x00\x02\xfd\x01\x05",
    );
    keep("frame", "server", Some(5 << 1), &stream);
    let at = stream.len() - 60;
    keep("frame", "tail", Some(5 << 1), &stream[at..]);
    keep(
        "frame",
        "client",
        Some(1 | 9 << 1),
        &[&[0, 0, 4][..], b"WAWA", &[0, 0, 1, 9]].concat(),
    );
    handshake(&header, &authority);
    payload();
}

fn handshake(header: &[u8; 4], authority: &CertificateAuthority) {
    for (name, hello) in [("xx", Hello::Xx), ("ik", Hello::RefusedIk)] {
        let initiator = Initiator::new(header, hello);
        keep("handshake", &format!("{name}-hello"), Some(0), initiator.hello());
        let (responder, answer) = Responder::start(header, authority, initiator.hello()).unwrap();
        keep("handshake", &format!("{name}-answer"), Some(2), &answer);
        let greeted = initiator.read(&answer).unwrap();
        keep("handshake", &format!("{name}-chain"), Some(3), &greeted.chain);
        let (finish, _) = greeted.finish(&KeyPair::generate(), b"payload").unwrap();
        keep("handshake", &format!("{name}-finish"), Some(1), &finish);
        responder.finish(&finish).unwrap();
    }
    keep("handshake", "exchange", Some(4), b"payload");
}

fn payload() {
    let login = ClientPayload {
        username: Some(15_550_000_001),
        device: Some(3),
        passive: Some(true),
        ..Default::default()
    };
    let registration = ClientPayload {
        device_pairing_data: Some(DevicePairingData {
            e_regid: Some(vec![0, 0, 1, 2]),
            e_ident: Some(vec![7; 32]),
            e_skey_id: Some(vec![0, 0, 1]),
            e_skey_val: Some(vec![8; 32]),
            e_skey_sig: Some(vec![9; 64]),
            ..Default::default()
        }),
        ..Default::default()
    };
    keep("payload", "login", Some(0), &login.encode_to_vec());
    keep("payload", "registration", Some(0), &registration.encode_to_vec());
    let text = Message::of_text("hello").device_sent("15550000002@s.whatsapp.net");
    keep("payload", "text", Some(1), &text.encode_to_vec());
    keep("payload", "padded", Some(3), &pad(text.encode_to_vec()));
    let (mut phone, mut other) = (Phone::generate(), Phone::generate());
    let (own, peer) = (Address::new("2", 0), Address::new("1", 1));
    other.start_session(&own, &phone.fresh_bundle()).unwrap();
    let first = other.encrypt(&own, b"hello").unwrap();
    phone.decrypt(&peer, first.kind, &first.bytes).unwrap();
    let answer = phone.encrypt(&peer, b"hello yourself").unwrap();
    keep("payload", "pkmsg", Some(2), &first.bytes);
    keep("payload", "msg", Some(2), &answer.bytes);
    let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let code = format!("https://wa.me/settings/linked_devices#2@abc,{key},{key},{key},9");
    keep("payload", "qr", Some(4), code.as_bytes());
    keep("payload", "blob", Some(6), &[0x55; 42]);
}
