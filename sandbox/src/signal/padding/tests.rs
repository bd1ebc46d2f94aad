use proptest::prelude::*;

use super::*;

#[test]
fn malformed_padding_is_named() {
    assert_eq!(unpad(&[]), Err(PaddingError::Empty));
    assert_eq!(unpad(&[1, 0]), Err(PaddingError::Length(0)));
    assert_eq!(unpad(&[17; 17]), Err(PaddingError::Length(17)));
    assert_eq!(unpad(&[3, 3]), Err(PaddingError::Truncated(3)));
    assert_eq!(unpad(&[2, 3, 3]), Err(PaddingError::Content(3)));
    assert_eq!(unpad(&[3, 3, 3]), Ok([].as_slice()));
}

proptest! {
    #[test]
    fn padding_comes_off_again(message: Vec<u8>) {
        let padded = pad(message.clone());
        prop_assert!((1..=16).contains(&(padded.len() - message.len())));
        prop_assert_eq!(unpad(&padded).unwrap(), message);
    }

    #[test]
    fn unpad_survives_arbitrary_bytes(bytes: Vec<u8>) {
        let _ = unpad(&bytes);
    }
}
