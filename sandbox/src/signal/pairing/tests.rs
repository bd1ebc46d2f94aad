use proptest::prelude::*;

use super::*;

fn text(fields: usize) -> String {
    let keys = [[1; 32], [2; 32], [3; 32]].map(|key| STANDARD.encode(key));
    let all = ["2@ref/+=", keys[0].as_str(), &keys[1], &keys[2], "9", "more"];
    all[..fields].join(",")
}

#[test]
fn four_and_more_fields_with_and_without_link_are_read() {
    for fields in 4..=6 {
        for text in [
            text(fields),
            format!("{LINK_PREFIX}{}", text(fields)),
            format!(" {}\n", text(fields)),
        ] {
            let qr = PairingQr::parse(&text).unwrap();
            assert_eq!(qr.reference, "2@ref/+=");
            assert_eq!(
                (qr.noise_key, qr.identity_key, qr.adv_secret),
                ([1; 32], [2; 32], [3; 32])
            );
        }
    }
}

#[test]
fn each_defect_is_named() {
    let good = text(4);
    let key = STANDARD.encode([1; 32]);
    let cases = [
        (String::new(), QrError::Empty),
        (LINK_PREFIX.to_owned(), QrError::Empty),
        ("a".repeat(QR_BYTES_MAX + 1), QrError::TooLong(QR_BYTES_MAX + 1)),
        ("https://example.org/#a,b,c,d".to_owned(), QrError::OtherLink),
        (text(3), QrError::FieldCount(3)),
        (good.replace("2@ref/+=", ""), QrError::Reference),
        (good.replace("2@ref", "2 ref"), QrError::Reference),
        (good.replace(&key, "!!!!"), QrError::Base64(QrField::NoiseKey)),
        (
            good.trim_end_matches('=').to_owned(),
            QrError::Base64(QrField::Secret),
        ),
        (
            good.replace(&key, ""),
            QrError::Length {
                field: QrField::NoiseKey,
                length: 0,
            },
        ),
        (
            good.replace(&STANDARD.encode([2; 32]), &STANDARD.encode([2; 33])),
            QrError::Length {
                field: QrField::IdentityKey,
                length: 33,
            },
        ),
    ];
    for (text, error) in cases {
        assert_eq!(PairingQr::parse(&text), Err(error), "{text}");
    }
}

#[test]
fn debug_hides_the_secret() {
    let qr = PairingQr::parse(&text(4)).unwrap();
    assert!(!format!("{qr:?}").contains("3, 3"));
}

proptest! {
    #[test]
    fn parser_survives_any_text(text in "\\PC*", commas in "[a-zA-Z0-9+/=,]{0,200}") {
        let _ = PairingQr::parse(&text);
        let _ = PairingQr::parse(&commas);
    }
}
