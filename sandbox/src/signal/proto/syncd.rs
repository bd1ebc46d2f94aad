//! App state as it travels: encrypted records, the patches that change them, and what is inside.

use prost::{Enumeration, Message};

use super::e2e::MessageKey;
use super::sync::SyncdVersion;

/// Names an app-state key.
#[derive(Clone, PartialEq, Message)]
pub struct KeyId {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub id: Option<Vec<u8>>,
}

/// An index (its MAC) or a value (initialisation vector, ciphertext, MAC): both are one field.
#[derive(Clone, PartialEq, Message)]
pub struct SyncdBlob {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub blob: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SyncdRecord {
    #[prost(message, optional, tag = "1")]
    pub index: Option<SyncdBlob>,
    #[prost(message, optional, tag = "2")]
    pub value: Option<SyncdBlob>,
    #[prost(message, optional, tag = "3")]
    pub key_id: Option<KeyId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum SyncdOperation {
    Set = 0,
    Remove = 1,
}

#[derive(Clone, PartialEq, Message)]
pub struct SyncdMutation {
    #[prost(enumeration = "SyncdOperation", optional, tag = "1")]
    pub operation: Option<i32>,
    #[prost(message, optional, tag = "2")]
    pub record: Option<SyncdRecord>,
}

/// The content of an external blob of a patch.
#[derive(Clone, PartialEq, Message)]
pub struct SyncdMutations {
    #[prost(message, repeated, tag = "1")]
    pub mutations: Vec<SyncdMutation>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SyncdPatch {
    #[prost(message, optional, tag = "1")]
    pub version: Option<SyncdVersion>,
    #[prost(message, repeated, tag = "2")]
    pub mutations: Vec<SyncdMutation>,
    #[prost(message, optional, tag = "3")]
    pub external_mutations: Option<ExternalBlobReference>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub snapshot_mac: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub patch_mac: Option<Vec<u8>>,
    #[prost(message, optional, tag = "6")]
    pub key_id: Option<KeyId>,
    #[prost(uint32, optional, tag = "8")]
    pub device_index: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SyncdSnapshot {
    #[prost(message, optional, tag = "1")]
    pub version: Option<SyncdVersion>,
    #[prost(message, repeated, tag = "2")]
    pub records: Vec<SyncdRecord>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub mac: Option<Vec<u8>>,
    #[prost(message, optional, tag = "4")]
    pub key_id: Option<KeyId>,
}

/// Where an encrypted blob with a snapshot, or with the mutations of a large patch, is found.
#[derive(Clone, PartialEq, Message)]
pub struct ExternalBlobReference {
    #[prost(bytes = "vec", optional, tag = "1")]
    pub media_key: Option<Vec<u8>>,
    #[prost(string, optional, tag = "2")]
    pub direct_path: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub handle: Option<String>,
    #[prost(uint64, optional, tag = "4")]
    pub file_size_bytes: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub file_sha256: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub file_enc_sha256: Option<Vec<u8>>,
}

/// The plaintext of a record.
#[derive(Clone, PartialEq, Message)]
pub struct SyncActionData {
    /// A JSON array of strings.
    #[prost(bytes = "vec", optional, tag = "1")]
    pub index: Option<Vec<u8>>,
    #[prost(message, optional, tag = "2")]
    pub value: Option<SyncActionValue>,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub padding: Option<Vec<u8>>,
    /// The version of the action's schema.
    #[prost(int32, optional, tag = "4")]
    pub version: Option<i32>,
}

/// What a record says; one action is set.
#[derive(Clone, PartialEq, Message)]
pub struct SyncActionValue {
    /// Milliseconds.
    #[prost(int64, optional, tag = "1")]
    pub timestamp: Option<i64>,
    #[prost(message, optional, tag = "2")]
    pub star_action: Option<FlagAction>,
    #[prost(message, optional, tag = "3")]
    pub contact_action: Option<ContactAction>,
    #[prost(message, optional, tag = "4")]
    pub mute_action: Option<MuteAction>,
    #[prost(message, optional, tag = "5")]
    pub pin_action: Option<FlagAction>,
    #[prost(message, optional, tag = "7")]
    pub push_name_setting: Option<PushNameSetting>,
    #[prost(message, optional, tag = "14")]
    pub label_edit_action: Option<LabelEditAction>,
    #[prost(message, optional, tag = "15")]
    pub label_association_action: Option<FlagAction>,
    #[prost(message, optional, tag = "17")]
    pub archive_chat_action: Option<ChatFlagAction>,
    #[prost(message, optional, tag = "18")]
    pub delete_message_for_me_action: Option<DeleteMessageForMeAction>,
    #[prost(message, optional, tag = "20")]
    pub mark_chat_as_read_action: Option<ChatFlagAction>,
    #[prost(message, optional, tag = "21")]
    pub clear_chat_action: Option<ChatAction>,
    #[prost(message, optional, tag = "22")]
    pub delete_chat_action: Option<ChatAction>,
    #[prost(message, optional, tag = "23")]
    pub unarchive_chats_setting: Option<FlagAction>,
}

/// Actions that are one flag: starred, pinned, labeled, unarchive chats.
#[derive(Clone, PartialEq, Message)]
pub struct FlagAction {
    #[prost(bool, optional, tag = "1")]
    pub flag: Option<bool>,
}

/// Actions that are a flag for a chat up to some message: archived, read.
#[derive(Clone, PartialEq, Message)]
pub struct ChatFlagAction {
    #[prost(bool, optional, tag = "1")]
    pub flag: Option<bool>,
    #[prost(message, optional, tag = "2")]
    pub message_range: Option<SyncActionMessageRange>,
}

/// Actions on a chat up to some message: clear, delete.
#[derive(Clone, PartialEq, Message)]
pub struct ChatAction {
    #[prost(message, optional, tag = "1")]
    pub message_range: Option<SyncActionMessageRange>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SyncActionMessageRange {
    /// Seconds.
    #[prost(int64, optional, tag = "1")]
    pub last_message_timestamp: Option<i64>,
    #[prost(int64, optional, tag = "2")]
    pub last_system_message_timestamp: Option<i64>,
    #[prost(message, repeated, tag = "3")]
    pub messages: Vec<SyncActionMessage>,
}

#[derive(Clone, PartialEq, Message)]
pub struct SyncActionMessage {
    #[prost(message, optional, tag = "1")]
    pub key: Option<MessageKey>,
    #[prost(int64, optional, tag = "2")]
    pub timestamp: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ContactAction {
    #[prost(string, optional, tag = "1")]
    pub full_name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub first_name: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub lid_jid: Option<String>,
    #[prost(bool, optional, tag = "4")]
    pub save_on_primary_addressbook: Option<bool>,
    #[prost(string, optional, tag = "5")]
    pub pn_jid: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct MuteAction {
    #[prost(bool, optional, tag = "1")]
    pub muted: Option<bool>,
    /// Milliseconds; -1 is for ever.
    #[prost(int64, optional, tag = "2")]
    pub mute_end_timestamp: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PushNameSetting {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LabelEditAction {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(int32, optional, tag = "2")]
    pub color: Option<i32>,
    #[prost(int32, optional, tag = "3")]
    pub predefined_id: Option<i32>,
    #[prost(bool, optional, tag = "4")]
    pub deleted: Option<bool>,
}

#[derive(Clone, PartialEq, Message)]
pub struct DeleteMessageForMeAction {
    #[prost(bool, optional, tag = "1")]
    pub delete_media: Option<bool>,
    /// Seconds.
    #[prost(int64, optional, tag = "2")]
    pub message_timestamp: Option<i64>,
}
