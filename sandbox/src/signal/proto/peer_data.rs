//! What companions ask their phone for: messages they could not read, and older history.

use prost::{Enumeration, Message};

use super::e2e::MessageKey;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum PeerDataOperation {
    UploadSticker = 0,
    HistorySyncOnDemand = 3,
    PlaceholderMessageResend = 4,
}

#[derive(Clone, PartialEq, Message)]
pub struct PeerDataOperationRequest {
    #[prost(enumeration = "PeerDataOperation", optional, tag = "1")]
    pub operation: Option<i32>,
    #[prost(message, optional, tag = "4")]
    pub history_sync_on_demand: Option<HistorySyncOnDemand>,
    #[prost(message, repeated, tag = "5")]
    pub placeholder_message_resend: Vec<PlaceholderMessageResend>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HistorySyncOnDemand {
    #[prost(string, optional, tag = "1")]
    pub chat_jid: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub oldest_msg_id: Option<String>,
    #[prost(bool, optional, tag = "3")]
    pub oldest_msg_from_me: Option<bool>,
    #[prost(int32, optional, tag = "4")]
    pub on_demand_msg_count: Option<i32>,
    #[prost(int64, optional, tag = "5")]
    pub oldest_msg_timestamp_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PlaceholderMessageResend {
    #[prost(message, optional, tag = "1")]
    pub message_key: Option<MessageKey>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PeerDataOperationResponse {
    #[prost(enumeration = "PeerDataOperation", optional, tag = "1")]
    pub operation: Option<i32>,
    /// The id of the request.
    #[prost(string, optional, tag = "2")]
    pub stanza_id: Option<String>,
    #[prost(message, repeated, tag = "3")]
    pub results: Vec<PeerDataOperationResult>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PeerDataOperationResult {
    #[prost(message, optional, tag = "4")]
    pub placeholder_message_resend: Option<PlaceholderMessageResendResponse>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PlaceholderMessageResendResponse {
    /// An encoded `WebMessageInfo`.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub web_message_info_bytes: Option<Vec<u8>>,
}
