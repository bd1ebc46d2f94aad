//! The content of an end-to-end encrypted message.

use prost::{Enumeration, Message as Proto};

use super::history::HistorySyncNotification;
use super::kind::{
    ButtonsResponseMessage, CommentMessage, ContactMessage, ContactsArrayMessage, DisappearingMode,
    EncEventResponseMessage, EventMessage, KeepInChatMessage, ListResponseMessage, LiveLocationMessage,
    LocationMessage, PinInChatMessage, PollCreationMessage, PollUpdateMessage, TemplateButtonReplyMessage,
};
use super::media::{AudioMessage, DocumentMessage, ImageMessage, StickerMessage, VideoMessage};
use super::peer_data::{PeerDataOperationRequest, PeerDataOperationResponse};
use super::sync::{AppStateSyncKeyRequest, AppStateSyncKeyShare};

/// Names a message: the chat, who wrote it, its id.
#[derive(Clone, PartialEq, Proto)]
pub struct MessageKey {
    #[prost(string, optional, tag = "1")]
    pub remote_jid: Option<String>,
    #[prost(bool, optional, tag = "2")]
    pub from_me: Option<bool>,
    #[prost(string, optional, tag = "3")]
    pub id: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub participant: Option<String>,
}

/// A message's content: one kind of content is set, besides the accompanying fields.
#[derive(Clone, PartialEq, Proto)]
pub struct Message {
    #[prost(string, optional, tag = "1")]
    pub conversation: Option<String>,
    #[prost(message, optional, tag = "2")]
    pub sender_key_distribution_message: Option<SenderKeyDistributionMessage>,
    #[prost(message, optional, boxed, tag = "3")]
    pub image_message: Option<Box<ImageMessage>>,
    #[prost(message, optional, boxed, tag = "4")]
    pub contact_message: Option<Box<ContactMessage>>,
    #[prost(message, optional, boxed, tag = "5")]
    pub location_message: Option<Box<LocationMessage>>,
    #[prost(message, optional, boxed, tag = "6")]
    pub extended_text_message: Option<Box<ExtendedTextMessage>>,
    #[prost(message, optional, boxed, tag = "7")]
    pub document_message: Option<Box<DocumentMessage>>,
    #[prost(message, optional, boxed, tag = "8")]
    pub audio_message: Option<Box<AudioMessage>>,
    #[prost(message, optional, boxed, tag = "9")]
    pub video_message: Option<Box<VideoMessage>>,
    #[prost(message, optional, boxed, tag = "12")]
    pub protocol_message: Option<Box<ProtocolMessage>>,
    #[prost(message, optional, boxed, tag = "13")]
    pub contacts_array_message: Option<Box<ContactsArrayMessage>>,
    #[prost(message, optional, boxed, tag = "18")]
    pub live_location_message: Option<Box<LiveLocationMessage>>,
    #[prost(message, optional, boxed, tag = "26")]
    pub sticker_message: Option<Box<StickerMessage>>,
    #[prost(message, optional, boxed, tag = "29")]
    pub template_button_reply_message: Option<Box<TemplateButtonReplyMessage>>,
    #[prost(message, optional, boxed, tag = "31")]
    pub device_sent_message: Option<Box<DeviceSentMessage>>,
    #[prost(message, optional, boxed, tag = "35")]
    pub message_context_info: Option<Box<MessageContextInfo>>,
    #[prost(message, optional, boxed, tag = "37")]
    pub view_once_message: Option<Box<FutureProofMessage>>,
    #[prost(message, optional, boxed, tag = "39")]
    pub list_response_message: Option<Box<ListResponseMessage>>,
    #[prost(message, optional, boxed, tag = "40")]
    pub ephemeral_message: Option<Box<FutureProofMessage>>,
    #[prost(message, optional, boxed, tag = "43")]
    pub buttons_response_message: Option<Box<ButtonsResponseMessage>>,
    #[prost(message, optional, boxed, tag = "46")]
    pub reaction_message: Option<Box<ReactionMessage>>,
    #[prost(message, optional, boxed, tag = "49")]
    pub poll_creation_message: Option<Box<PollCreationMessage>>,
    #[prost(message, optional, boxed, tag = "50")]
    pub poll_update_message: Option<Box<PollUpdateMessage>>,
    #[prost(message, optional, boxed, tag = "51")]
    pub keep_in_chat_message: Option<Box<KeepInChatMessage>>,
    #[prost(message, optional, boxed, tag = "53")]
    pub document_with_caption_message: Option<Box<FutureProofMessage>>,
    #[prost(message, optional, boxed, tag = "55")]
    pub view_once_message_v2: Option<Box<FutureProofMessage>>,
    #[prost(message, optional, boxed, tag = "58")]
    pub edited_message: Option<Box<FutureProofMessage>>,
    #[prost(message, optional, boxed, tag = "59")]
    pub view_once_message_v2_extension: Option<Box<FutureProofMessage>>,
    /// As `poll_creation_message`; clients choose one by who may vote and how often.
    #[prost(message, optional, boxed, tag = "60")]
    pub poll_creation_message_v2: Option<Box<PollCreationMessage>>,
    #[prost(message, optional, boxed, tag = "63")]
    pub pin_in_chat_message: Option<Box<PinInChatMessage>>,
    #[prost(message, optional, boxed, tag = "64")]
    pub poll_creation_message_v3: Option<Box<PollCreationMessage>>,
    #[prost(message, optional, boxed, tag = "75")]
    pub event_message: Option<Box<EventMessage>>,
    #[prost(message, optional, boxed, tag = "76")]
    pub enc_event_response_message: Option<Box<EncEventResponseMessage>>,
    #[prost(message, optional, boxed, tag = "77")]
    pub comment_message: Option<Box<CommentMessage>>,
}

impl Message {
    pub fn of_text(text: impl Into<String>) -> Self {
        Self {
            conversation: Some(text.into()),
            ..Self::default()
        }
    }

    pub fn of_protocol(protocol: ProtocolMessage) -> Self {
        Self {
            protocol_message: Some(Box::new(protocol)),
            ..Self::default()
        }
    }

    /// The copy of `self` for the sender's own other devices.
    pub fn device_sent(self, destination_jid: impl Into<String>) -> Self {
        let message_context_info = self.message_context_info.clone();
        let sent = DeviceSentMessage {
            destination_jid: Some(destination_jid.into()),
            message: Some(Box::new(self)),
            phash: None,
        };
        Self {
            device_sent_message: Some(Box::new(sent)),
            message_context_info,
            ..Self::default()
        }
    }

    /// The text of a text message, or the caption of a medium.
    pub fn text(&self) -> Option<&str> {
        let extended = || self.extended_text_message.as_ref()?.text.as_deref();
        let image = || self.image_message.as_ref()?.caption.as_deref();
        let video = || self.video_message.as_ref()?.caption.as_deref();
        let document = || self.document_message.as_ref()?.caption.as_deref();
        self.conversation
            .as_deref()
            .or_else(extended)
            .or_else(image)
            .or_else(video)
            .or_else(document)
    }

    /// The content inside the wrappers a sender may put around it.
    pub fn innermost(&self) -> &Self {
        let mut message = self;
        while let Some(inner) = message.wrapped() {
            message = inner;
        }
        message
    }

    /// The content of the outermost wrapper, if there is one.
    pub fn wrapped(&self) -> Option<&Self> {
        if let Some(inner) = self
            .device_sent_message
            .as_ref()
            .and_then(|sent| sent.message.as_deref())
        {
            return Some(inner);
        }
        [
            &self.ephemeral_message,
            &self.view_once_message,
            &self.view_once_message_v2,
            &self.view_once_message_v2_extension,
            &self.document_with_caption_message,
            &self.edited_message,
        ]
        .into_iter()
        .find_map(|wrapper| wrapper.as_ref()?.message.as_deref())
    }
}

#[derive(Clone, PartialEq, Proto)]
pub struct SenderKeyDistributionMessage {
    #[prost(string, optional, tag = "1")]
    pub group_id: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub axolotl_sender_key_distribution_message: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct ExtendedTextMessage {
    #[prost(string, optional, tag = "1")]
    pub text: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub matched_text: Option<String>,
    #[prost(string, optional, tag = "5")]
    pub description: Option<String>,
    #[prost(string, optional, tag = "6")]
    pub title: Option<String>,
    #[prost(message, optional, boxed, tag = "17")]
    pub context_info: Option<Box<ContextInfo>>,
}

/// What a message answers, mentions or forwards.
#[derive(Clone, PartialEq, Proto)]
pub struct ContextInfo {
    #[prost(string, optional, tag = "1")]
    pub stanza_id: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub participant: Option<String>,
    #[prost(message, optional, boxed, tag = "3")]
    pub quoted_message: Option<Box<Message>>,
    #[prost(string, optional, tag = "4")]
    pub remote_jid: Option<String>,
    #[prost(string, repeated, tag = "15")]
    pub mentioned_jid: Vec<String>,
    #[prost(uint32, optional, tag = "21")]
    pub forwarding_score: Option<u32>,
    #[prost(bool, optional, tag = "22")]
    pub is_forwarded: Option<bool>,
    /// Seconds.
    #[prost(uint32, optional, tag = "25")]
    pub expiration: Option<u32>,
    /// Seconds.
    #[prost(int64, optional, tag = "26")]
    pub ephemeral_setting_timestamp: Option<i64>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct ReactionMessage {
    #[prost(message, optional, tag = "1")]
    pub key: Option<MessageKey>,
    /// An emoji; empty takes the reaction back.
    #[prost(string, optional, tag = "2")]
    pub text: Option<String>,
    #[prost(int64, optional, tag = "4")]
    pub sender_timestamp_ms: Option<i64>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct DeviceSentMessage {
    #[prost(string, optional, tag = "1")]
    pub destination_jid: Option<String>,
    #[prost(message, optional, boxed, tag = "2")]
    pub message: Option<Box<Message>>,
    #[prost(string, optional, tag = "3")]
    pub phash: Option<String>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct FutureProofMessage {
    #[prost(message, optional, boxed, tag = "1")]
    pub message: Option<Box<Message>>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct ProtocolMessage {
    #[prost(message, optional, tag = "1")]
    pub key: Option<MessageKey>,
    #[prost(enumeration = "ProtocolType", optional, tag = "2")]
    pub r#type: Option<i32>,
    /// Seconds.
    #[prost(uint32, optional, tag = "4")]
    pub ephemeral_expiration: Option<u32>,
    /// Seconds.
    #[prost(int64, optional, tag = "5")]
    pub ephemeral_setting_timestamp: Option<i64>,
    #[prost(message, optional, boxed, tag = "6")]
    pub history_sync_notification: Option<Box<HistorySyncNotification>>,
    #[prost(message, optional, tag = "7")]
    pub app_state_sync_key_share: Option<AppStateSyncKeyShare>,
    #[prost(message, optional, tag = "8")]
    pub app_state_sync_key_request: Option<AppStateSyncKeyRequest>,
    #[prost(message, optional, tag = "11")]
    pub disappearing_mode: Option<DisappearingMode>,
    #[prost(message, optional, boxed, tag = "14")]
    pub edited_message: Option<Box<Message>>,
    #[prost(int64, optional, tag = "15")]
    pub timestamp_ms: Option<i64>,
    #[prost(message, optional, tag = "16")]
    pub peer_data_operation_request: Option<PeerDataOperationRequest>,
    #[prost(message, optional, tag = "17")]
    pub peer_data_operation_response: Option<PeerDataOperationResponse>,
}

/// The protocol messages a phone sends or understands; other values decode as unknown numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum ProtocolType {
    Revoke = 0,
    EphemeralSetting = 3,
    HistorySyncNotification = 5,
    AppStateSyncKeyShare = 6,
    AppStateSyncKeyRequest = 7,
    InitialSecurityNotificationSettingSync = 9,
    MessageEdit = 14,
    PeerDataOperationRequestMessage = 16,
    PeerDataOperationRequestResponseMessage = 17,
}

#[derive(Clone, PartialEq, Proto)]
pub struct MessageContextInfo {
    #[prost(message, optional, tag = "1")]
    pub device_list_metadata: Option<DeviceListMetadata>,
    #[prost(int32, optional, tag = "2")]
    pub device_list_metadata_version: Option<i32>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub message_secret: Option<Vec<u8>>,
    /// For how long a pin or the like holds.
    #[prost(uint32, optional, tag = "5")]
    pub message_add_on_duration_in_secs: Option<u32>,
}

#[derive(Clone, PartialEq, Proto)]
pub struct DeviceListMetadata {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub sender_key_hash: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "2")]
    pub sender_timestamp: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "8")]
    pub recipient_key_hash: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "9")]
    pub recipient_timestamp: Option<u64>,
}
