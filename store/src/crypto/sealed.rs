//! Ciphertexts as text: `$1$`, the key id in eight hex digits, `$`, and nonce, text and tag in base64.
//! No plain text that Roost stores in such a column begins with `$`: bodies and payloads are JSON, URLs
//! begin with their scheme.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use roost_domain::store::StoreError;

use super::cipher::{KeyId, too_short};

pub(crate) const BEGIN: &str = "$1$";
/// `$1$`, eight digits and `$`.
pub(crate) const HEAD_BYTES: usize = BEGIN.len() + 8 + 1;

/// How every text begins that is sealed under a key.
pub(crate) fn head(id: KeyId) -> String {
    format!("{BEGIN}{id}$")
}

/// Whether a stored text is sealed.
pub(crate) fn is_sealed(text: &str) -> bool {
    text.starts_with(BEGIN)
}

/// The master key under which a stored text is sealed; `None` when it is not, or not rightly.
pub(crate) fn key_of(text: &str) -> Option<KeyId> {
    let digits = text.strip_prefix(BEGIN)?.get(..8)?;
    let mut id = [0; 4];
    hex::decode_to_slice(digits, &mut id).ok()?;
    Some(KeyId(id))
}

/// Nonce, text and tag as text.
pub(super) fn write(id: KeyId, bytes: &[u8]) -> String {
    let mut text = String::with_capacity(HEAD_BYTES + bytes.len().div_ceil(3) * 4);
    text.push_str(&head(id));
    STANDARD_NO_PAD.encode_string(bytes, &mut text);
    text
}

/// Key, and nonce, text and tag.
pub(super) fn read(text: &str) -> Result<(KeyId, Vec<u8>), StoreError> {
    let id = key_of(text).ok_or_else(too_short)?;
    let rest = text
        .get(HEAD_BYTES - 1..)
        .and_then(|rest| rest.strip_prefix('$'))
        .ok_or_else(too_short)?;
    let bytes = STANDARD_NO_PAD
        .decode(rest)
        .map_err(|_| StoreError::Corrupt("an encrypted text is not base64".to_owned()))?;
    Ok((id, bytes))
}
