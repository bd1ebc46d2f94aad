//! The protobuf messages phones read and write, reduced to the fields the sandbox uses.
//!
//! Field numbers are those of WhatsApp Web's schema; fields not listed are dropped on decoding. Every
//! field is optional, as in the schema: an absent number and a zero are different things there.

mod adv;
mod e2e;
mod history;
mod media;
mod sync;
#[cfg(test)]
mod tests;

pub use adv::{
    AdvDeviceIdentity, AdvKeyIndexList, AdvSignedDeviceIdentity, AdvSignedDeviceIdentityHmac,
    AdvSignedKeyIndexList,
};
pub use e2e::{
    AudioMessage, ContextInfo, DeviceListMetadata, DeviceSentMessage, DocumentMessage, ExtendedTextMessage,
    FutureProofMessage, ImageMessage, Message, MessageContextInfo, MessageKey, ProtocolMessage, ProtocolType,
    ReactionMessage, SenderKeyDistributionMessage, StickerMessage, VideoMessage,
};
pub use history::{
    Conversation, HistorySync, HistorySyncMsg, HistorySyncNotification, HistorySyncType,
    PhoneNumberToLidMapping, Pushname, WebMessageInfo,
};
pub use media::{MediaRetryNotification, MediaRetryResult, ServerErrorReceipt};
pub use prost::Message as ProtoMessage;
pub use sync::{
    AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId,
    AppStateSyncKeyRequest, AppStateSyncKeyShare, SyncdPatchVersion, SyncdVersion,
};
