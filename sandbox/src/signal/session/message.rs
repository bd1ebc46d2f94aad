//! The wire form of Signal messages: a version byte, a protobuf and, for ordinary messages, a
//! truncated authentication code.

use prost::Message;
use subtle::ConstantTimeEq;

use super::SessionError;
use crate::signal::keys::{typed, untyped};
use crate::signal::primitive::hmac_sha256;

/// The version of the protocol; the low half of the version byte is the version a sender supports.
const VERSION: u8 = 3;
const VERSION_BYTE: u8 = VERSION << 4 | VERSION;
const MAC_BYTES: usize = 8;

#[derive(Clone, PartialEq, Message)]
struct SignalMessageProto {
    #[prost(bytes = "vec", optional, tag = "1")]
    ratchet_key: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "2")]
    counter: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    previous_counter: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "4")]
    ciphertext: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct PrekeyMessageProto {
    #[prost(uint32, optional, tag = "1")]
    prekey_id: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "2")]
    base_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    identity_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    message: Option<Vec<u8>>,
    #[prost(uint32, optional, tag = "5")]
    registration_id: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    signed_prekey_id: Option<u32>,
}

/// A received message, parsed but not authenticated.
#[derive(Debug)]
pub(in crate::signal) struct SignalMessage<'a> {
    pub ratchet: [u8; 32],
    pub counter: u32,
    pub ciphertext: Vec<u8>,
    authenticated: &'a [u8],
    mac: &'a [u8; MAC_BYTES],
}

impl<'a> SignalMessage<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SessionError> {
        let (authenticated, mac) = bytes
            .split_last_chunk::<MAC_BYTES>()
            .ok_or(SessionError::Malformed("shorter than its authentication code"))?;
        let proto = SignalMessageProto::decode(strip_version(authenticated)?)
            .map_err(|_| SessionError::Malformed("not a protobuf"))?;
        let ratchet_key = proto
            .ratchet_key
            .ok_or(SessionError::Malformed("no ratchet key"))?;
        Ok(Self {
            ratchet: untyped(&ratchet_key)?,
            counter: proto.counter.ok_or(SessionError::Malformed("no counter"))?,
            ciphertext: proto.ciphertext.ok_or(SessionError::Malformed("no ciphertext"))?,
            authenticated,
            mac,
        })
    }

    pub fn is_authentic(&self, key: &[u8; 32], sender: &[u8; 32], receiver: &[u8; 32]) -> bool {
        authentication_code(key, sender, receiver, self.authenticated)
            .ct_eq(self.mac)
            .into()
    }
}

/// A received prekey message; `message` is a [`SignalMessage`] still to be parsed.
#[derive(Debug)]
pub(in crate::signal) struct PrekeyMessage {
    pub prekey_id: Option<u32>,
    pub signed_prekey_id: u32,
    pub base_key: [u8; 32],
    pub identity: [u8; 32],
    pub message: Vec<u8>,
}

impl PrekeyMessage {
    pub fn parse(bytes: &[u8]) -> Result<Self, SessionError> {
        let proto = PrekeyMessageProto::decode(strip_version(bytes)?)
            .map_err(|_| SessionError::Malformed("not a protobuf"))?;
        let base_key = proto.base_key.ok_or(SessionError::Malformed("no base key"))?;
        let identity = proto
            .identity_key
            .ok_or(SessionError::Malformed("no identity key"))?;
        Ok(Self {
            prekey_id: proto.prekey_id,
            signed_prekey_id: proto
                .signed_prekey_id
                .ok_or(SessionError::Malformed("no signed prekey id"))?,
            base_key: untyped(&base_key)?,
            identity: untyped(&identity)?,
            message: proto.message.ok_or(SessionError::Malformed("no message"))?,
        })
    }
}

/// The fields of a message to be sent.
pub(super) struct Outgoing<'a> {
    pub ratchet: &'a [u8; 32],
    pub counter: u32,
    pub previous_counter: u32,
    pub ciphertext: Vec<u8>,
}

/// What a prekey message adds to the message in it.
pub(super) struct PrekeyFrame<'a> {
    pub registration_id: u32,
    pub prekey_id: Option<u32>,
    pub signed_prekey_id: u32,
    pub base_key: &'a [u8; 32],
    pub identity: &'a [u8; 32],
}

pub(super) fn encode(
    message: Outgoing<'_>,
    mac_key: &[u8; 32],
    sender: &[u8; 32],
    receiver: &[u8; 32],
) -> Vec<u8> {
    let mut bytes = with_version(&SignalMessageProto {
        ratchet_key: Some(typed(message.ratchet).to_vec()),
        counter: Some(message.counter),
        previous_counter: Some(message.previous_counter),
        ciphertext: Some(message.ciphertext),
    });
    let mac = authentication_code(mac_key, sender, receiver, &bytes);
    bytes.extend_from_slice(&mac);
    bytes
}

pub(super) fn encode_prekey(frame: &PrekeyFrame<'_>, message: Vec<u8>) -> Vec<u8> {
    with_version(&PrekeyMessageProto {
        prekey_id: frame.prekey_id,
        base_key: Some(typed(frame.base_key).to_vec()),
        identity_key: Some(typed(frame.identity).to_vec()),
        message: Some(message),
        registration_id: Some(frame.registration_id),
        signed_prekey_id: Some(frame.signed_prekey_id),
    })
}

fn with_version(proto: &impl Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + proto.encoded_len() + MAC_BYTES);
    bytes.push(VERSION_BYTE);
    proto
        .encode(&mut bytes)
        .expect("a Vec grows with what is written to it");
    bytes
}

fn strip_version(bytes: &[u8]) -> Result<&[u8], SessionError> {
    let (first, rest) = bytes.split_first().ok_or(SessionError::Malformed("empty"))?;
    if first >> 4 != VERSION {
        return Err(SessionError::Version(first >> 4));
    }
    Ok(rest)
}

fn authentication_code(
    key: &[u8; 32],
    sender: &[u8; 32],
    receiver: &[u8; 32],
    authenticated: &[u8],
) -> [u8; MAC_BYTES] {
    let mac = hmac_sha256(key, &[&typed(sender), &typed(receiver), authenticated]);
    let mut truncated = [0; MAC_BYTES];
    truncated.copy_from_slice(&mac[..MAC_BYTES]);
    truncated
}
