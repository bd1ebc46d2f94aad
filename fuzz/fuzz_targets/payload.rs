//! What is inside the frames and the ciphertexts: protobufs, padding, Signal messages, QR texts.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use prost::Message as _;
use roost_sandbox::signal::media::{self, MediaKind};
use roost_sandbox::signal::padding::{pad, unpad};
use roost_sandbox::signal::pairing::PairingQr;
use roost_sandbox::signal::proto::{AdvSignedDeviceIdentity, HistorySync, Message};
use roost_sandbox::signal::{Address, CiphertextKind, Phone, adv};
use roost_sandbox::wire::proto::{CertChain, ClientPayload, HandshakeMessage};

thread_local! {
    /// A phone with a session that the other side has answered.
    static PHONE: RefCell<Phone> = RefCell::new(acquainted());
}

fn peer() -> Address {
    Address::new("1", 1)
}

fn acquainted() -> Phone {
    let (mut phone, mut other) = (Phone::generate(), Phone::generate());
    let own = Address::new("2", 0);
    other.start_session(&own, &phone.fresh_bundle()).unwrap();
    let first = other.encrypt(&own, b"hello").unwrap();
    phone.decrypt(&peer(), first.kind, &first.bytes).unwrap();
    phone
}

fuzz_target!(|data: &[u8]| {
    let Some((choice, bytes)) = data.split_first() else {
        return;
    };
    match choice % 8 {
        0 => {
            if let Ok(payload) = ClientPayload::decode(bytes) {
                assert_eq!(ClientPayload::decode(&payload.encode_to_vec()[..]), Ok(payload));
            }
        }
        1 => {
            if let Ok(message) = Message::decode(bytes) {
                let _ = (message.innermost().text(), message.text());
                // Compared as bytes: a number that is none does not equal itself.
                let written = message.encode_to_vec();
                assert_eq!(Message::decode(&written[..]).unwrap().encode_to_vec(), written);
            }
        }
        2 => PHONE.with_borrow_mut(|phone| {
            for kind in [CiphertextKind::Msg, CiphertextKind::Pkmsg] {
                assert!(
                    phone.decrypt(&peer(), kind, bytes).is_err(),
                    "nobody forges a message"
                );
            }
        }),
        3 => {
            let _ = unpad(bytes);
            assert_eq!(unpad(&pad(bytes.to_vec())), Ok(bytes));
        }
        4 => {
            let _ = PairingQr::parse(&String::from_utf8_lossy(bytes));
        }
        5 => {
            if let Ok(identity) = AdvSignedDeviceIdentity::decode(bytes) {
                assert!(
                    adv::verify(&identity, &[9; 32]).is_err(),
                    "nobody forges a device"
                );
            }
        }
        6 => {
            let _ = media::open(MediaKind::Image, &[7; 32], bytes);
            let _ = HandshakeMessage::decode(bytes);
            let _ = CertChain::decode(bytes);
        }
        _ => {
            let _ = HistorySync::decode(bytes);
        }
    }
});
