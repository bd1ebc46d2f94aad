//! The client's side of the handshake.

use prost::Message;

use super::{NoiseError, Symmetric, Transport, XX, XX_FALLBACK, agree, key};
use crate::signal::KeyPair;
use crate::wire::proto::{ClientFinish, ClientHello, HandshakeMessage};

/// Which pattern a client opens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello {
    Xx,
    /// Tries IK with a key the server no longer honours; the server's answer turns it into XXfallback.
    RefusedIk,
}

/// The client before it has read the server's hello.
pub struct Initiator {
    state: Symmetric,
    ephemeral: KeyPair,
    hello: Vec<u8>,
}

/// The client after it has read the server's hello.
pub struct Greeted {
    state: Symmetric,
    server_ephemeral: [u8; 32],
    pub server_key: [u8; 32],
    /// An encoded `CertChain`.
    pub chain: Vec<u8>,
}

impl Initiator {
    pub fn new(header: &[u8; 4], hello: Hello) -> Self {
        let ephemeral = KeyPair::generate();
        let mut state = Symmetric::new(if hello == Hello::Xx { XX } else { XX_FALLBACK });
        state.mix_hash(header);
        state.mix_hash(ephemeral.public());
        let ik_part = |bytes: usize| (hello == Hello::RefusedIk).then(|| vec![0x5A; bytes]);
        let message = HandshakeMessage {
            client_hello: Some(ClientHello {
                ephemeral: Some(ephemeral.public().to_vec()),
                r#static: ik_part(48),
                payload: ik_part(64),
            }),
            ..HandshakeMessage::default()
        };
        Self {
            state,
            ephemeral,
            hello: message.encode_to_vec(),
        }
    }

    /// The payload of the client's first frame.
    pub fn hello(&self) -> &[u8] {
        &self.hello
    }

    pub fn read(mut self, answer: &[u8]) -> Result<Greeted, NoiseError> {
        let hello = HandshakeMessage::decode(answer)?
            .server_hello
            .ok_or(NoiseError::Missing("server hello"))?;
        let server_ephemeral = key(hello.ephemeral, "ephemeral key")?;
        self.state.mix_hash(&server_ephemeral);
        self.state.mix_key(&agree(&self.ephemeral, &server_ephemeral)?);
        let sealed = hello.r#static.ok_or(NoiseError::Missing("static key"))?;
        let server_key = key(Some(self.state.decrypt(&sealed)?), "static key")?;
        self.state.mix_key(&agree(&self.ephemeral, &server_key)?);
        let chain = self
            .state
            .decrypt(&hello.payload.ok_or(NoiseError::Missing("payload"))?)?;
        Ok(Greeted {
            state: self.state,
            server_ephemeral,
            server_key,
            chain,
        })
    }
}

impl Greeted {
    /// The payload of the client's second frame, and the ciphers that follow it.
    pub fn finish(
        mut self,
        static_key: &KeyPair,
        payload: &[u8],
    ) -> Result<(Vec<u8>, Transport), NoiseError> {
        let sealed_key = self.state.encrypt(static_key.public())?;
        self.state.mix_key(&agree(static_key, &self.server_ephemeral)?);
        let sealed_payload = self.state.encrypt(payload)?;
        let message = HandshakeMessage {
            client_finish: Some(ClientFinish {
                r#static: Some(sealed_key),
                payload: Some(sealed_payload),
            }),
            ..HandshakeMessage::default()
        };
        let (to_server, from_server) = self.state.split();
        Ok((
            message.encode_to_vec(),
            Transport {
                sender: to_server,
                receiver: from_server,
            },
        ))
    }
}
