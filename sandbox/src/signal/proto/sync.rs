//! App state: the keys a phone shares with its companions, and the one field of a patch that the
//! server writes.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct AppStateSyncKeyShare {
    #[prost(message, repeated, tag = "1")]
    pub keys: Vec<AppStateSyncKey>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AppStateSyncKeyRequest {
    #[prost(message, repeated, tag = "1")]
    pub key_ids: Vec<AppStateSyncKeyId>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AppStateSyncKey {
    #[prost(message, optional, tag = "1")]
    pub key_id: Option<AppStateSyncKeyId>,
    #[prost(message, optional, tag = "2")]
    pub key_data: Option<AppStateSyncKeyData>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AppStateSyncKeyId {
    /// Six bytes: device id (2) and key epoch (4), big-endian.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub key_id: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AppStateSyncKeyData {
    /// 32 bytes.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub key_data: Option<Vec<u8>>,
    #[prost(message, optional, tag = "2")]
    pub fingerprint: Option<AppStateSyncKeyFingerprint>,
    /// Milliseconds.
    #[prost(int64, optional, tag = "3")]
    pub timestamp: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AppStateSyncKeyFingerprint {
    #[prost(uint32, optional, tag = "1")]
    pub raw_id: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    pub current_index: Option<u32>,
    #[prost(uint32, repeated, packed = "true", tag = "3")]
    pub device_indexes: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SyncdVersion {
    #[prost(uint64, optional, tag = "1")]
    pub version: Option<u64>,
}

/// The version field of a `SyncdPatch`, alone. The server stamps a stored patch by appending an
/// encoded one to the patch's opaque bytes: parts of a protobuf message may follow each other, and a
/// repeated field's last value holds.
#[derive(Clone, PartialEq, Message)]
pub struct SyncdPatchVersion {
    #[prost(message, optional, tag = "1")]
    pub version: Option<SyncdVersion>,
}

impl SyncdPatchVersion {
    pub fn of(version: u64) -> Self {
        Self {
            version: Some(SyncdVersion {
                version: Some(version),
            }),
        }
    }

    /// `patch` with its version set, everything else untouched.
    pub fn stamp(mut patch: Vec<u8>, version: u64) -> Vec<u8> {
        patch.extend_from_slice(&Self::of(version).encode_to_vec());
        patch
    }
}
