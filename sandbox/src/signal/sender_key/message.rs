//! The wire form: a version byte and a protobuf, and for messages a signature over both.

use prost::Message;

use super::SenderKeyError;
use crate::signal::keys::{KeyPair, typed, untyped};

const VERSION: u8 = 3;
const VERSION_BYTE: u8 = VERSION << 4 | VERSION;
const SIGNATURE_BYTES: usize = 64;

#[derive(Clone, PartialEq, Message)]
struct MessageProto {
    #[prost(uint32, optional, tag = "1")]
    id: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    iteration: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "3")]
    ciphertext: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct DistributionProto {
    #[prost(uint32, optional, tag = "1")]
    id: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    iteration: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "3")]
    chain_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    signing_key: Option<Vec<u8>>,
}

/// A received message, parsed but not authenticated.
pub(super) struct GroupMessage<'a> {
    pub id: u32,
    pub iteration: u32,
    pub ciphertext: Vec<u8>,
    pub signed: &'a [u8],
    pub signature: &'a [u8; SIGNATURE_BYTES],
}

impl<'a> GroupMessage<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SenderKeyError> {
        let (signed, signature) = bytes
            .split_last_chunk::<SIGNATURE_BYTES>()
            .ok_or(SenderKeyError::Malformed("shorter than its signature"))?;
        let proto = MessageProto::decode(strip_version(signed)?)
            .map_err(|_| SenderKeyError::Malformed("not a protobuf"))?;
        Ok(Self {
            id: proto.id.ok_or(SenderKeyError::Malformed("no key id"))?,
            // A first message may leave its zero out.
            iteration: proto.iteration.unwrap_or(0),
            ciphertext: proto
                .ciphertext
                .ok_or(SenderKeyError::Malformed("no ciphertext"))?,
            signed,
            signature,
        })
    }
}

pub(super) fn encode(id: u32, iteration: u32, ciphertext: Vec<u8>, signing: &KeyPair) -> Vec<u8> {
    let mut bytes = with_version(&MessageProto {
        id: Some(id),
        iteration: Some(iteration),
        ciphertext: Some(ciphertext),
    });
    let signature = signing.sign(&bytes);
    bytes.extend_from_slice(&signature);
    bytes
}

/// A sender key as it is told to others.
pub(super) struct Distribution {
    pub id: u32,
    pub iteration: u32,
    pub chain_key: [u8; 32],
    pub signing_key: [u8; 32],
}

impl Distribution {
    pub fn parse(bytes: &[u8]) -> Result<Self, SenderKeyError> {
        let proto = DistributionProto::decode(strip_version(bytes)?)
            .map_err(|_| SenderKeyError::Malformed("not a protobuf"))?;
        let chain_key = proto.chain_key.ok_or(SenderKeyError::Malformed("no chain key"))?;
        let signing_key = proto
            .signing_key
            .ok_or(SenderKeyError::Malformed("no signing key"))?;
        Ok(Self {
            id: proto.id.ok_or(SenderKeyError::Malformed("no key id"))?,
            iteration: proto.iteration.unwrap_or(0),
            chain_key: chain_key
                .try_into()
                .map_err(|_| SenderKeyError::Malformed("a chain key has 32 bytes"))?,
            signing_key: untyped(&signing_key)?,
        })
    }
}

pub(super) fn encode_distribution(distribution: &Distribution) -> Vec<u8> {
    with_version(&DistributionProto {
        id: Some(distribution.id),
        iteration: Some(distribution.iteration),
        chain_key: Some(distribution.chain_key.to_vec()),
        signing_key: Some(typed(&distribution.signing_key).to_vec()),
    })
}

fn with_version(proto: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + proto.encoded_len() + SIGNATURE_BYTES);
    bytes.push(VERSION_BYTE);
    bytes.extend(proto.encode_to_vec());
    bytes
}

fn strip_version(bytes: &[u8]) -> Result<&[u8], SenderKeyError> {
    match bytes.split_first() {
        Some((first, rest)) if first >> 4 == VERSION => Ok(rest),
        Some((first, _)) => Err(SenderKeyError::Version(first >> 4)),
        None => Err(SenderKeyError::Malformed("empty")),
    }
}
