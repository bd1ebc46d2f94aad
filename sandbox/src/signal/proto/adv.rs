//! Linked-device identities ("ADV"): which companions an account key vouches for.

use prost::Message;

/// What the account key says about one companion. Account and device type 0 mean end-to-end
/// encrypted, the only kind here.
#[derive(Clone, PartialEq, Message)]
pub struct AdvDeviceIdentity {
    #[prost(uint32, optional, tag = "1")]
    pub raw_id: Option<u32>,
    /// Seconds.
    #[prost(uint64, optional, tag = "2")]
    pub timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "3")]
    pub key_index: Option<u32>,
    #[prost(uint32, optional, tag = "4")]
    pub account_type: Option<u32>,
    #[prost(uint32, optional, tag = "5")]
    pub device_type: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AdvSignedDeviceIdentity {
    /// An encoded [`AdvDeviceIdentity`].
    #[prost(bytes = "vec", optional, tag = "1")]
    pub details: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub account_signature_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub account_signature: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub device_signature: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AdvSignedDeviceIdentityHmac {
    /// An encoded [`AdvSignedDeviceIdentity`].
    #[prost(bytes = "vec", optional, tag = "1")]
    pub details: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub hmac: Option<Vec<u8>>,
}

/// Which key indexes of an account are in use.
#[derive(Clone, PartialEq, Message)]
pub struct AdvKeyIndexList {
    #[prost(uint32, optional, tag = "1")]
    pub raw_id: Option<u32>,
    /// Seconds.
    #[prost(uint64, optional, tag = "2")]
    pub timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "3")]
    pub current_index: Option<u32>,
    #[prost(uint32, repeated, packed = "true", tag = "4")]
    pub valid_indexes: Vec<u32>,
    #[prost(uint32, optional, tag = "5")]
    pub account_type: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AdvSignedKeyIndexList {
    /// An encoded [`AdvKeyIndexList`].
    #[prost(bytes = "vec", optional, tag = "1")]
    pub details: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub account_signature: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub account_signature_key: Option<Vec<u8>>,
}
