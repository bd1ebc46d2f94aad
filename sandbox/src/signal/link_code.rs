//! Linking a companion with an eight-character code instead of a QR scan: the phone's side.
//!
//! The companion sends its ephemeral key encrypted under the code it shows ([`PrimaryLink::answer`]);
//! it replies with a bundle that only a companion with the same code can make
//! ([`PrimaryLink::finish`]). Both ends then hold the secret that a QR text would have carried, and
//! pairing continues as after a scan. A wrong code is noticed in `finish` and nowhere earlier.
//!
//! Stretching the code takes some 131,000 hash rounds per wrapped key, tens of milliseconds of CPU:
//! async callers run `answer` in `spawn_blocking`. `PrimaryLink` is only needed until the bundle
//! arrives; a restart in between asks for a new code.

use std::fmt;
use std::str::FromStr;

use aes::Aes256;
use aes::cipher::{KeyIvInit, StreamCipher};
use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use sha2::Sha256;

use super::keys::KeyPair;
use super::primitive::{hkdf_sha256, random_bytes};

#[cfg(test)]
pub mod companion;
#[cfg(test)]
mod tests;

const CODE_CHARACTERS: &[u8; 32] = b"123456789ABCDEFGHJKLMNPQRSTVWXYZ";
const CODE_LENGTH: usize = 8;
const STRETCH_ROUNDS: u32 = 131_072;
/// Salt, initialisation vector, encrypted key.
pub const WRAPPED_KEY_BYTES: usize = 32 + 16 + 32;
/// Salt, nonce, three encrypted keys, tag.
const BUNDLE_BYTES: usize = 32 + 12 + 3 * 32 + 16;
const BUNDLE_INFO: &[u8] = b"link_code_pairing_key_bundle_encryption_key";
const SECRET_INFO: &[u8] = b"adv_secret";

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkCodeError {
    #[error("a linking code has {CODE_LENGTH} characters, got {0}")]
    CodeLength(usize),
    #[error("{0:?} does not occur in linking codes")]
    CodeCharacter(char),
    #[error("a wrapped key has {WRAPPED_KEY_BYTES} bytes, got {0}")]
    WrappedLength(usize),
    #[error("a key bundle has {BUNDLE_BYTES} bytes, got {0}")]
    BundleLength(usize),
    #[error("the code is not the one the companion shows")]
    WrongCode,
    #[error("the key bundle was made for another phone")]
    OtherPrimary,
    #[error("the key bundle names another companion than its sender")]
    OtherCompanion,
}

/// The code a companion shows. The dash in the middle is for people only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LinkCode([u8; CODE_LENGTH]);

/// Does not show the code: it stands in for a secret while a link is open.
impl fmt::Debug for LinkCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkCode(..)")
    }
}

impl FromStr for LinkCode {
    type Err = LinkCodeError;

    /// Accepts lower case, dashes and spaces, as people type them.
    fn from_str(text: &str) -> Result<Self, LinkCodeError> {
        let mut code = [0; CODE_LENGTH];
        let mut length = 0;
        for typed in text.chars().filter(|c| *c != '-' && !c.is_whitespace()) {
            let character = typed.to_ascii_uppercase();
            let byte = CODE_CHARACTERS
                .iter()
                .find(|known| char::from(**known) == character)
                .ok_or(LinkCodeError::CodeCharacter(typed))?;
            if let Some(slot) = code.get_mut(length) {
                *slot = *byte;
            }
            length += 1;
        }
        if length != CODE_LENGTH {
            return Err(LinkCodeError::CodeLength(length));
        }
        Ok(Self(code))
    }
}

/// The phone's half of a link in progress.
pub struct PrimaryLink {
    ephemeral: KeyPair,
    companion_ephemeral: [u8; 32],
}

impl PrimaryLink {
    /// Opens the companion's wrapped key and makes the phone's own. CPU-heavy, see the module.
    pub fn answer(
        code: &LinkCode,
        wrapped_companion: &[u8],
    ) -> Result<(Self, [u8; WRAPPED_KEY_BYTES]), LinkCodeError> {
        let companion_ephemeral = unwrap_key(code, wrapped_companion)?;
        let ephemeral = KeyPair::generate();
        let wrapped = wrap_key(code, ephemeral.public());
        Ok((
            Self {
                ephemeral,
                companion_ephemeral,
            },
            wrapped,
        ))
    }

    /// Opens the companion's bundle and derives the secret that seals its device identity.
    /// `identity` is the phone's, `companion_identity` what the companion sent beside the bundle.
    pub fn finish(
        &self,
        identity: &KeyPair,
        companion_identity: &[u8; 32],
        bundle: &[u8],
    ) -> Result<[u8; 32], LinkCodeError> {
        let shared = self.ephemeral.agree(&self.companion_ephemeral);
        let keys = open_bundle(&shared, bundle)?;
        if keys.companion != *companion_identity {
            return Err(LinkCodeError::OtherCompanion);
        }
        if keys.primary != *identity.public() {
            return Err(LinkCodeError::OtherPrimary);
        }
        Ok(derive_secret(
            &shared,
            &identity.agree(&keys.companion),
            &keys.random,
        ))
    }
}

/// The content of a key bundle.
struct BundleKeys {
    companion: [u8; 32],
    primary: [u8; 32],
    random: [u8; 32],
}

fn stretch(code: &LinkCode, salt: &[u8; 32]) -> [u8; 32] {
    pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(&code.0, salt, STRETCH_ROUNDS)
}

fn wrap_key(code: &LinkCode, public: &[u8; 32]) -> [u8; WRAPPED_KEY_BYTES] {
    let salt = random_bytes::<32>();
    let iv = random_bytes::<16>();
    let mut key = *public;
    apply_keystream(&stretch(code, &salt), &iv, &mut key);
    let mut wrapped = [0; WRAPPED_KEY_BYTES];
    wrapped[..32].copy_from_slice(&salt);
    wrapped[32..48].copy_from_slice(&iv);
    wrapped[48..].copy_from_slice(&key);
    wrapped
}

/// With a wrong code this yields a wrong key: there is nothing to check it against here.
fn unwrap_key(code: &LinkCode, wrapped: &[u8]) -> Result<[u8; 32], LinkCodeError> {
    let wrapped: &[u8; WRAPPED_KEY_BYTES] = wrapped
        .try_into()
        .map_err(|_| LinkCodeError::WrappedLength(wrapped.len()))?;
    let (mut salt, mut iv, mut key) = ([0; 32], [0; 16], [0; 32]);
    salt.copy_from_slice(&wrapped[..32]);
    iv.copy_from_slice(&wrapped[32..48]);
    key.copy_from_slice(&wrapped[48..]);
    apply_keystream(&stretch(code, &salt), &iv, &mut key);
    Ok(key)
}

fn apply_keystream(key: &[u8; 32], iv: &[u8; 16], bytes: &mut [u8; 32]) {
    ctr::Ctr128BE::<Aes256>::new(key.into(), iv.into()).apply_keystream(bytes);
}

fn open_bundle(shared: &[u8; 32], bundle: &[u8]) -> Result<BundleKeys, LinkCodeError> {
    let bundle: &[u8; BUNDLE_BYTES] = bundle
        .try_into()
        .map_err(|_| LinkCodeError::BundleLength(bundle.len()))?;
    let (salt, rest) = bundle.split_at(32);
    let (nonce, sealed) = rest.split_at(12);
    let mut iv = [0; 12];
    iv.copy_from_slice(nonce);
    let plain = bundle_cipher(shared, salt)
        .decrypt(&Nonce::from(iv), sealed)
        .map_err(|_| LinkCodeError::WrongCode)?;
    let mut keys = BundleKeys {
        companion: [0; 32],
        primary: [0; 32],
        random: [0; 32],
    };
    keys.companion.copy_from_slice(&plain[..32]);
    keys.primary.copy_from_slice(&plain[32..64]);
    keys.random.copy_from_slice(&plain[64..]);
    Ok(keys)
}

fn bundle_cipher(shared: &[u8; 32], salt: &[u8]) -> Aes256Gcm {
    Aes256Gcm::new(&hkdf_sha256::<32>(Some(salt), shared, BUNDLE_INFO).into())
}

fn derive_secret(ephemerals: &[u8; 32], identities: &[u8; 32], random: &[u8; 32]) -> [u8; 32] {
    hkdf_sha256(None, &[*ephemerals, *identities, *random].concat(), SECRET_INFO)
}
