use super::*;
use crate::signal::fixture::{acquainted, alice, array, bob, introduced, octets};

/// Two prekey messages another implementation made from the bundle of the phone with these keys.
const IDENTITY: &str = "0874509da162123c263237ebaa2c983f48add4c1af9c704cd628ca49e1b05371";
const SIGNED_PREKEY: &str = "68b362742645bbf13ab3c54d960bc3c76a2dda192d54c3b4c382eab80e0c1877";
const ONE_TIME_KEY: &str = "48080cd3f18af5357f88e228044877fad45bb1dd9d68f07ba8c594ad2ae33670";
const FIRST: &str = "3308011221059b9f050f89e08006fef40243904458edd647fbad2f03feb25dd08ab116eb\
    437c1a2105d03e635f9dd8a99606002cc4297a6ee410d9430a7beabc3ee3267a953d0e4b\
    592242330a21051ad1a95e350a444527397b542e3ffd24a7f722f0a7eaa012c8eb4834fe\
    d9011e100018002210ce33ac0ce5b929d42c0981511af82788dd9af9fba9a14b0c284d30\
    01";
const SECOND: &str = "3308011221059b9f050f89e08006fef40243904458edd647fbad2f03feb25dd08ab116eb\
    437c1a2105d03e635f9dd8a99606002cc4297a6ee410d9430a7beabc3ee3267a953d0e4b\
    592242330a21051ad1a95e350a444527397b542e3ffd24a7f722f0a7eaa012c8eb4834fe\
    d9011e100118002210ec9b7d96245009d7550a795748aca9cda0f0079108c4befa284d30\
    01";

fn recorded_phone() -> Phone {
    let signed_pair = KeyPair::from_private(array(SIGNED_PREKEY));
    let mut phone = Phone {
        identity: KeyPair::from_private(array(IDENTITY)),
        one_time_keys: [OneTimeKey {
            id: 1,
            pair: KeyPair::from_private(array(ONE_TIME_KEY)),
        }]
        .into(),
        ..Phone::generate()
    };
    phone.signed_prekey.public = *signed_pair.public();
    phone.signed_pair = signed_pair;
    phone
}

#[test]
fn messages_of_another_implementation_decrypt() {
    let mut phone = recorded_phone();
    let (first, second) = (octets(FIRST), octets(SECOND));
    assert_eq!(
        phone.decrypt(&bob(), CiphertextKind::Pkmsg, &second).unwrap(),
        b"second"
    );
    assert_eq!(
        phone.decrypt(&bob(), CiphertextKind::Pkmsg, &first).unwrap(),
        b"first"
    );
    assert!(phone.one_time_keys.is_empty());
}

#[test]
fn bundles_carry_different_one_time_keys_and_a_valid_signature() {
    let mut phone = Phone::generate();
    let (a, b) = (phone.fresh_bundle(), phone.fresh_bundle());
    assert_eq!(a.signed_prekey, b.signed_prekey);
    let (a_key, b_key) = (a.prekey.unwrap(), b.prekey.unwrap());
    assert_ne!(a_key.id, b_key.id);
    assert_ne!(a_key.public, b_key.public);
    let signed = typed(&a.signed_prekey.public);
    assert!(xeddsa_verify(&a.identity, &signed, &a.signed_prekey.signature));
    assert!((1..0x4000).contains(&a.registration_id));
}

#[test]
fn one_time_keys_beyond_the_limit_push_out_the_oldest() {
    let mut phone = Phone::generate();
    let oldest = phone.fresh_bundle();
    let kept = phone.fresh_bundle();
    for _ in 2..=ONE_TIME_KEYS_MAX {
        phone.fresh_bundle();
    }
    assert_eq!(phone.one_time_keys.len(), ONE_TIME_KEYS_MAX);
    let mut send = |bundle: &Bundle| {
        let mut sender = Phone::generate();
        sender.start_session(&bob(), bundle).unwrap();
        let message = sender.encrypt(&bob(), b"hello").unwrap();
        phone.decrypt(&alice(), message.kind, &message.bytes)
    };
    assert_eq!(send(&oldest), Err(SessionError::UnknownPrekey(1)));
    assert_eq!(send(&kept).unwrap(), b"hello");
}

#[test]
fn key_ids_start_over_after_three_bytes() {
    let mut phone = Phone {
        next_key_id: KEY_ID_MAX,
        ..Phone::generate()
    };
    assert_eq!(phone.fresh_bundle().prekey.unwrap().id, KEY_ID_MAX);
    assert_eq!(phone.fresh_bundle().prekey.unwrap().id, 1);
}

#[test]
fn bundle_with_a_forged_signed_prekey_is_refused() {
    let (mut phone, mut other) = (Phone::generate(), Phone::generate());
    let mut bundle = other.fresh_bundle();
    bundle.signed_prekey.public = *KeyPair::generate().public();
    assert_eq!(
        phone.start_session(&bob(), &bundle),
        Err(SessionError::BundleSignature)
    );
    assert!(!phone.has_session(&bob()));
}

#[test]
fn bundle_without_a_one_time_key_suffices() {
    let (mut phone, mut other) = (Phone::generate(), Phone::generate());
    let bundle = Bundle {
        prekey: None,
        ..other.fresh_bundle()
    };
    phone.start_session(&bob(), &bundle).unwrap();
    let message = phone.encrypt(&bob(), b"hello").unwrap();
    assert_eq!(
        other.decrypt(&alice(), message.kind, &message.bytes).unwrap(),
        b"hello"
    );
}

#[test]
fn one_time_key_serves_one_session() {
    let mut phone = Phone::generate();
    let bundle = phone.fresh_bundle();
    let mut answers = [alice(), bob()].map(|address| {
        let mut sender = Phone::generate();
        sender.start_session(&address, &bundle).unwrap();
        let message = sender.encrypt(&address, b"hello").unwrap();
        phone.decrypt(&address, message.kind, &message.bytes)
    });
    assert_eq!(answers[0].as_deref(), Ok(b"hello".as_slice()));
    let id = bundle.prekey.map(|key| key.id).unwrap();
    assert_eq!(
        answers[1].as_mut().err(),
        Some(&mut SessionError::UnknownPrekey(id))
    );
}

#[test]
fn failed_prekey_message_leaves_the_phone_as_it_was() {
    let (mut a, mut b) = introduced();
    let message = a.encrypt(&bob(), b"hello").unwrap();
    let mut forged = PrekeyMessage::parse(&message.bytes).unwrap().message;
    *forged.last_mut().unwrap() ^= 1;
    let at = message
        .bytes
        .windows(forged.len())
        .position(|w| w[..9] == forged[..9])
        .unwrap();
    let mut bytes = message.bytes.clone();
    bytes[at..at + forged.len()].copy_from_slice(&forged);
    assert_eq!(
        b.decrypt(&alice(), message.kind, &bytes),
        Err(SessionError::BadMac)
    );
    assert!(!b.has_session(&alice()));
    assert_eq!(
        b.decrypt(&alice(), message.kind, &message.bytes).unwrap(),
        b"hello"
    );
}

#[test]
fn unknown_signed_prekey_is_named() {
    let (mut a, mut b) = introduced();
    let message = a.encrypt(&bob(), b"hello").unwrap();
    b.signed_prekey.id = 9;
    assert_eq!(
        b.decrypt(&alice(), message.kind, &message.bytes),
        Err(SessionError::UnknownSignedPrekey(1))
    );
}

#[test]
fn without_a_session_nothing_is_encrypted_or_decrypted() {
    let (mut a, mut b) = introduced();
    assert_eq!(b.encrypt(&alice(), b"x"), Err(SessionError::NoSession));
    let pkmsg = a.encrypt(&bob(), b"x").unwrap();
    let inner = PrekeyMessage::parse(&pkmsg.bytes).unwrap().message;
    assert_eq!(
        b.decrypt(&alice(), CiphertextKind::Msg, &inner),
        Err(SessionError::NoSession)
    );
    assert!(a.forget_session(&bob()));
    assert!(!a.forget_session(&bob()));
    assert_eq!(a.encrypt(&bob(), b"x"), Err(SessionError::NoSession));
}

#[test]
fn sessions_beyond_the_limit_are_refused() {
    let (mut a, mut b) = introduced();
    let message = a.encrypt(&bob(), b"x").unwrap();
    b.sessions
        .extend((0..SESSIONS_MAX).map(|n| (Address::new(n.to_string(), 0), Session::default())));
    let refused = SessionError::TooManySessions;
    assert_eq!(b.start_session(&alice(), &a.fresh_bundle()), Err(refused));
    assert_eq!(b.decrypt(&alice(), message.kind, &message.bytes), Err(refused));
    b.forget_session(&Address::new("0", 0));
    assert_eq!(b.decrypt(&alice(), message.kind, &message.bytes).unwrap(), b"x");
}

#[test]
fn stored_phone_continues_where_it_was() {
    let (mut a, mut b) = introduced();
    for round in 0..3u8 {
        let message = a.encrypt(&bob(), &[round]).unwrap();
        b = serde_json::from_str(&serde_json::to_string(&b).unwrap()).unwrap();
        assert_eq!(
            b.decrypt(&alice(), message.kind, &message.bytes).unwrap(),
            [round]
        );
        a = serde_json::from_str(&serde_json::to_string(&a).unwrap()).unwrap();
        let back = b.encrypt(&alice(), &[round]).unwrap();
        assert_eq!(a.decrypt(&bob(), back.kind, &back.bytes).unwrap(), [round]);
    }
}

#[test]
fn ciphertext_kinds_are_named_like_the_stanza_attribute() {
    for kind in [CiphertextKind::Msg, CiphertextKind::Pkmsg] {
        assert_eq!(CiphertextKind::from_name(kind.as_str()), Some(kind));
    }
    assert_eq!(CiphertextKind::from_name("skmsg"), None);
}

#[test]
fn phone_put_together_from_its_parts_continues_where_it_was() {
    let (mut a, mut b) = acquainted();
    // The key of the first message was used up.
    assert_eq!(b.oldest_one_time_key(), None);
    b.next_key_id = KEY_ID_MAX;
    let unused = [0; 3].map(|_| b.fresh_bundle().prekey.unwrap().id);
    assert_eq!(unused, [KEY_ID_MAX, 1, 2]);
    // Keys come back in any order; the oldest is still the first to go.
    let keys = [2, KEY_ID_MAX, 1].map(|id| (id, b.one_time_key(id).unwrap().clone()));
    let sessions = HashMap::from([(alice(), b.session(&alice()).unwrap().clone())]);
    let mut b = Phone::from_parts(b.core(), keys, sessions);
    assert_eq!(b.oldest_one_time_key(), Some(KEY_ID_MAX));
    assert_eq!(b.fresh_bundle().prekey.unwrap().id, 3);
    let there = a.encrypt(&bob(), b"on").unwrap();
    assert_eq!(b.decrypt(&alice(), there.kind, &there.bytes).unwrap(), b"on");
}
