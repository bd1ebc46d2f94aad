//! The Noise handshake and the cipher after it.
//!
//! The server answers every client with the XX pattern: a client that tries IK is answered in the
//! XX shape too, which makes it go on as XXfallback. The initiator's side exists for test clients.

mod certificate;
mod initiator;
mod symmetric;

use bytes::BytesMut;
use prost::Message;
use thiserror::Error;

use super::proto::{ClientHello, HandshakeMessage, ServerHello};
use crate::signal::KeyPair;

pub use certificate::{CertificateAuthority, verify_chain};
pub use initiator::{Hello, Initiator};
pub use symmetric::Cipher;
use symmetric::Symmetric;

/// Exactly 32 bytes, so that it is the first hash itself.
const XX: &[u8] = b"Noise_XX_25519_AESGCM_SHA256\0\0\0\0";
const XX_FALLBACK: &[u8] = b"Noise_XXfallback_25519_AESGCM_SHA256";

#[derive(Debug, Error)]
pub enum NoiseError {
    #[error("handshake message is malformed")]
    Malformed(#[from] prost::DecodeError),
    #[error("handshake message has no {0}")]
    Missing(&'static str),
    #[error("handshake {0} has the wrong length")]
    Length(&'static str),
    #[error("public key is of low order")]
    WeakKey,
    #[error("handshake or frame does not decrypt")]
    Decrypt,
    #[error("too many frames under one key")]
    Exhausted,
    #[error("certificate chain is not valid: {0}")]
    Certificate(&'static str),
}

/// Both directions of an established connection.
pub struct Transport {
    pub sender: Cipher,
    pub receiver: Cipher,
}

/// What the server knows once the handshake is complete.
pub struct Established {
    pub client_key: [u8; 32],
    /// An encoded `ClientPayload`.
    pub payload: Vec<u8>,
    pub transport: Transport,
}

/// The server between its hello and the client's finish.
pub struct Responder {
    state: Symmetric,
    ephemeral: KeyPair,
}

impl Responder {
    /// Reads the client's hello and returns the frame payload to answer with.
    pub fn start(
        header: &[u8; 4],
        authority: &CertificateAuthority,
        hello: &[u8],
    ) -> Result<(Self, Vec<u8>), NoiseError> {
        let hello = HandshakeMessage::decode(hello)?
            .client_hello
            .ok_or(NoiseError::Missing("client hello"))?;
        let tries_ik = tries_ik(&hello);
        let client: [u8; 32] = key(hello.ephemeral, "ephemeral key")?;
        let mut state = Symmetric::new(if tries_ik { XX_FALLBACK } else { XX });
        state.mix_hash(header);
        state.mix_hash(&client);

        let ephemeral = KeyPair::generate();
        state.mix_hash(ephemeral.public());
        state.mix_key(&agree(&ephemeral, &client)?);
        let server_static = state.encrypt(authority.server_key().public())?;
        state.mix_key(&agree(authority.server_key(), &client)?);
        let payload = state.encrypt(authority.chain())?;

        let answer = HandshakeMessage {
            server_hello: Some(ServerHello {
                ephemeral: Some(ephemeral.public().to_vec()),
                r#static: Some(server_static),
                payload: Some(payload),
            }),
            ..HandshakeMessage::default()
        };
        Ok((Self { state, ephemeral }, answer.encode_to_vec()))
    }

    /// Reads the client's finish.
    pub fn finish(mut self, finish: &[u8]) -> Result<Established, NoiseError> {
        let finish = HandshakeMessage::decode(finish)?
            .client_finish
            .ok_or(NoiseError::Missing("client finish"))?;
        let sealed = finish.r#static.ok_or(NoiseError::Missing("static key"))?;
        let client_key: [u8; 32] = key(Some(self.state.decrypt(&sealed)?), "static key")?;
        self.state.mix_key(&agree(&self.ephemeral, &client_key)?);
        let payload = self
            .state
            .decrypt(&finish.payload.ok_or(NoiseError::Missing("payload"))?)?;
        let (from_client, to_client) = self.state.split();
        Ok(Established {
            client_key,
            payload,
            transport: Transport {
                sender: to_client,
                receiver: from_client,
            },
        })
    }
}

fn tries_ik(hello: &ClientHello) -> bool {
    hello.r#static.is_some() || hello.payload.is_some()
}

fn key(bytes: Option<Vec<u8>>, what: &'static str) -> Result<[u8; 32], NoiseError> {
    bytes
        .ok_or(NoiseError::Missing(what))?
        .try_into()
        .map_err(|_| NoiseError::Length(what))
}

fn agree(ours: &KeyPair, theirs: &[u8; 32]) -> Result<[u8; 32], NoiseError> {
    let shared = ours.agree(theirs);
    if shared == [0; 32] {
        Err(NoiseError::WeakKey)
    } else {
        Ok(shared)
    }
}

impl Transport {
    /// Decrypts one frame's payload.
    pub fn open(&mut self, frame: BytesMut) -> Result<BytesMut, NoiseError> {
        self.receiver.open(frame)
    }
}
