//! History a phone hands to a new companion: the notification inside a message, and the blob it
//! points to or contains.

use prost::{Enumeration, Message};

use super::e2e::MessageKey;

/// The values shared by the notification and the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum HistorySyncType {
    InitialBootstrap = 0,
    InitialStatusV3 = 1,
    Full = 2,
    Recent = 3,
    PushName = 4,
    NonBlockingData = 5,
    OnDemand = 6,
}

#[derive(Clone, PartialEq, Message)]
pub struct HistorySyncNotification {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub file_sha256: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "2")]
    pub file_length: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub media_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub file_enc_sha256: Option<Vec<u8>>,
    #[prost(string, optional, tag = "5")]
    pub direct_path: Option<String>,
    #[prost(enumeration = "HistorySyncType", optional, tag = "6")]
    pub sync_type: Option<i32>,
    #[prost(uint32, optional, tag = "7")]
    pub chunk_order: Option<u32>,
    #[prost(string, optional, tag = "8")]
    pub original_message_id: Option<String>,
    #[prost(uint32, optional, tag = "9")]
    pub progress: Option<u32>,
    /// Seconds.
    #[prost(int64, optional, tag = "10")]
    pub oldest_msg_in_chunk_timestamp_sec: Option<i64>,
    /// A zlib-deflated [`HistorySync`] in place of a blob to download.
    #[prost(bytes = "vec", optional, tag = "11")]
    pub initial_hist_bootstrap_inline_payload: Option<Vec<u8>>,
    #[prost(string, optional, tag = "12")]
    pub peer_data_request_session_id: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HistorySync {
    #[prost(enumeration = "HistorySyncType", required, tag = "1")]
    pub sync_type: i32,
    #[prost(message, repeated, tag = "2")]
    pub conversations: Vec<Conversation>,
    #[prost(uint32, optional, tag = "5")]
    pub chunk_order: Option<u32>,
    #[prost(uint32, optional, tag = "6")]
    pub progress: Option<u32>,
    #[prost(message, repeated, tag = "7")]
    pub pushnames: Vec<Pushname>,
    #[prost(message, repeated, tag = "15")]
    pub phone_number_to_lid_mappings: Vec<PhoneNumberToLidMapping>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Conversation {
    #[prost(string, required, tag = "1")]
    pub id: String,
    #[prost(message, repeated, tag = "2")]
    pub messages: Vec<HistorySyncMsg>,
    /// Seconds.
    #[prost(uint64, optional, tag = "5")]
    pub last_msg_timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "6")]
    pub unread_count: Option<u32>,
    /// Seconds.
    #[prost(uint64, optional, tag = "12")]
    pub conversation_timestamp: Option<u64>,
    #[prost(string, optional, tag = "13")]
    pub name: Option<String>,
    #[prost(bool, optional, tag = "16")]
    pub archived: Option<bool>,
    #[prost(string, optional, tag = "38")]
    pub display_name: Option<String>,
    #[prost(string, optional, tag = "39")]
    pub pn_jid: Option<String>,
    #[prost(string, optional, tag = "42")]
    pub lid_jid: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HistorySyncMsg {
    #[prost(message, optional, tag = "1")]
    pub message: Option<WebMessageInfo>,
    #[prost(uint64, optional, tag = "2")]
    pub msg_order_id: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct WebMessageInfo {
    #[prost(message, required, tag = "1")]
    pub key: MessageKey,
    #[prost(message, optional, boxed, tag = "2")]
    pub message: Option<Box<super::Message>>,
    /// Seconds.
    #[prost(uint64, optional, tag = "3")]
    pub message_timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "4")]
    pub status: Option<u32>,
    #[prost(string, optional, tag = "5")]
    pub participant: Option<String>,
    #[prost(string, optional, tag = "19")]
    pub push_name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Pushname {
    /// A JID.
    #[prost(string, optional, tag = "1")]
    pub id: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub pushname: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PhoneNumberToLidMapping {
    #[prost(string, optional, tag = "1")]
    pub pn_jid: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub lid_jid: Option<String>,
}
