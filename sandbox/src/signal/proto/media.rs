//! Asking for a media file again.

use prost::{Enumeration, Message};

/// A companion could not fetch the file of a message.
#[derive(Clone, PartialEq, Message)]
pub struct ServerErrorReceipt {
    #[prost(string, optional, tag = "1")]
    pub stanza_id: Option<String>,
}

/// The phone's answer.
#[derive(Clone, PartialEq, Message)]
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
