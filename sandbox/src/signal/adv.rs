//! Vouching for linked devices: the account key (the phone's identity) signs each companion, and each
//! companion signs back.
//!
//! The pairing code of the server calls this while a companion links and when it serves bundles and
//! device lists. Signing takes tens of microseconds: a key-index list is to be kept per set of
//! devices, not signed per query.

use prost::Message;

use super::keys::{KeyPair, xeddsa_verify};
use super::primitive::hmac_sha256;
use super::proto::{
    AdvDeviceIdentity, AdvKeyIndexList, AdvSignedDeviceIdentity, AdvSignedDeviceIdentityHmac,
    AdvSignedKeyIndexList,
};

#[cfg(test)]
mod tests;

/// End-to-end encrypted, as opposed to hosted accounts.
const TYPE_E2EE: u32 = 0;
const ACCOUNT_PREFIX: [u8; 2] = [6, 0];
const DEVICE_PREFIX: [u8; 2] = [6, 1];
const KEY_INDEX_PREFIX: [u8; 2] = [6, 2];

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdvError {
    #[error("the device identity is not a protobuf")]
    Malformed,
    #[error("the device identity has no {0}")]
    Missing(&'static str),
    #[error("the {field} has {length} bytes")]
    Length { field: &'static str, length: usize },
    #[error("the details differ from those that were sent to the companion")]
    DetailsChanged,
    #[error("the account signature is wrong")]
    AccountSignature,
    #[error("the device signature is wrong")]
    DeviceSignature,
}

/// The account's statement about a companion.
#[derive(Clone, Copy, Debug)]
pub struct Companion<'a> {
    pub identity: &'a [u8; 32],
    pub raw_id: u32,
    /// Seconds.
    pub timestamp: u64,
    /// The companion's device number; never zero.
    pub key_index: u32,
}

/// Signs a companion with the account key. The companion's own signature is still missing.
pub fn sign_companion(account: &KeyPair, companion: &Companion<'_>) -> AdvSignedDeviceIdentity {
    let details = AdvDeviceIdentity {
        raw_id: Some(companion.raw_id),
        timestamp: Some(companion.timestamp),
        key_index: Some(companion.key_index),
        account_type: Some(TYPE_E2EE),
        device_type: Some(TYPE_E2EE),
    }
    .encode_to_vec();
    let signed = [&ACCOUNT_PREFIX, details.as_slice(), companion.identity].concat();
    AdvSignedDeviceIdentity {
        account_signature: Some(account.sign(&signed).to_vec()),
        account_signature_key: Some(account.public().to_vec()),
        device_signature: None,
        details: Some(details),
    }
}

/// The `device-identity` of pair-success: proof that the signer has scanned the companion's secret.
pub fn seal_for_companion(identity: &AdvSignedDeviceIdentity, adv_secret: &[u8; 32]) -> Vec<u8> {
    let details = identity.encode_to_vec();
    let hmac = hmac_sha256(adv_secret, &[&details]).to_vec();
    AdvSignedDeviceIdentityHmac {
        details: Some(details),
        hmac: Some(hmac),
    }
    .encode_to_vec()
}

/// Checks the companion's answer to `sent` and returns `sent` completed with the device signature,
/// which is what other devices are served in its bundle. Clients may leave the account key and the
/// account signature out of the answer, so neither is taken from there.
pub fn accept_companion(
    sent: &AdvSignedDeviceIdentity,
    answer: &[u8],
    companion_identity: &[u8; 32],
) -> Result<AdvSignedDeviceIdentity, AdvError> {
    let answer = AdvSignedDeviceIdentity::decode(answer).map_err(|_| AdvError::Malformed)?;
    if answer.details != sent.details {
        return Err(AdvError::DetailsChanged);
    }
    let completed = AdvSignedDeviceIdentity {
        device_signature: answer.device_signature,
        ..sent.clone()
    };
    verify(&completed, companion_identity)?;
    Ok(completed)
}

/// Checks both signatures of a companion's identity and returns what it says.
pub fn verify(
    identity: &AdvSignedDeviceIdentity,
    companion_identity: &[u8; 32],
) -> Result<AdvDeviceIdentity, AdvError> {
    let details = identity.details.as_deref().ok_or(AdvError::Missing("details"))?;
    let account: [u8; 32] = sized(&identity.account_signature_key, "account signature key")?;
    let account_signature: [u8; 64] = sized(&identity.account_signature, "account signature")?;
    let device_signature: [u8; 64] = sized(&identity.device_signature, "device signature")?;

    let by_account = [&ACCOUNT_PREFIX, details, companion_identity].concat();
    if !xeddsa_verify(&account, &by_account, &account_signature) {
        return Err(AdvError::AccountSignature);
    }
    let by_device = [&DEVICE_PREFIX, details, companion_identity, &account].concat();
    if !xeddsa_verify(companion_identity, &by_device, &device_signature) {
        return Err(AdvError::DeviceSignature);
    }
    AdvDeviceIdentity::decode(details).map_err(|_| AdvError::Malformed)
}

/// An account's linked devices, by the numbers they were linked with.
#[derive(Clone, Copy, Debug)]
pub struct KeyIndexes<'a> {
    pub raw_id: u32,
    /// Seconds.
    pub timestamp: u64,
    /// The highest number ever given out: readers keep devices above it, as newer than the list.
    pub current: u32,
    pub valid: &'a [u32],
}

/// The signed list of an account's devices, for the answers to device queries.
pub fn sign_key_index_list(account: &KeyPair, indexes: &KeyIndexes<'_>) -> Vec<u8> {
    let details = AdvKeyIndexList {
        raw_id: Some(indexes.raw_id),
        timestamp: Some(indexes.timestamp),
        current_index: Some(indexes.current),
        valid_indexes: indexes.valid.to_vec(),
        account_type: Some(TYPE_E2EE),
    }
    .encode_to_vec();
    let signature = account.sign(&[&KEY_INDEX_PREFIX, details.as_slice()].concat());
    AdvSignedKeyIndexList {
        details: Some(details),
        account_signature: Some(signature.to_vec()),
        account_signature_key: Some(account.public().to_vec()),
    }
    .encode_to_vec()
}

fn sized<const N: usize>(bytes: &Option<Vec<u8>>, field: &'static str) -> Result<[u8; N], AdvError> {
    let bytes = bytes.as_deref().ok_or(AdvError::Missing(field))?;
    bytes.try_into().map_err(|_| AdvError::Length {
        field,
        length: bytes.len(),
    })
}
