//! Asking for a file again, and the answer: both are sealed under the file's own key, so that the
//! server learns nothing of either.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};

use crate::signal::primitive::{hkdf_sha256, random_bytes};
use crate::signal::proto::ProtoMessage;

const INFO: &[u8] = b"WhatsApp Media Retry Notification";

/// A sealed request or answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub iv: [u8; 12],
    pub ciphertext: Vec<u8>,
}

fn cipher(media_key: &[u8; 32]) -> Aes256Gcm {
    let key = hkdf_sha256::<32>(None, media_key, INFO);
    Aes256Gcm::new(&key.into())
}

/// Seals `content` for the message `id`.
pub fn seal(media_key: &[u8; 32], id: &str, content: &impl ProtoMessage) -> Sealed {
    let iv = random_bytes();
    let plain = content.encode_to_vec();
    let payload = Payload {
        msg: &plain,
        aad: id.as_bytes(),
    };
    let ciphertext = cipher(media_key)
        .encrypt(&iv.into(), payload)
        .expect("AES-GCM takes messages of up to 64 GiB");
    Sealed { iv, ciphertext }
}

/// Opens what was sealed for the message `id`; `None` when it was not, or not under this key.
pub fn open<M: ProtoMessage + Default>(media_key: &[u8; 32], id: &str, sealed: &Sealed) -> Option<M> {
    let payload = Payload {
        msg: &sealed.ciphertext,
        aad: id.as_bytes(),
    };
    let plain = cipher(media_key).decrypt(&sealed.iv.into(), payload).ok()?;
    M::decode(plain.as_slice()).ok()
}
