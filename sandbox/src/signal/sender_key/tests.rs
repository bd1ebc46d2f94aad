//! Facts about sender keys.

use proptest::prelude::*;

use super::{KEYS_MAX, OwnSenderKey, ReceivedSenderKeys, SenderKeyError};
use crate::signal::SessionError;
use crate::signal::session::FORWARD_JUMP_MAX;

fn told(own: &OwnSenderKey) -> ReceivedSenderKeys {
    let mut received = ReceivedSenderKeys::default();
    received.learn(&own.distribution()).unwrap();
    received
}

#[test]
fn every_holder_of_the_key_reads_messages_in_any_order_and_each_once() {
    let mut own = OwnSenderKey::generate();
    let mut readers = [told(&own), told(&own)];
    let sent: Vec<_> = (0..5_u8).map(|n| own.encrypt(&[n; 20]).unwrap()).collect();
    for (reader, order) in readers.iter_mut().zip([[0, 1, 2, 3, 4], [4, 1, 0, 3, 2]]) {
        for at in order {
            assert_eq!(reader.decrypt(&sent[at]).unwrap(), [at as u8; 20]);
        }
        for message in &sent {
            assert!(matches!(
                reader.decrypt(message),
                Err(SenderKeyError::Chain(SessionError::Duplicate { .. }))
            ));
        }
    }
}

#[test]
fn a_late_holder_reads_on_but_not_back() {
    let mut own = OwnSenderKey::generate();
    let before = own.encrypt(b"before").unwrap();
    let mut late = told(&own);
    assert_eq!(late.decrypt(&own.encrypt(b"after").unwrap()).unwrap(), b"after");
    assert!(late.decrypt(&before).is_err());
}

#[test]
fn a_key_told_twice_stays_as_far_as_it_has_run() {
    let mut own = OwnSenderKey::generate();
    let distribution = own.distribution();
    let mut reader = told(&own);
    let first = own.encrypt(b"first").unwrap();
    reader.decrypt(&first).unwrap();
    reader.learn(&distribution).unwrap();
    assert!(reader.decrypt(&first).is_err());
    assert_eq!(
        reader.decrypt(&own.encrypt(b"second").unwrap()).unwrap(),
        b"second"
    );
}

#[test]
fn former_keys_are_kept_for_messages_on_their_way_up_to_the_limit() {
    let mut keys: Vec<_> = (0..=KEYS_MAX).map(|_| OwnSenderKey::generate()).collect();
    let mut reader = ReceivedSenderKeys::default();
    for key in &keys {
        reader.learn(&key.distribution()).unwrap();
    }
    let oldest = keys[0].encrypt(b"x").unwrap();
    assert_eq!(
        reader.decrypt(&oldest),
        Err(SenderKeyError::UnknownKey(keys[0].id()))
    );
    for key in &mut keys[1..] {
        assert_eq!(reader.decrypt(&key.encrypt(b"y").unwrap()).unwrap(), b"y");
    }
}

#[test]
fn a_message_signed_by_a_reader_is_refused() {
    let own = OwnSenderKey::generate();
    let mut reader = told(&own);
    // Who reads knows the chain, but not the signing key.
    let mut forged = own.clone();
    forged.signing = crate::signal::KeyPair::generate();
    assert_eq!(
        reader.decrypt(&forged.encrypt(b"forged").unwrap()),
        Err(SenderKeyError::Signature)
    );
    let mut own = own;
    assert_eq!(reader.decrypt(&own.encrypt(b"real").unwrap()).unwrap(), b"real");
}

#[test]
fn a_message_too_far_ahead_is_refused() {
    let mut own = OwnSenderKey::generate();
    let mut reader = told(&own);
    let sent: Vec<_> = (0..FORWARD_JUMP_MAX + 2)
        .map(|_| own.chain.step().map(|(_, next)| own.chain = next))
        .collect();
    assert!(sent.iter().all(Result::is_ok));
    assert!(matches!(
        reader.decrypt(&own.encrypt(b"far").unwrap()),
        Err(SenderKeyError::Chain(SessionError::TooFarAhead { .. }))
    ));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = told(&OwnSenderKey::generate());
        prop_assert!(reader.decrypt(&bytes).is_err());
        let _ = reader.learn(&bytes);
    }
}
