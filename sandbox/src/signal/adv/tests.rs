use proptest::prelude::*;

use super::*;

const SECRET: [u8; 32] = [7; 32];

fn companion(identity: &[u8; 32]) -> Companion<'_> {
    Companion {
        identity,
        raw_id: 77,
        timestamp: 1_700_000_000,
        key_index: 3,
    }
}

/// What a companion answers to pair-success, after its own checks.
fn companion_answer(sealed: &[u8], identity: &KeyPair) -> AdvSignedDeviceIdentity {
    let sealed = AdvSignedDeviceIdentityHmac::decode(sealed).unwrap();
    let bytes = sealed.details.unwrap();
    assert_eq!(sealed.hmac.unwrap(), hmac_sha256(&SECRET, &[&bytes]));
    let mut signed = AdvSignedDeviceIdentity::decode(bytes.as_slice()).unwrap();
    let details = signed.details.clone().unwrap();
    let account = signed.account_signature_key.clone().unwrap();
    let text = [[6u8, 1].as_slice(), &details, identity.public(), &account].concat();
    signed.device_signature = Some(identity.sign(&text).to_vec());
    signed
}

#[test]
fn companion_is_vouched_for_by_both_keys() {
    let (account, identity) = (KeyPair::generate(), KeyPair::generate());
    let sent = sign_companion(&account, &companion(identity.public()));
    let answer = companion_answer(&seal_for_companion(&sent, &SECRET), &identity);
    let without_key = AdvSignedDeviceIdentity {
        account_signature_key: None,
        ..answer.clone()
    };
    for answer in [answer, without_key] {
        let done = accept_companion(&sent, &answer.encode_to_vec(), identity.public()).unwrap();
        let details = verify(&done, identity.public()).unwrap();
        assert_eq!((details.raw_id, details.key_index), (Some(77), Some(3)));
        assert_eq!(
            done.account_signature_key.as_deref(),
            Some(account.public().as_slice())
        );
    }
}

#[test]
fn answers_that_do_not_fit_are_refused() {
    let (account, identity) = (KeyPair::generate(), KeyPair::generate());
    let sent = sign_companion(&account, &companion(identity.public()));
    let good = companion_answer(&seal_for_companion(&sent, &SECRET), &identity);
    let other_details = sign_companion(
        &account,
        &Companion {
            key_index: 4,
            ..companion(identity.public())
        },
    )
    .details;
    let other_signer = companion_answer(&seal_for_companion(&sent, &SECRET), &KeyPair::generate());
    let cases = [
        (
            AdvSignedDeviceIdentity {
                details: other_details,
                ..good.clone()
            },
            AdvError::DetailsChanged,
        ),
        (
            AdvSignedDeviceIdentity {
                device_signature: None,
                ..good.clone()
            },
            AdvError::Missing("device signature"),
        ),
        (
            AdvSignedDeviceIdentity {
                device_signature: Some(vec![1; 63]),
                ..good.clone()
            },
            AdvError::Length {
                field: "device signature",
                length: 63,
            },
        ),
        (other_signer, AdvError::DeviceSignature),
    ];
    for (answer, error) in cases {
        let refused = accept_companion(&sent, &answer.encode_to_vec(), identity.public());
        assert_eq!(refused, Err(error));
    }
    assert_eq!(
        accept_companion(&sent, &[0xff], identity.public()),
        Err(AdvError::Malformed)
    );
}

#[test]
fn signature_of_another_account_is_refused() {
    let (account, identity) = (KeyPair::generate(), KeyPair::generate());
    let sent = sign_companion(&account, &companion(identity.public()));
    let mut done = companion_answer(&seal_for_companion(&sent, &SECRET), &identity);
    done.account_signature_key = Some(KeyPair::generate().public().to_vec());
    assert_eq!(verify(&done, identity.public()), Err(AdvError::AccountSignature));
}

#[test]
fn key_index_list_is_signed_by_the_account() {
    let account = KeyPair::generate();
    let indexes = KeyIndexes {
        raw_id: 77,
        timestamp: 5,
        current: 4,
        valid: &[1, 3],
    };
    let list = AdvSignedKeyIndexList::decode(sign_key_index_list(&account, &indexes).as_slice()).unwrap();
    let details = list.details.unwrap();
    let text = [[6u8, 2].as_slice(), &details].concat();
    let signature = list.account_signature.unwrap().try_into().unwrap();
    assert!(xeddsa_verify(account.public(), &text, &signature));
    let details = AdvKeyIndexList::decode(details.as_slice()).unwrap();
    assert_eq!(details.valid_indexes, [1, 3]);
    assert_eq!(details.current_index, Some(4));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn answers_of_arbitrary_bytes_are_refused(bytes: Vec<u8>) {
        let (account, identity) = (KeyPair::generate(), KeyPair::generate());
        let sent = sign_companion(&account, &companion(identity.public()));
        prop_assert!(accept_companion(&sent, &bytes, identity.public()).is_err());
    }
}
