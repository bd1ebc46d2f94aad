//! Cursors: opaque places in a list, valid for the list that made them and for no other.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use roost_domain::ErrorCode;
use sha2::{Digest, Sha256};

use super::problem::{Answer, Problem};

const SCOPE_BYTES: usize = 8;
const TEXT_BYTES_MAX: usize = 512;

/// A key that a cursor can hold.
pub trait CursorKey: Sized {
    /// The key as text.
    fn to_text(&self) -> String;
    /// The key with this text.
    fn from_text(text: &str) -> Option<Self>;
}

impl<T: std::fmt::Display + std::str::FromStr> CursorKey for T {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// Names a list with everything that makes it another list: its path and its filters.
#[derive(Debug, Clone)]
pub struct Scope([u8; SCOPE_BYTES]);

impl Scope {
    /// The scope with these parts.
    pub fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let mut scope = [0; SCOPE_BYTES];
        scope.copy_from_slice(&hash.finalize()[..SCOPE_BYTES]);
        Self(scope)
    }

    /// Writes a cursor.
    pub fn encode(&self, key: &impl CursorKey) -> String {
        let mut bytes = self.0.to_vec();
        bytes.extend_from_slice(key.to_text().as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a cursor of this list.
    pub fn decode<K: CursorKey>(&self, text: &str) -> Answer<K> {
        self.read(text).ok_or_else(|| {
            Problem::new(
                ErrorCode::InvalidCursor,
                "pass next_cursor of a page of this list, with the same filters",
            )
            .at("/query/cursor", "invalid_cursor")
        })
    }

    fn read<K: CursorKey>(&self, text: &str) -> Option<K> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let key = bytes.strip_prefix(&self.0)?;
        K::from_text(std::str::from_utf8(key).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cursor_is_read_by_its_own_list_only() {
        let list = Scope::of(&["history", "ins_1"]);
        let cursor = list.encode(&42_i64);
        assert_eq!(list.decode::<i64>(&cursor).unwrap(), 42);
        for other in [
            Scope::of(&["history", "ins_2"]),
            Scope::of(&["historyins_1"]),
            Scope::of(&[]),
        ] {
            assert_eq!(
                other.decode::<i64>(&cursor).unwrap_err().code(),
                ErrorCode::InvalidCursor
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_decoder_panic(text in ".{0,600}") {
            let _ = Scope::of(&["x"]).decode::<i64>(&text);
        }
    }
}
