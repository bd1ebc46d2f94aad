use proptest::prelude::*;

use super::*;

#[test]
fn every_way_to_write_a_number_is_one_address() {
    for text in ["+4915112345678", "4915112345678", "4915112345678@s.whatsapp.net"] {
        let address: Address = text.parse().unwrap();
        assert_eq!(address.to_string(), "4915112345678@s.whatsapp.net");
        assert_eq!(address.phone_number().unwrap().to_string(), "+4915112345678");
    }
}

#[test]
fn what_is_not_an_address_is_refused_with_its_reason() {
    for (text, reason) in [
        ("", AddressError::Form),
        ("+", AddressError::PhoneNumber),
        ("hello", AddressError::Form),
        ("+49 151 12345678", AddressError::Form),
        ("123456", AddressError::PhoneNumber),
        ("1234567890123456", AddressError::PhoneNumber),
        ("0491511234567", AddressError::PhoneNumber),
        ("++4915112345678", AddressError::PhoneNumber),
        ("4915112345678@example.org", AddressError::Server),
        ("4915112345678:3@s.whatsapp.net", AddressError::PhoneNumber),
        ("@lid", AddressError::Form),
        ("12a@g.us", AddressError::Form),
    ] {
        assert_eq!(text.parse::<Address>(), Err(reason), "{text}");
    }
}

#[test]
fn debug_output_hides_the_number() {
    let address: Address = "+4915112345678".parse().unwrap();
    assert!(!format!("{address:?}").contains("4915112345678"));
}

proptest! {
    #[test]
    fn an_address_round_trips(text in "[1-9][0-9]{6,14}@s\\.whatsapp\\.net|[0-9]{1,40}@lid|[0-9-]{1,40}@g\\.us") {
        prop_assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,80}") {
        let _ = text.parse::<Address>();
    }
}
