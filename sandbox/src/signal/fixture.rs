//! Fixed bytes and builders the tests of this folder share.

use super::phone::Phone;
use super::{Address, CiphertextKind};

/// Reads hexadecimal digits.
pub fn octets(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2));
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// Reads hexadecimal digits of a fixed length.
pub fn array<const N: usize>(hex: &str) -> [u8; N] {
    octets(hex).try_into().unwrap()
}

pub fn alice() -> Address {
    Address::new("alice@s.whatsapp.net", 0)
}

pub fn bob() -> Address {
    Address::new("bob@s.whatsapp.net", 0)
}

/// Two phones; Alice has Bob's bundle.
pub fn introduced() -> (Phone, Phone) {
    let (mut alice, mut bob_phone) = (Phone::generate(), Phone::generate());
    alice.start_session(&bob(), &bob_phone.fresh_bundle()).unwrap();
    (alice, bob_phone)
}

/// Two phones that have each decrypted a message of the other.
pub fn acquainted() -> (Phone, Phone) {
    let (mut a, mut b) = introduced();
    let there = a.encrypt(&bob(), b"there").unwrap();
    b.decrypt(&alice(), there.kind, &there.bytes).unwrap();
    let back = b.encrypt(&alice(), b"back").unwrap();
    assert_eq!(back.kind, CiphertextKind::Msg);
    a.decrypt(&bob(), back.kind, &back.bytes).unwrap();
    (a, b)
}
