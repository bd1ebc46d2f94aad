//! Messages that carry a file, and asking for the file again.

use prost::{Enumeration, Message as Proto};

use super::e2e::ContextInfo;

#[derive(Clone, PartialEq, Proto)]
pub struct ImageMessage {
    #[prost(string, optional, tag = "1")]
    pub url: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub mimetype: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub caption: Option<String>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub file_sha256: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "5")]
    pub file_length: Option<u64>,
    #[prost(uint32, optional, tag = "6")]
    pub height: Option<u32>,
    #[prost(uint32, optional, tag = "7")]
    pub width: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub media_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "9")]
    pub file_enc_sha256: Option<Vec<u8>>,
    #[prost(string, optional, tag = "11")]
    pub direct_path: Option<String>,
    #[prost(int64, optional, tag = "12")]
    pub media_key_timestamp: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "16")]
    pub jpeg_thumbnail: Option<Vec<u8>>,
    #[prost(message, optional, boxed, tag = "17")]
    pub context_info: Option<Box<ContextInfo>>,
    #[prost(string, optional, tag = "26")]
    pub thumbnail_direct_path: Option<String>,
    #[prost(bytes = "vec", optional, tag = "27")]
    pub thumbnail_sha256: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "28")]
    pub thumbnail_enc_sha256: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct VideoMessage {
    #[prost(string, optional, tag = "1")]
    pub url: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub mimetype: Option<String>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub file_sha256: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "4")]
    pub file_length: Option<u64>,
    #[prost(uint32, optional, tag = "5")]
    pub seconds: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub media_key: Option<Vec<u8>>,
    #[prost(string, optional, tag = "7")]
    pub caption: Option<String>,
    #[prost(bool, optional, tag = "8")]
    pub gif_playback: Option<bool>,
    #[prost(uint32, optional, tag = "9")]
    pub height: Option<u32>,
    #[prost(uint32, optional, tag = "10")]
    pub width: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "11")]
    pub file_enc_sha256: Option<Vec<u8>>,
    #[prost(string, optional, tag = "13")]
    pub direct_path: Option<String>,
    #[prost(int64, optional, tag = "14")]
    pub media_key_timestamp: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "16")]
    pub jpeg_thumbnail: Option<Vec<u8>>,
    #[prost(message, optional, boxed, tag = "17")]
    pub context_info: Option<Box<ContextInfo>>,
    #[prost(string, optional, tag = "21")]
    pub thumbnail_direct_path: Option<String>,
    #[prost(bytes = "vec", optional, tag = "22")]
    pub thumbnail_sha256: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "23")]
    pub thumbnail_enc_sha256: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct AudioMessage {
    #[prost(string, optional, tag = "1")]
    pub url: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub mimetype: Option<String>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub file_sha256: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "4")]
    pub file_length: Option<u64>,
    #[prost(uint32, optional, tag = "5")]
    pub seconds: Option<u32>,
    #[prost(bool, optional, tag = "6")]
    pub ptt: Option<bool>,
    #[prost(bytes = "vec", optional, tag = "7")]
    pub media_key: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub file_enc_sha256: Option<Vec<u8>>,
    #[prost(string, optional, tag = "9")]
    pub direct_path: Option<String>,
    #[prost(int64, optional, tag = "10")]
    pub media_key_timestamp: Option<i64>,
    #[prost(message, optional, boxed, tag = "17")]
    pub context_info: Option<Box<ContextInfo>>,
    #[prost(bytes = "vec", optional, tag = "19")]
    pub waveform: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct DocumentMessage {
    #[prost(string, optional, tag = "1")]
    pub url: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub mimetype: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub title: Option<String>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub file_sha256: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "5")]
    pub file_length: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "7")]
    pub media_key: Option<Vec<u8>>,
    #[prost(string, optional, tag = "8")]
    pub file_name: Option<String>,
    #[prost(bytes = "vec", optional, tag = "9")]
    pub file_enc_sha256: Option<Vec<u8>>,
    #[prost(string, optional, tag = "10")]
    pub direct_path: Option<String>,
    #[prost(int64, optional, tag = "11")]
    pub media_key_timestamp: Option<i64>,
    #[prost(string, optional, tag = "13")]
    pub thumbnail_direct_path: Option<String>,
    #[prost(bytes = "vec", optional, tag = "14")]
    pub thumbnail_sha256: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "15")]
    pub thumbnail_enc_sha256: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "16")]
    pub jpeg_thumbnail: Option<Vec<u8>>,
    #[prost(message, optional, boxed, tag = "17")]
    pub context_info: Option<Box<ContextInfo>>,
    #[prost(string, optional, tag = "20")]
    pub caption: Option<String>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct StickerMessage {
    #[prost(string, optional, tag = "1")]
    pub url: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub file_sha256: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub file_enc_sha256: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub media_key: Option<Vec<u8>>,
    #[prost(string, optional, tag = "5")]
    pub mimetype: Option<String>,
    #[prost(uint32, optional, tag = "6")]
    pub height: Option<u32>,
    #[prost(uint32, optional, tag = "7")]
    pub width: Option<u32>,
    #[prost(string, optional, tag = "8")]
    pub direct_path: Option<String>,
    #[prost(uint64, optional, tag = "9")]
    pub file_length: Option<u64>,
    #[prost(int64, optional, tag = "10")]
    pub media_key_timestamp: Option<i64>,
    #[prost(message, optional, boxed, tag = "17")]
    pub context_info: Option<Box<ContextInfo>>,
}

/// A companion could not fetch the file of a message.
#[derive(Clone, PartialEq, Proto)]
pub struct ServerErrorReceipt {
    #[prost(string, optional, tag = "1")]
    pub stanza_id: Option<String>,
}

/// The phone's answer.
#[derive(Clone, PartialEq, Proto)]
pub struct MediaRetryNotification {
    #[prost(string, optional, tag = "1")]
    pub stanza_id: Option<String>,
    /// The new address.
    #[prost(string, optional, tag = "2")]
    pub direct_path: Option<String>,
    #[prost(enumeration = "MediaRetryResult", optional, tag = "3")]
    pub result: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum MediaRetryResult {
    GeneralError = 0,
    Success = 1,
    NotFound = 2,
    DecryptionError = 3,
}
