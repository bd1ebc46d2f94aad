use proptest::prelude::*;

use super::message::PrekeyMessage;
use super::*;
use crate::signal::fixture::{acquainted, alice, bob, introduced};
use crate::signal::phone::Phone;
use crate::signal::{Address, Ciphertext};

fn deliver(to: &mut Phone, from: &Address, message: &Ciphertext) -> Result<Vec<u8>, SessionError> {
    to.decrypt(from, message.kind, &message.bytes)
}

#[test]
fn initiator_repeats_the_prekey_form_until_answered() {
    let (mut a, mut b) = introduced();
    for text in [b"1", b"2"] {
        let message = a.encrypt(&bob(), text).unwrap();
        assert_eq!(message.kind, CiphertextKind::Pkmsg);
        assert_eq!(deliver(&mut b, &alice(), &message).unwrap(), text);
    }
    let answer = b.encrypt(&alice(), b"3").unwrap();
    assert_eq!(answer.kind, CiphertextKind::Msg);
    assert_eq!(deliver(&mut a, &bob(), &answer).unwrap(), b"3");
    assert_eq!(a.encrypt(&bob(), b"4").unwrap().kind, CiphertextKind::Msg);
}

#[test]
fn repeated_message_is_reported_as_duplicate() {
    let (mut a, mut b) = introduced();
    let first = a.encrypt(&bob(), b"first").unwrap();
    deliver(&mut b, &alice(), &first).unwrap();
    let duplicate = SessionError::Duplicate { counter: 0 };
    assert_eq!(deliver(&mut b, &alice(), &first), Err(duplicate));

    let (mut a, mut b) = acquainted();
    let message = a.encrypt(&bob(), b"text").unwrap();
    let later = a.encrypt(&bob(), b"later").unwrap();
    deliver(&mut b, &alice(), &later).unwrap();
    deliver(&mut b, &alice(), &message).unwrap();
    assert_eq!(deliver(&mut b, &alice(), &message), Err(duplicate));
}

#[test]
fn repeated_message_of_an_archived_state_is_reported_as_duplicate() {
    let (mut a, mut b) = acquainted();
    let old = a.encrypt(&bob(), b"old").unwrap();
    deliver(&mut b, &alice(), &old).unwrap();
    a.start_session(&bob(), &b.fresh_bundle()).unwrap();
    let new = a.encrypt(&bob(), b"new").unwrap();
    deliver(&mut b, &alice(), &new).unwrap();
    let answer = deliver(&mut b, &alice(), &old);
    assert!(
        matches!(answer, Err(SessionError::Duplicate { .. })),
        "{answer:?}"
    );
}

#[test]
fn sides_that_start_at_once_settle_on_one_session() {
    let (mut a, mut b) = (Phone::generate(), Phone::generate());
    let (a_bundle, b_bundle) = (a.fresh_bundle(), b.fresh_bundle());
    a.start_session(&bob(), &b_bundle).unwrap();
    b.start_session(&alice(), &a_bundle).unwrap();
    let (from_a, from_b) = (
        a.encrypt(&bob(), b"a").unwrap(),
        b.encrypt(&alice(), b"b").unwrap(),
    );
    assert_eq!(deliver(&mut b, &alice(), &from_a).unwrap(), b"a");
    assert_eq!(deliver(&mut a, &bob(), &from_b).unwrap(), b"b");
    let mut kinds = Vec::new();
    for round in 0..4u8 {
        let there = a.encrypt(&bob(), &[round]).unwrap();
        assert_eq!(deliver(&mut b, &alice(), &there).unwrap(), [round]);
        let back = b.encrypt(&alice(), &[round]).unwrap();
        assert_eq!(deliver(&mut a, &bob(), &back).unwrap(), [round]);
        kinds = vec![there.kind, back.kind];
    }
    assert_eq!(kinds, [CiphertextKind::Msg; 2]);
}

#[test]
fn message_of_an_archived_state_still_decrypts() {
    let (mut a, mut b) = acquainted();
    let late = a.encrypt(&bob(), b"late").unwrap();
    for _ in 0..ARCHIVED_STATES_MAX {
        b.start_session(&alice(), &a.fresh_bundle()).unwrap();
    }
    assert_eq!(deliver(&mut b, &alice(), &late).unwrap(), b"late");
}

#[test]
fn states_beyond_the_archive_are_forgotten() {
    let (mut a, mut b) = acquainted();
    let late = a.encrypt(&bob(), b"late").unwrap();
    for _ in 0..=ARCHIVED_STATES_MAX {
        b.start_session(&alice(), &a.fresh_bundle()).unwrap();
    }
    assert_eq!(deliver(&mut b, &alice(), &late), Err(SessionError::BadMac));
}

#[test]
fn tampered_message_is_refused_and_harms_nothing() {
    let (mut a, mut b) = acquainted();
    let message = a.encrypt(&bob(), b"text").unwrap();
    // The first byte of the ratchet key and the counter are left alone here: a changed counter is
    // another message, and a changed key type is malformed.
    for at in [
        8,
        message.bytes.len() - 20,
        message.bytes.len() - 8,
        message.bytes.len() - 1,
    ] {
        let mut tampered = message.clone();
        tampered.bytes[at] ^= 1;
        assert_eq!(
            deliver(&mut b, &alice(), &tampered),
            Err(SessionError::BadMac),
            "byte {at}"
        );
    }
    assert_eq!(deliver(&mut b, &alice(), &message).unwrap(), b"text");
}

#[test]
fn counters_may_run_ahead_up_to_the_limit() {
    for (lost, fits) in [(FORWARD_JUMP_MAX, true), (FORWARD_JUMP_MAX + 1, false)] {
        let (mut a, mut b) = acquainted();
        for _ in 0..lost {
            a.encrypt(&bob(), b"lost").unwrap();
        }
        let message = a.encrypt(&bob(), b"last").unwrap();
        let refused = SessionError::TooFarAhead {
            counter: lost,
            expected: 0,
        };
        let expected = if fits { Ok(b"last".to_vec()) } else { Err(refused) };
        assert_eq!(deliver(&mut b, &alice(), &message), expected);
    }
}

#[test]
fn skipped_keys_beyond_the_limit_push_out_the_oldest() {
    let (mut a, mut b) = acquainted();
    let mut send = |count: usize| -> Vec<Ciphertext> {
        (0..count).map(|_| a.encrypt(&bob(), b"text").unwrap()).collect()
    };
    let messages = send(SKIPPED_KEYS_MAX + 11);
    deliver(&mut b, &alice(), &messages[1_000]).unwrap();
    deliver(&mut b, &alice(), &messages[SKIPPED_KEYS_MAX + 10]).unwrap();
    let forgotten = SessionError::Duplicate { counter: 8 };
    assert_eq!(deliver(&mut b, &alice(), &messages[8]), Err(forgotten));
    assert_eq!(deliver(&mut b, &alice(), &messages[9]).unwrap(), b"text");
}

#[test]
fn late_messages_decrypt_until_their_chain_is_forgotten() {
    for (turns, known) in [(RECEIVING_CHAINS_MAX - 1, true), (RECEIVING_CHAINS_MAX, false)] {
        let (mut a, mut b) = acquainted();
        let late = a.encrypt(&bob(), b"late").unwrap();
        let next = a.encrypt(&bob(), b"next").unwrap();
        deliver(&mut b, &alice(), &next).unwrap();
        for _ in 0..turns {
            let back = b.encrypt(&alice(), b"back").unwrap();
            deliver(&mut a, &bob(), &back).unwrap();
            let there = a.encrypt(&bob(), b"there").unwrap();
            deliver(&mut b, &alice(), &there).unwrap();
        }
        let expected = if known {
            Ok(b"late".to_vec())
        } else {
            Err(SessionError::BadMac)
        };
        assert_eq!(deliver(&mut b, &alice(), &late), expected);
    }
}

#[test]
fn prekey_message_of_another_version_is_refused() {
    assert_eq!(
        PrekeyMessage::parse(&[0x44, 8, 1]).unwrap_err(),
        SessionError::Version(4)
    );
    assert_eq!(
        SignalMessage::parse(&[0x22; 20]).unwrap_err(),
        SessionError::Version(2)
    );
    assert!(matches!(
        SignalMessage::parse(&[0x33; 7]),
        Err(SessionError::Malformed(_))
    ));
}

/// What a random run does next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Send {
        from_a: bool,
        bytes: usize,
    },
    /// Delivers one of the messages sent most recently; it may have been delivered before.
    Deliver {
        to_a: bool,
        back: usize,
    },
    Restart {
        by_a: bool,
        one_time: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (any::<bool>(), 0usize..70).prop_map(|(from_a, bytes)| Step::Send { from_a, bytes }),
        6 => (any::<bool>(), 0usize..10).prop_map(|(to_a, back)| Step::Deliver { to_a, back }),
        1 => (any::<bool>(), any::<bool>())
            .prop_map(|(by_a, one_time)| Step::Restart { by_a, one_time }),
    ]
}

struct Sent {
    message: Ciphertext,
    plain: Vec<u8>,
    delivered: bool,
}

/// Two phones and everything they sent each other.
struct Pair {
    phones: [Phone; 2],
    sent_to: [Vec<Sent>; 2],
}

impl Pair {
    fn new() -> Self {
        let (a, b) = introduced();
        Self {
            phones: [a, b],
            sent_to: [Vec::new(), Vec::new()],
        }
    }

    fn address(of: usize) -> Address {
        [alice(), bob()][of].clone()
    }

    fn restart(&mut self, by: usize, one_time: bool) {
        let other = 1 - by;
        let mut bundle = self.phones[other].fresh_bundle();
        bundle.prekey = bundle.prekey.filter(|_| one_time);
        self.phones[by]
            .start_session(&Self::address(other), &bundle)
            .unwrap();
    }

    fn send(&mut self, from: usize, bytes: usize) {
        let to = 1 - from;
        if !self.phones[from].has_session(&Self::address(to)) {
            self.restart(from, true);
        }
        let plain = vec![self.sent_to[to].len() as u8; bytes];
        let message = self.phones[from].encrypt(&Self::address(to), &plain).unwrap();
        self.sent_to[to].push(Sent {
            message,
            plain,
            delivered: false,
        });
    }

    fn deliver(&mut self, to: usize, back: usize) -> Result<(), TestCaseError> {
        let Some(at) = self.sent_to[to].len().checked_sub(1 + back) else {
            return Ok(());
        };
        let sent = &mut self.sent_to[to][at];
        let answer = deliver(&mut self.phones[to], &Self::address(1 - to), &sent.message);
        match answer {
            Ok(plain) => {
                prop_assert!(!std::mem::replace(&mut sent.delivered, true), "decrypted twice");
                prop_assert_eq!(&plain, &sent.plain);
            }
            Err(SessionError::Duplicate { .. }) => prop_assert!(sent.delivered, "never decrypted"),
            // A message that many steps of the ratchet have overtaken may be out of reach.
            Err(SessionError::BadMac) => prop_assert!(back >= RECEIVING_CHAINS_MAX),
            Err(error) => prop_assert!(false, "{error}"),
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_interleaving_decrypts_once_or_reports_a_duplicate(
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut pair = Pair::new();
        for step in steps {
            match step {
                Step::Send { from_a, bytes } => pair.send(usize::from(!from_a), bytes),
                Step::Deliver { to_a, back } => pair.deliver(usize::from(!to_a), back)?,
                Step::Restart { by_a, one_time } => pair.restart(usize::from(!by_a), one_time),
            }
        }
    }

    #[test]
    fn decoders_survive_arbitrary_bytes(mut bytes: Vec<u8>, versioned: bool) {
        if versioned {
            bytes.insert(0, 0x33);
        }
        let _ = SignalMessage::parse(&bytes);
        let _ = PrekeyMessage::parse(&bytes);
        let (_, mut b) = acquainted();
        for kind in [CiphertextKind::Msg, CiphertextKind::Pkmsg] {
            prop_assert!(b.decrypt(&alice(), kind, &bytes).is_err());
        }
    }

    #[test]
    fn changed_messages_never_decrypt(at: prop::sample::Index, bit in 0u8..8, prekey: bool) {
        let (mut a, mut b) = if prekey { introduced() } else { acquainted() };
        let mut message = a.encrypt(&bob(), b"text").unwrap();
        let untouched = message.clone();
        let at = at.index(message.bytes.len());
        message.bytes[at] ^= 1 << bit;
        if let Ok(plain) = deliver(&mut b, &alice(), &message) {
            // The registration id and the low half of the version byte are not authenticated.
            prop_assert!(prekey);
            prop_assert_eq!(plain, b"text");
        } else {
            prop_assert_eq!(deliver(&mut b, &alice(), &untouched).unwrap(), b"text");
        }
    }
}
