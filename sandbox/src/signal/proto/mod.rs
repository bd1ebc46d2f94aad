//! The protobuf messages phones read and write, reduced to the fields the sandbox uses.
//!
//! Field numbers are those of WhatsApp Web's schema; fields not listed are dropped on decoding. Every
//! field is optional, as in the schema: an absent number and a zero are different things there.

mod adv;
mod e2e;
mod history;
mod kind;
mod media;
mod peer_data;
mod sync;
mod syncd;
#[cfg(test)]
mod tests;

pub use adv::{
    AdvDeviceIdentity, AdvKeyIndexList, AdvSignedDeviceIdentity, AdvSignedDeviceIdentityHmac,
    AdvSignedKeyIndexList,
};
pub use e2e::{
    ContextInfo, DeviceListMetadata, DeviceSentMessage, ExtendedTextMessage, FutureProofMessage, Message,
    MessageContextInfo, MessageKey, ProtocolMessage, ProtocolType, ReactionMessage,
    SenderKeyDistributionMessage,
};
pub use history::{
    Conversation, HistorySync, HistorySyncMsg, HistorySyncNotification, HistorySyncType,
    PhoneNumberToLidMapping, Pushname, WebMessageInfo,
};
pub use kind::{
    ButtonsResponseMessage, CommentMessage, ContactMessage, ContactsArrayMessage, DisappearingMode,
    EncEventResponseMessage, EventMessage, EventResponseMessage, EventResponseType, KeepInChatMessage,
    ListResponseMessage, LiveLocationMessage, LocationMessage, PinInChatMessage, PollCreationMessage,
    PollEncValue, PollOption, PollUpdateMessage, PollVoteMessage, SingleSelectReply,
    TemplateButtonReplyMessage,
};
pub use media::{
    AudioMessage, DocumentMessage, ImageMessage, MediaRetryNotification, MediaRetryResult,
    ServerErrorReceipt, StickerMessage, VideoMessage,
};
pub use peer_data::{
    HistorySyncOnDemand, PeerDataOperation, PeerDataOperationRequest, PeerDataOperationResponse,
    PeerDataOperationResult, PlaceholderMessageResend, PlaceholderMessageResendResponse,
};
pub use prost::Message as ProtoMessage;
pub use sync::{
    AppStateSyncKey, AppStateSyncKeyData, AppStateSyncKeyFingerprint, AppStateSyncKeyId,
    AppStateSyncKeyRequest, AppStateSyncKeyShare, SyncdPatchVersion, SyncdVersion,
};
pub use syncd::{
    ChatAction, ChatFlagAction, ContactAction, DeleteMessageForMeAction, ExternalBlobReference, FlagAction,
    KeyId, LabelEditAction, MuteAction, PushNameSetting, SyncActionData, SyncActionMessage,
    SyncActionMessageRange, SyncActionValue, SyncdBlob, SyncdMutation, SyncdMutations, SyncdOperation,
    SyncdPatch, SyncdRecord, SyncdSnapshot,
};
