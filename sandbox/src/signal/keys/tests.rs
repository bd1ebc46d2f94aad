use proptest::prelude::*;

use super::*;
use crate::signal::fixture::array;

/// Made by another implementation, one for each sign of the Edwards public key.
const SIGNATURES: [[&str; 3]; 2] = [
    [
        "50f6d2dd43970164da3fc7b517b61024fcad5acd80e4e585902180d1eb16fd77",
        "29a615da07b4a89d123e0d54d9d23123f2c1912397d460f762e2461f37a86d2b",
        "2bd1b750b4ec53fcc9372dd0ad7326d035fbf5e702add24ee8087540b5205f5d68fe611e\
         f330d7ef472870ae8984257c9b24b85af7151edd4bf1807aef1d6d0d",
    ],
    [
        "a02427226377cc867d51ad3f130af08ad13451de7160efa2b23076fd782de967",
        "d86a3049e6bdad69a05e4549e2cb59dc43755da42b26b47545fa2db1e12a9711",
        "84c2fbbd80d8c94916cd1173c319dbda6142bb6960a8d7447a9f2cfc3d39b33c06cec01d\
         9c1dbdf777d4c320e33bcd56c711b9ae90559d113bfba168fbe87285",
    ],
];

#[test]
fn signatures_of_another_implementation_verify() {
    for (sign, [private, public, signature]) in SIGNATURES.into_iter().enumerate() {
        let pair = KeyPair::from_private(array(private));
        let signature = array::<64>(signature);
        assert_eq!(*pair.public(), array(public));
        assert_eq!(usize::from(signature[63] >> 7), sign);
        assert!(xeddsa_verify(pair.public(), b"a signed text", &signature));
        assert!(!xeddsa_verify(pair.public(), b"another text", &signature));
    }
}

#[test]
fn scalar_beyond_the_group_order_is_no_signature() {
    let pair = KeyPair::generate();
    let mut signature = pair.sign(b"text");
    signature[32..63].fill(0xff);
    signature[63] |= 0x7f;
    assert!(!xeddsa_verify(pair.public(), b"text", &signature));
}

#[test]
fn public_key_off_the_curve_verifies_nothing() {
    let signature = KeyPair::generate().sign(b"text");
    for public in [[0; 32], [0xff; 32]] {
        assert!(!xeddsa_verify(&public, b"text", &signature));
    }
}

#[test]
fn both_ends_agree_on_a_secret() {
    let (a, b) = (KeyPair::generate(), KeyPair::generate());
    assert_eq!(a.agree(b.public()), b.agree(a.public()));
}

#[test]
fn typed_keys_are_checked() {
    let public = *KeyPair::generate().public();
    assert_eq!(untyped(&typed(&public)), Ok(public));
    assert_eq!(untyped(&public), Err(KeyError::Length(32)));
    let mut other = typed(&public);
    other[0] = 6;
    assert_eq!(untyped(&other), Err(KeyError::Type(6)));
}

#[test]
fn debug_hides_the_private_key() {
    let pair = KeyPair::from_private([0xab; 32]);
    assert!(!format!("{pair:?}").contains("abababab"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn signature_holds_for_its_text_and_key_only(
        private: [u8; 32],
        text: Vec<u8>,
        at in 0usize..64,
        bit in 0u8..8,
    ) {
        let pair = KeyPair::from_private(private);
        let mut signature = pair.sign(&text);
        prop_assert!(xeddsa_verify(pair.public(), &text, &signature));
        prop_assert!(!xeddsa_verify(KeyPair::generate().public(), &text, &signature));
        signature[at] ^= 1 << bit;
        prop_assert!(!xeddsa_verify(pair.public(), &text, &signature));
    }
}
