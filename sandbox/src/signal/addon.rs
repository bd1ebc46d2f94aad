//! Sealed answers to a message: votes of a poll, answers to an event. Their key is made of a secret
//! in the message, of who wrote it and of who answers, so that only its readers can open them.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};

use super::primitive::{hkdf_sha256, random_bytes};

#[cfg(test)]
mod tests;

const IV_BYTES: usize = 12;

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    PollVote,
    EventResponse,
}

impl AnswerKind {
    fn label(self) -> &'static str {
        match self {
            Self::PollVote => "Poll Vote",
            Self::EventResponse => "Event Response",
        }
    }
}

/// Which message is answered by whom. The addresses are of users, without a device.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    pub kind: AnswerKind,
    pub message_id: &'a str,
    pub author: &'a str,
    pub answerer: &'a str,
}

impl Answer<'_> {
    fn cipher(&self, secret: &[u8]) -> Aes256Gcm {
        let info = [self.message_id, self.author, self.answerer, self.kind.label()].concat();
        let key: [u8; 32] = hkdf_sha256(None, secret, info.as_bytes());
        Aes256Gcm::new(&key.into())
    }

    fn bound_to(&self) -> Vec<u8> {
        [self.message_id.as_bytes(), &[0], self.answerer.as_bytes()].concat()
    }

    /// Seals `plain`. Returns the ciphertext and its initialisation vector.
    pub fn seal(&self, secret: &[u8], plain: &[u8]) -> (Vec<u8>, [u8; IV_BYTES]) {
        let iv: [u8; IV_BYTES] = random_bytes();
        let payload = Payload {
            msg: plain,
            aad: &self.bound_to(),
        };
        let sealed = self.cipher(secret).encrypt(&Nonce::from(iv), payload);
        (
            sealed.expect("an answer is far below the length AES-GCM can seal"),
            iv,
        )
    }

    /// `None` when the answer was sealed for another message, by somebody else, or changed.
    pub fn open(&self, secret: &[u8], sealed: &[u8], iv: &[u8]) -> Option<Vec<u8>> {
        let iv: [u8; IV_BYTES] = iv.try_into().ok()?;
        let payload = Payload {
            msg: sealed,
            aad: &self.bound_to(),
        };
        self.cipher(secret).decrypt(&Nonce::from(iv), payload).ok()
    }
}
