//! The text of API keys: `rst_<prefix>_<secret>`.
//!
//! The prefix is public and finds the row; the row holds an HMAC of the whole text, never the text.

use std::fmt;

use roost_domain::api_key::{ApiKey, KeySecret, Principal, Scopes};
use roost_domain::store::{Keys, Stamp, StoreError};
use roost_domain::time::Entropy;
use roost_domain::{ApiKeyId, Clock};

const MARK: &str = "rst_";
const PREFIX_CHARS: usize = 12;
const SECRET_CHARS: usize = 40;
/// 32 characters, so that each takes exactly five random bits.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A key's text, shown once to whoever made it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl KeyText {
    /// A new key with 200 secret bits.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut random = [0; PREFIX_CHARS + SECRET_CHARS];
        entropy.fill(&mut random);
        let chars: String = random
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
            .collect();
        let (prefix, secret) = chars.split_at(PREFIX_CHARS);
        Self(format!("{MARK}{prefix}_{secret}"))
    }

    /// Reads a text of the right form; whether it is a key that exists is the store's to say.
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, secret) = text.strip_prefix(MARK)?.split_once('_')?;
        let well_formed =
            |part: &str, chars| part.len() == chars && part.bytes().all(|byte| ALPHABET.contains(&byte));
        (well_formed(prefix, PREFIX_CHARS) && well_formed(secret, SECRET_CHARS))
            .then(|| Self(text.to_owned()))
    }

    /// The public part.
    pub fn prefix(&self) -> &str {
        &self.0[MARK.len()..MARK.len() + PREFIX_CHARS]
    }

    /// The whole text; to be hashed, or shown to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyText({}…)", self.prefix())
    }
}

/// Makes a key and keeps its row. The returned text cannot be had again.
pub async fn create(
    store: &(impl Keys + ?Sized),
    principal: Principal,
    name: &str,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<KeyText, StoreError> {
    let text = KeyText::generate(entropy);
    let created_at = clock.now();
    let unix_ms = u64::try_from(created_at.unix_ms()).unwrap_or_default();
    store
        .create_key(
            &ApiKey {
                id: ApiKeyId::from_parts(unix_ms, entropy.bits()),
                principal,
                name: name.to_owned(),
                scopes: Scopes::All,
                instances: Vec::new(),
                allowed_networks: Vec::new(),
                calls_per_minute: None,
                expires_at: None,
                last_used_at: None,
                created_at,
                updated_at: created_at,
            },
            &KeySecret {
                prefix: text.prefix().to_owned(),
                hash: store.key_hash(text.reveal()),
                expires_at: None,
            },
            Stamp::default(),
        )
        .await?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::OsEntropy;

    #[test]
    fn a_generated_key_is_read_back_and_debug_output_hides_its_secret() {
        let key = KeyText::generate(&OsEntropy);
        assert_eq!(KeyText::parse(key.reveal()), Some(key.clone()));
        assert!(!format!("{key:?}").contains(&key.reveal()[MARK.len() + PREFIX_CHARS..]));
    }

    #[test]
    fn other_texts_are_no_keys() {
        let key = KeyText::generate(&OsEntropy);
        let text = key.reveal();
        for wrong in [
            "",
            "rst_",
            "rst__",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}a"),
            &text.to_uppercase(),
        ] {
            assert_eq!(KeyText::parse(wrong), None, "{wrong}");
        }
    }
}
