//! The symmetric half of Noise: the running hash, the chaining key, and the ciphers it ends in.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use bytes::{BufMut, BytesMut};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

use super::NoiseError;
use crate::wire::frame;

const TAG_BYTES: usize = 16;

/// AES-256-GCM with a counter as nonce, one direction of a connection.
pub struct Cipher {
    aead: Box<Aes256Gcm>,
    counter: Option<u32>,
}

impl Cipher {
    fn new(key: &[u8; 32]) -> Self {
        Self {
            aead: Box::new(Aes256Gcm::new(key.into())),
            counter: Some(0),
        }
    }

    /// A nonce is never used twice: after the last one the cipher refuses to work.
    fn next_nonce(&mut self) -> Result<[u8; 12], NoiseError> {
        let counter = self.counter.ok_or(NoiseError::Exhausted)?;
        self.counter = counter.checked_add(1);
        let mut nonce = [0; 12];
        nonce[8..].copy_from_slice(&counter.to_be_bytes());
        Ok(nonce)
    }

    fn seal_in_place(&mut self, aad: &[u8], text: &mut [u8]) -> Result<[u8; TAG_BYTES], NoiseError> {
        let nonce = self.next_nonce()?;
        let tag = self
            .aead
            .encrypt_inout_detached(&Nonce::from(nonce), aad, text.into())
            .map_err(|_| NoiseError::Exhausted)?;
        Ok(tag.into())
    }

    fn open_in_place(&mut self, aad: &[u8], text: &mut [u8], tag: [u8; TAG_BYTES]) -> Result<(), NoiseError> {
        let nonce = self.next_nonce()?;
        self.aead
            .decrypt_inout_detached(&Nonce::from(nonce), aad, text.into(), &Tag::from(tag))
            .map_err(|_| NoiseError::Decrypt)
    }

    /// Appends `plain` to `out` as one encrypted frame with its length prefix.
    pub fn seal_frame(&mut self, plain: &[u8], out: &mut BytesMut) -> Result<(), NoiseError> {
        frame::write_length(out, plain.len() + TAG_BYTES).map_err(|_| NoiseError::Length("frame"))?;
        let start = out.len();
        out.put_slice(plain);
        let tag = self.seal_in_place(&[], &mut out[start..])?;
        out.put_slice(&tag);
        Ok(())
    }

    /// Decrypts a frame's payload in place.
    pub fn open(&mut self, mut frame: BytesMut) -> Result<BytesMut, NoiseError> {
        let length = frame.len().checked_sub(TAG_BYTES).ok_or(NoiseError::Decrypt)?;
        let tag = frame.split_off(length);
        let tag = tag.as_ref().try_into().map_err(|_| NoiseError::Decrypt)?;
        self.open_in_place(&[], &mut frame, tag)?;
        Ok(frame)
    }
}

/// The state both sides keep during the handshake.
pub(super) struct Symmetric {
    hash: [u8; 32],
    chaining_key: [u8; 32],
    cipher: Cipher,
}

impl Symmetric {
    pub(super) fn new(name: &[u8]) -> Self {
        let hash = name.try_into().unwrap_or_else(|_| Sha256::digest(name).into());
        Self {
            hash,
            chaining_key: hash,
            cipher: Cipher::new(&hash),
        }
    }

    pub(super) fn mix_hash(&mut self, data: &[u8]) {
        self.hash = Sha256::new()
            .chain_update(self.hash)
            .chain_update(data)
            .finalize()
            .into();
    }

    pub(super) fn mix_key(&mut self, input: &[u8]) {
        let (chaining_key, key) = self.derive(input);
        self.chaining_key = chaining_key;
        self.cipher = Cipher::new(&key);
    }

    fn derive(&self, input: &[u8]) -> ([u8; 32], [u8; 32]) {
        let mut first = [0; 64];
        Hkdf::<Sha256>::new(Some(&self.chaining_key), input)
            .expand(&[], &mut first)
            .expect("64 bytes are within what HKDF-SHA256 yields");
        let (mut left, mut right) = ([0; 32], [0; 32]);
        left.copy_from_slice(&first[..32]);
        right.copy_from_slice(&first[32..]);
        (left, right)
    }

    pub(super) fn encrypt(&mut self, plain: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let mut sealed = plain.to_vec();
        let tag = self.cipher.seal_in_place(&self.hash, &mut sealed)?;
        sealed.extend_from_slice(&tag);
        self.mix_hash(&sealed);
        Ok(sealed)
    }

    pub(super) fn decrypt(&mut self, sealed: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let (text, tag) = sealed
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(NoiseError::Decrypt)?;
        let mut plain = text.to_vec();
        self.cipher.open_in_place(&self.hash, &mut plain, *tag)?;
        self.mix_hash(sealed);
        Ok(plain)
    }

    /// The ciphers of the connection: initiator to responder, and back.
    pub(super) fn split(self) -> (Cipher, Cipher) {
        let (first, second) = self.derive(&[]);
        (Cipher::new(&first), Cipher::new(&second))
    }
}
