//! Signing secrets as text: `whsec_` and base64, as Standard Webhooks has them.

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

const PREFIX: &str = "whsec_";
const KEY_BYTES: RangeInclusive<usize> = 24..=64;

/// A text is no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected whsec_ and the base64 of {} to {} bytes", KEY_BYTES.start(), KEY_BYTES.end())]
pub(super) struct SecretError;

pub(super) fn write(key: &[u8]) -> String {
    format!("{PREFIX}{}", BASE64_STANDARD.encode(key))
}

pub(super) fn read(text: &str) -> Result<Vec<u8>, SecretError> {
    let encoded = text.strip_prefix(PREFIX).ok_or(SecretError)?;
    // Longer texts cannot be keys, and are not worth decoding.
    if encoded.len() > 2 * KEY_BYTES.end() {
        return Err(SecretError);
    }
    let key = BASE64_STANDARD.decode(encoded).map_err(|_| SecretError)?;
    if KEY_BYTES.contains(&key.len()) {
        Ok(key)
    } else {
        Err(SecretError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_it_is_written() {
        for bytes in [24, 32, 64] {
            let key = vec![7; bytes];
            assert_eq!(read(&write(&key)), Ok(key));
        }
        let url_safe = format!("{PREFIX}{}", "-_".repeat(16));
        for wrong in [
            "",
            "whsec_",
            "whsec_AAAA",
            &write(&[7; 23]),
            &write(&[7; 65]),
            &write(&[7; 24])[PREFIX.len()..],
            &write(&[7; 4000]),
            &url_safe,
        ] {
            assert_eq!(read(wrong), Err(SecretError), "{wrong}");
        }
    }
}
