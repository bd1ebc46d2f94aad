//! One record: sealed under its keys, opened and checked.

use prost::Message as _;
use subtle::ConstantTimeEq as _;

use super::keys::{Keyring, Keys};
use super::{Change, Entry, IV_BYTES, MAC_BYTES, SyncdError};
use crate::signal::primitive::{cbc_decrypt, cbc_encrypt, hmac_sha256, hmac_sha512, random_bytes};
use crate::signal::proto::{KeyId, SyncActionData, SyncdBlob, SyncdMutation, SyncdOperation, SyncdRecord};

/// The parts of a value.
pub(super) struct Sealed<'a> {
    /// Initialisation vector and ciphertext: what the MAC is over.
    signed: &'a [u8],
    cipher: &'a [u8],
    pub mac: &'a [u8; MAC_BYTES],
}

impl<'a> Sealed<'a> {
    pub fn of(record: &'a SyncdRecord) -> Result<Self, SyncdError> {
        let value = record.value.as_ref().and_then(|value| value.blob.as_deref());
        let value = value.ok_or(SyncdError::Missing("value"))?;
        let (signed, mac) = value.split_last_chunk().ok_or(SyncdError::Short)?;
        let cipher = signed.get(IV_BYTES..).ok_or(SyncdError::Short)?;
        Ok(Self { signed, cipher, mac })
    }
}

pub(super) fn is_equal(computed: &[u8; MAC_BYTES], found: Option<&[u8]>) -> bool {
    found.is_some_and(|found| computed[..].ct_eq(found).into())
}

/// A record that was decrypted, and whose MACs are right.
pub(super) struct Opened {
    pub index_mac: [u8; MAC_BYTES],
    pub value_mac: [u8; MAC_BYTES],
    pub change: Change,
}

impl Opened {
    pub fn entry(&self, record: &SyncdRecord, since: u64) -> Box<Entry> {
        Box::new(Entry {
            since,
            index: self.change.index.clone(),
            value: self.change.value.clone(),
            value_mac: self.value_mac,
            record: record.clone(),
        })
    }
}

pub(super) fn open(
    operation: SyncdOperation,
    record: &SyncdRecord,
    keyring: &Keyring,
) -> Result<Opened, SyncdError> {
    let (id, keys) = keyring.get(record.key_id.as_ref())?;
    let Sealed { signed, cipher, mac } = Sealed::of(record)?;
    if !is_equal(&value_mac(operation, signed, id, keys), Some(mac)) {
        return Err(SyncdError::ValueMac);
    }
    let iv = signed.first_chunk().ok_or(SyncdError::Short)?;
    let plain = cbc_decrypt(&keys.value, iv, cipher).ok_or(SyncdError::Undecryptable)?;
    let data = SyncActionData::decode(plain.as_slice()).map_err(|_| SyncdError::Malformed)?;
    let index = data.index.unwrap_or_default();
    let index_mac = hmac_sha256(&keys.index, &[&index]);
    let found = record.index.as_ref().and_then(|index| index.blob.as_deref());
    if !is_equal(&index_mac, found) {
        return Err(SyncdError::IndexMac);
    }
    let change = Change {
        operation,
        index: serde_json::from_slice(&index).map_err(|_| SyncdError::Malformed)?,
        value: data.value.unwrap_or_default(),
        version: data.version.unwrap_or_default(),
    };
    Ok(Opened {
        index_mac,
        value_mac: *mac,
        change,
    })
}

pub(super) fn seal(change: &Change, key_id: &KeyId, keys: &Keys) -> SyncdMutation {
    // Written out: each part is a JSON string, which never fails to be one.
    let parts: Vec<_> = change
        .index
        .iter()
        .map(|part| serde_json::Value::from(part.as_str()).to_string())
        .collect();
    let index = format!("[{}]", parts.join(",")).into_bytes();
    let index_mac = hmac_sha256(&keys.index, &[&index]);
    let data = SyncActionData {
        index: Some(index),
        value: Some(change.value.clone()),
        padding: Some(Vec::new()),
        version: Some(change.version),
    };
    let iv: [u8; IV_BYTES] = random_bytes();
    let mut value = iv.to_vec();
    value.extend(cbc_encrypt(&keys.value, &iv, &data.encode_to_vec()));
    let id = key_id.id.as_deref().unwrap_or_default();
    value.extend(value_mac(change.operation, &value, id, keys));
    let blob = |bytes: Vec<u8>| Some(SyncdBlob { blob: Some(bytes) });
    SyncdMutation {
        operation: Some(change.operation.into()),
        record: Some(SyncdRecord {
            index: blob(index_mac.to_vec()),
            value: blob(value),
            key_id: Some(key_id.clone()),
        }),
    }
}

/// Half of an HMAC-SHA512 over operation, key id, value, and the length of the first two.
fn value_mac(operation: SyncdOperation, signed: &[u8], key_id: &[u8], keys: &Keys) -> [u8; MAC_BYTES] {
    let operation = [operation as u8 + 1];
    let length = (key_id.len() as u64 + 1).to_be_bytes();
    let mac = hmac_sha512(&keys.value_mac, &[&operation, key_id, signed, &length]);
    let (half, _) = mac.as_chunks::<MAC_BYTES>();
    half[0]
}
