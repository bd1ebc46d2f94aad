use super::companion::CompanionLink;
use super::*;

#[test]
fn both_ends_derive_the_same_secret() {
    let (phone, device) = (KeyPair::generate(), KeyPair::generate());
    let (companion, hello) = CompanionLink::hello();
    let code: LinkCode = companion.shown().to_lowercase().parse().unwrap();
    let (link, answer) = PrimaryLink::answer(&code, &hello).unwrap();
    let (bundle, secret) = companion.finish(&device, &answer, phone.public()).unwrap();
    assert_eq!(link.finish(&phone, device.public(), &bundle), Ok(secret));

    let stranger = KeyPair::generate();
    assert_eq!(
        link.finish(&phone, stranger.public(), &bundle),
        Err(LinkCodeError::OtherCompanion)
    );
    assert_eq!(
        link.finish(&stranger, device.public(), &bundle),
        Err(LinkCodeError::OtherPrimary)
    );
    let short = &bundle[1..];
    assert_eq!(
        link.finish(&phone, device.public(), short),
        Err(LinkCodeError::BundleLength(BUNDLE_BYTES - 1))
    );
}

#[test]
fn wrong_code_shows_when_the_bundle_arrives() {
    let (phone, device) = (KeyPair::generate(), KeyPair::generate());
    let (companion, hello) = CompanionLink::hello();
    let mut code: LinkCode = companion.shown().parse().unwrap();
    code.0[7] = if code.0[7] == b'A' { b'B' } else { b'A' };
    let (link, answer) = PrimaryLink::answer(&code, &hello).unwrap();
    let (bundle, _) = companion.finish(&device, &answer, phone.public()).unwrap();
    assert_eq!(
        link.finish(&phone, device.public(), &bundle),
        Err(LinkCodeError::WrongCode)
    );
}

#[test]
fn codes_are_read_as_people_type_them() {
    for text in ["ABCD-1234", "abcd1234", " abcd - 1234 "] {
        assert_eq!(text.parse(), Ok(LinkCode(*b"ABCD1234")), "{text}");
    }
    let cases = [
        ("", LinkCodeError::CodeLength(0)),
        ("ABCD-123", LinkCodeError::CodeLength(7)),
        ("ABCD-12345", LinkCodeError::CodeLength(9)),
        ("ABCD-123O", LinkCodeError::CodeCharacter('O')),
        ("ABCD-1230", LinkCodeError::CodeCharacter('0')),
        ("ÄBCD-1234", LinkCodeError::CodeCharacter('Ä')),
    ];
    for (text, error) in cases {
        assert_eq!(text.parse::<LinkCode>(), Err(error), "{text}");
    }
}

#[test]
fn wrapped_keys_of_another_length_are_refused() {
    let code = LinkCode(*b"ABCD1234");
    for length in [0, 79, 81] {
        let answer = PrimaryLink::answer(&code, &vec![0; length]);
        assert_eq!(answer.err(), Some(LinkCodeError::WrappedLength(length)));
    }
}
