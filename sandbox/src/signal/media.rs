//! Media blobs: encrypted under a key that travels inside the message, opaque to the server.
//!
//! Phones seal history for their companions and open or seal the media of messages.

use subtle::ConstantTimeEq;

use super::primitive::{cbc_decrypt, cbc_encrypt, hkdf_sha256, hmac_sha256, random_bytes, sha256};

pub mod retry;
#[cfg(test)]
mod tests;

const MAC_BYTES: usize = 10;

/// What a blob contains; each kind has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Images and stickers.
    Image,
    Video,
    Audio,
    Document,
    History,
    AppState,
    /// Small pictures of a medium, under the key of the medium itself.
    ImageThumbnail,
    VideoThumbnail,
    DocumentThumbnail,
}

impl MediaKind {
    fn info(self) -> &'static [u8] {
        match self {
            Self::Image => b"WhatsApp Image Keys",
            Self::Video => b"WhatsApp Video Keys",
            Self::Audio => b"WhatsApp Audio Keys",
            Self::Document => b"WhatsApp Document Keys",
            Self::History => b"WhatsApp History Keys",
            Self::AppState => b"WhatsApp App State Keys",
            Self::ImageThumbnail => b"WhatsApp Image Thumbnail Keys",
            Self::VideoThumbnail => b"WhatsApp Video Thumbnail Keys",
            Self::DocumentThumbnail => b"WhatsApp Document Thumbnail Keys",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    #[error("the blob is shorter than its authentication code")]
    TooShort,
    #[error("the blob's authentication code is wrong")]
    BadMac,
    #[error("the blob is not validly padded")]
    BadPadding,
}

/// A blob to upload, and what the message that refers to it has to say.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedMedia {
    pub media_key: [u8; 32],
    pub blob: Vec<u8>,
    /// Hash and length of the plain content.
    pub file_sha256: [u8; 32],
    pub file_bytes: u64,
    /// Hash of the blob.
    pub file_enc_sha256: [u8; 32],
}

struct MediaKeys {
    iv: [u8; 16],
    cipher: [u8; 32],
    mac: [u8; 32],
}

/// Encrypts under a new random key.
pub fn seal(kind: MediaKind, plain: &[u8]) -> SealedMedia {
    seal_with(kind, random_bytes(), plain)
}

/// Encrypts under a given key: a thumbnail shares that of its medium.
pub fn seal_with(kind: MediaKind, media_key: [u8; 32], plain: &[u8]) -> SealedMedia {
    let keys = expand(kind, &media_key);
    let mut blob = cbc_encrypt(&keys.cipher, &keys.iv, plain);
    let mac = hmac_sha256(&keys.mac, &[&keys.iv, &blob]);
    blob.extend_from_slice(&mac[..MAC_BYTES]);
    SealedMedia {
        media_key,
        file_sha256: sha256(plain),
        file_bytes: plain.len() as u64,
        file_enc_sha256: sha256(&blob),
        blob,
    }
}

/// Authenticates and decrypts a blob.
pub fn open(kind: MediaKind, media_key: &[u8; 32], blob: &[u8]) -> Result<Vec<u8>, MediaError> {
    let (cipher, mac) = blob.split_last_chunk::<MAC_BYTES>().ok_or(MediaError::TooShort)?;
    let keys = expand(kind, media_key);
    let expected = hmac_sha256(&keys.mac, &[&keys.iv, cipher]);
    if !bool::from(expected[..MAC_BYTES].ct_eq(mac)) {
        return Err(MediaError::BadMac);
    }
    cbc_decrypt(&keys.cipher, &keys.iv, cipher).ok_or(MediaError::BadPadding)
}

/// The last 32 of the 112 derived bytes name a blob to the server; the sandbox has no use for them.
fn expand(kind: MediaKind, media_key: &[u8; 32]) -> MediaKeys {
    let okm = hkdf_sha256::<112>(None, media_key, kind.info());
    let mut keys = MediaKeys {
        iv: [0; 16],
        cipher: [0; 32],
        mac: [0; 32],
    };
    keys.iv.copy_from_slice(&okm[..16]);
    keys.cipher.copy_from_slice(&okm[16..48]);
    keys.mac.copy_from_slice(&okm[48..80]);
    keys
}
