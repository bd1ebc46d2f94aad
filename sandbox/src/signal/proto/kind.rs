//! Kinds of messages besides text and media: polls and events with their encrypted answers, contact
//! cards, locations, what is pinned or kept, comments, replies to buttons and lists.

use prost::{Enumeration, Message as Proto};

use super::e2e::{ContextInfo, Message, MessageKey};

#[derive(Clone, PartialEq, Proto)]
pub struct PollCreationMessage {
    #[prost(string, optional, tag = "2")]
    pub name: Option<String>,
    #[prost(message, repeated, tag = "3")]
    pub options: Vec<PollOption>,
    /// How many options one voter may choose; 0 is any number.
    #[prost(uint32, optional, tag = "4")]
    pub selectable_options_count: Option<u32>,
    #[prost(message, optional, boxed, tag = "5")]
    pub context_info: Option<Box<ContextInfo>>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct PollOption {
    #[prost(string, optional, tag = "1")]
    pub option_name: Option<String>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct PollUpdateMessage {
    #[prost(message, optional, tag = "1")]
    pub poll_creation_message_key: Option<MessageKey>,
    #[prost(message, optional, tag = "2")]
    pub vote: Option<PollEncValue>,
    #[prost(int64, optional, tag = "4")]
    pub sender_timestamp_ms: Option<i64>,
}

/// A vote, sealed with a key made of the poll's secret.
#[derive(Clone, PartialEq, Proto)]
pub struct PollEncValue {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub enc_payload: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub enc_iv: Option<Vec<u8>>,
}

/// The plaintext of a vote.
#[derive(Clone, PartialEq, Proto)]
pub struct PollVoteMessage {
    /// SHA-256 of the names of the options.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub selected_options: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct EventMessage {
    #[prost(message, optional, boxed, tag = "1")]
    pub context_info: Option<Box<ContextInfo>>,
    #[prost(bool, optional, tag = "2")]
    pub is_canceled: Option<bool>,
    #[prost(string, optional, tag = "3")]
    pub name: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub description: Option<String>,
    #[prost(message, optional, boxed, tag = "5")]
    pub location: Option<Box<LocationMessage>>,
    #[prost(string, optional, tag = "6")]
    pub join_link: Option<String>,
    /// Seconds.
    #[prost(int64, optional, tag = "7")]
    pub start_time: Option<i64>,
    #[prost(int64, optional, tag = "8")]
    pub end_time: Option<i64>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct EncEventResponseMessage {
    #[prost(message, optional, tag = "1")]
    pub event_creation_message_key: Option<MessageKey>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub enc_payload: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub enc_iv: Option<Vec<u8>>,
}

/// The plaintext of an answer to an event.
#[derive(Clone, PartialEq, Proto)]
pub struct EventResponseMessage {
    #[prost(enumeration = "EventResponseType", optional, tag = "1")]
    pub response: Option<i32>,
    #[prost(int64, optional, tag = "2")]
    pub timestamp_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum EventResponseType {
    Unknown = 0,
    Going = 1,
    NotGoing = 2,
    Maybe = 3,
}

#[derive(Clone, PartialEq, Proto)]
pub struct ContactMessage {
    #[prost(string, optional, tag = "1")]
    pub display_name: Option<String>,
    #[prost(string, optional, tag = "16")]
    pub vcard: Option<String>,
    #[prost(message, optional, boxed, tag = "17")]
    pub context_info: Option<Box<ContextInfo>>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct ContactsArrayMessage {
    #[prost(string, optional, tag = "1")]
    pub display_name: Option<String>,
    #[prost(message, repeated, tag = "2")]
    pub contacts: Vec<ContactMessage>,
    #[prost(message, optional, boxed, tag = "17")]
    pub context_info: Option<Box<ContextInfo>>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct LocationMessage {
    #[prost(double, optional, tag = "1")]
    pub degrees_latitude: Option<f64>,
    #[prost(double, optional, tag = "2")]
    pub degrees_longitude: Option<f64>,
    #[prost(string, optional, tag = "3")]
    pub name: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub address: Option<String>,
    #[prost(string, optional, tag = "5")]
    pub url: Option<String>,
    #[prost(message, optional, boxed, tag = "17")]
    pub context_info: Option<Box<ContextInfo>>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct LiveLocationMessage {
    #[prost(double, optional, tag = "1")]
    pub degrees_latitude: Option<f64>,
    #[prost(double, optional, tag = "2")]
    pub degrees_longitude: Option<f64>,
    #[prost(uint32, optional, tag = "3")]
    pub accuracy_in_meters: Option<u32>,
    #[prost(string, optional, tag = "6")]
    pub caption: Option<String>,
    #[prost(int64, optional, tag = "7")]
    pub sequence_number: Option<i64>,
    #[prost(message, optional, boxed, tag = "17")]
    pub context_info: Option<Box<ContextInfo>>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct PinInChatMessage {
    #[prost(message, optional, tag = "1")]
    pub key: Option<MessageKey>,
    /// 1 pins for all, 2 takes the pin away.
    #[prost(int32, optional, tag = "2")]
    pub r#type: Option<i32>,
    #[prost(int64, optional, tag = "3")]
    pub sender_timestamp_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct KeepInChatMessage {
    #[prost(message, optional, tag = "1")]
    pub key: Option<MessageKey>,
    /// 1 keeps for all, 2 no longer.
    #[prost(int32, optional, tag = "2")]
    pub keep_type: Option<i32>,
    #[prost(int64, optional, tag = "3")]
    pub timestamp_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct CommentMessage {
    #[prost(message, optional, boxed, tag = "1")]
    pub message: Option<Box<Message>>,
    #[prost(message, optional, tag = "2")]
    pub target_message_key: Option<MessageKey>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct ButtonsResponseMessage {
    #[prost(string, optional, tag = "1")]
    pub selected_button_id: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub selected_display_text: Option<String>,
    #[prost(message, optional, boxed, tag = "3")]
    pub context_info: Option<Box<ContextInfo>>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct ListResponseMessage {
    #[prost(string, optional, tag = "1")]
    pub title: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub single_select_reply: Option<SingleSelectReply>,
    #[prost(message, optional, boxed, tag = "4")]
    pub context_info: Option<Box<ContextInfo>>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct SingleSelectReply {
    #[prost(string, optional, tag = "1")]
    pub selected_row_id: Option<String>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct TemplateButtonReplyMessage {
    #[prost(string, optional, tag = "1")]
    pub selected_id: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub selected_display_text: Option<String>,
    #[prost(message, optional, boxed, tag = "3")]
    pub context_info: Option<Box<ContextInfo>>,
}

/// Who turned disappearing messages on.
#[derive(Clone, PartialEq, Proto)]
pub struct DisappearingMode {
    #[prost(int32, optional, tag = "1")]
    pub initiator: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub trigger: Option<i32>,
}
