//! The text of API keys: `rst_<prefix>_<secret>`.
//!
//! The prefix is public and finds the row; the row holds an HMAC of the whole text, never the text.

use std::fmt;

use roost_domain::time::Entropy;

const MARK: &str = "rst_";
const SECRET_CHARS: usize = 40;
/// 32 characters, so that each takes exactly five random bits.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A key's text, shown once to whoever made it.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl KeyText {
    /// Characters of the public part.
    pub const PREFIX_CHARS: usize = 12;

    /// A new key with 200 secret bits.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut random = [0; Self::PREFIX_CHARS + SECRET_CHARS];
        entropy.fill(&mut random);
        let chars: String = random
            .iter()
            .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
            .collect();
        let (prefix, secret) = chars.split_at(Self::PREFIX_CHARS);
        Self(format!("{MARK}{prefix}_{secret}"))
    }

    /// Reads a text of the right form; whether it is a key that exists is the store's to say.
    pub fn parse(text: &str) -> Option<Self> {
        let (prefix, secret) = text.strip_prefix(MARK)?.split_once('_')?;
        let well_formed =
            |part: &str, chars| part.len() == chars && part.bytes().all(|byte| ALPHABET.contains(&byte));
        (well_formed(prefix, Self::PREFIX_CHARS) && well_formed(secret, SECRET_CHARS))
            .then(|| Self(text.to_owned()))
    }

    /// The public part.
    pub fn prefix(&self) -> &str {
        &self.0[MARK.len()..MARK.len() + Self::PREFIX_CHARS]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::OsEntropy;

    #[test]
    fn a_generated_key_is_read_back_and_debug_output_hides_its_secret() {
        let key = KeyText::generate(&OsEntropy);
        assert_eq!(KeyText::parse(key.reveal()), Some(key.clone()));
        assert!(!format!("{key:?}").contains(&key.reveal()[MARK.len() + KeyText::PREFIX_CHARS..]));
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
