//! What app state can say, in the form of the control API; the same form is read and written.

use serde::{Deserialize, Serialize};

use crate::server::sync::now_s;
use crate::signal::proto::{
    ChatAction, ChatFlagAction, ContactAction, DeleteMessageForMeAction, FlagAction, LabelEditAction,
    MuteAction, PushNameSetting, SyncActionMessageRange, SyncActionValue, SyncdOperation,
};
use crate::signal::syncd::Change;

/// One action. `chat` is a JID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    Archive {
        chat: String,
        archived: bool,
    },
    Pin {
        chat: String,
        pinned: bool,
    },
    Mute {
        chat: String,
        muted: bool,
        /// Unix milliseconds; without it a chat is muted for ever.
        until_ms: Option<i64>,
    },
    MarkRead {
        chat: String,
        read: bool,
    },
    Star {
        chat: String,
        whatsapp_id: String,
        from_me: bool,
        starred: bool,
    },
    DeleteForMe {
        chat: String,
        whatsapp_id: String,
        from_me: bool,
        #[serde(default)]
        delete_media: bool,
    },
    ClearChat {
        chat: String,
        #[serde(default)]
        delete_starred: bool,
        #[serde(default)]
        delete_media: bool,
    },
    DeleteChat {
        chat: String,
        #[serde(default)]
        delete_media: bool,
    },
    Contact {
        chat: String,
        full_name: String,
        first_name: Option<String>,
        lid: Option<String>,
    },
    RemoveContact {
        chat: String,
    },
    LabelEdit {
        label_id: String,
        name: String,
        #[serde(default)]
        color: i32,
        #[serde(default)]
        deleted: bool,
    },
    LabelChat {
        label_id: String,
        chat: String,
        labeled: bool,
    },
    LabelMessage {
        label_id: String,
        chat: String,
        whatsapp_id: String,
        labeled: bool,
    },
    PushName {
        name: String,
    },
    UnarchiveChats {
        enabled: bool,
    },
    /// An action the sandbox has no words for; its index tells which one.
    #[serde(skip_deserializing)]
    Other,
}

impl Action {
    /// The collection contacts are in.
    pub(super) const CONTACTS: &'static str = "critical_unblock_low";

    /// The chat the action is on, for those that are on one.
    pub fn chat_mut(&mut self) -> Option<&mut String> {
        match self {
            Self::Archive { chat, .. }
            | Self::Pin { chat, .. }
            | Self::Mute { chat, .. }
            | Self::MarkRead { chat, .. }
            | Self::Star { chat, .. }
            | Self::DeleteForMe { chat, .. }
            | Self::ClearChat { chat, .. }
            | Self::DeleteChat { chat, .. }
            | Self::Contact { chat, .. }
            | Self::RemoveContact { chat }
            | Self::LabelChat { chat, .. }
            | Self::LabelMessage { chat, .. } => Some(chat),
            Self::LabelEdit { .. } | Self::PushName { .. } | Self::UnarchiveChats { .. } | Self::Other => {
                None
            }
        }
    }

    /// Its free texts, each with its place.
    pub fn texts(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Star { whatsapp_id, .. } | Self::DeleteForMe { whatsapp_id, .. } => {
                vec![("/whatsapp_id", whatsapp_id)]
            }
            Self::Contact {
                full_name,
                first_name,
                lid,
                ..
            } => {
                let first_name = first_name.as_deref().map(|name| ("/first_name", name));
                let lid = lid.as_deref().map(|lid| ("/lid", lid));
                [Some(("/full_name", full_name.as_str())), first_name, lid]
                    .into_iter()
                    .flatten()
                    .collect()
            }
            Self::LabelEdit { label_id, name, .. } => vec![("/label_id", label_id), ("/name", name)],
            Self::LabelChat { label_id, .. } => vec![("/label_id", label_id)],
            Self::LabelMessage {
                label_id,
                whatsapp_id,
                ..
            } => vec![("/label_id", label_id), ("/whatsapp_id", whatsapp_id)],
            Self::PushName { name } => vec![("/name", name)],
            _ => Vec::new(),
        }
    }

    /// The collection its records are in.
    pub(super) fn collection(&self) -> &'static str {
        match self {
            Self::PushName { .. } => "critical_block",
            Self::Contact { .. } | Self::RemoveContact { .. } => Self::CONTACTS,
            Self::Archive { .. } | Self::Pin { .. } | Self::MarkRead { .. } | Self::UnarchiveChats { .. } => {
                "regular_low"
            }
            Self::Mute { .. }
            | Self::Star { .. }
            | Self::DeleteForMe { .. }
            | Self::ClearChat { .. }
            | Self::DeleteChat { .. } => "regular_high",
            Self::LabelEdit { .. } | Self::LabelChat { .. } | Self::LabelMessage { .. } | Self::Other => {
                "regular"
            }
        }
    }

    fn index(&self) -> Vec<String> {
        let flag = |set: bool| if set { "1" } else { "0" };
        let parts: Vec<&str> = match self {
            Self::Archive { chat, .. } => vec!["archive", chat],
            Self::Pin { chat, .. } => vec!["pin_v1", chat],
            Self::Mute { chat, .. } => vec!["mute", chat],
            Self::MarkRead { chat, .. } => vec!["markChatAsRead", chat],
            Self::Star {
                chat,
                whatsapp_id,
                from_me,
                ..
            } => vec!["star", chat, whatsapp_id, flag(*from_me), "0"],
            Self::DeleteForMe {
                chat,
                whatsapp_id,
                from_me,
                ..
            } => vec!["deleteMessageForMe", chat, whatsapp_id, flag(*from_me), "0"],
            Self::ClearChat {
                chat,
                delete_starred,
                delete_media,
            } => vec!["clearChat", chat, flag(*delete_starred), flag(*delete_media)],
            Self::DeleteChat { chat, delete_media } => vec!["deleteChat", chat, flag(*delete_media)],
            Self::Contact { chat, .. } | Self::RemoveContact { chat } => vec!["contact", chat],
            Self::LabelEdit { label_id, .. } => vec!["label_edit", label_id],
            Self::LabelChat { label_id, chat, .. } => vec!["label_jid", label_id, chat],
            Self::LabelMessage {
                label_id,
                chat,
                whatsapp_id,
                ..
            } => vec!["label_message", label_id, chat, whatsapp_id, "0", "0"],
            Self::PushName { .. } => vec!["setting_pushName"],
            Self::UnarchiveChats { .. } => vec!["setting_unarchiveChats"],
            Self::Other => Vec::new(),
        };
        parts.into_iter().map(str::to_owned).collect()
    }

    /// The version of its schema.
    fn version(&self) -> i32 {
        match self {
            Self::PushName { .. } => 1,
            Self::Mute { .. } | Self::Star { .. } | Self::Contact { .. } | Self::RemoveContact { .. } => 2,
            Self::UnarchiveChats { .. } => 4,
            Self::Pin { .. } => 5,
            Self::ClearChat { .. } | Self::DeleteChat { .. } => 6,
            _ => 3,
        }
    }

    /// The record that says so.
    pub(super) fn change(&self) -> Change {
        let now_s = i64::try_from(now_s()).unwrap_or_default();
        let flag = |set: bool| Some(FlagAction { flag: Some(set) });
        let range = || {
            Some(SyncActionMessageRange {
                last_message_timestamp: Some(now_s),
                ..SyncActionMessageRange::default()
            })
        };
        let chat_flag = |set: bool| {
            Some(ChatFlagAction {
                flag: Some(set),
                message_range: range(),
            })
        };
        let mut value = SyncActionValue {
            timestamp: Some(now_s * 1_000),
            ..SyncActionValue::default()
        };
        match self {
            Self::Archive { archived, .. } => value.archive_chat_action = chat_flag(*archived),
            Self::MarkRead { read, .. } => value.mark_chat_as_read_action = chat_flag(*read),
            Self::Pin { pinned, .. } => value.pin_action = flag(*pinned),
            Self::Star { starred, .. } => value.star_action = flag(*starred),
            Self::Mute { muted, until_ms, .. } => {
                value.mute_action = Some(MuteAction {
                    muted: Some(*muted),
                    mute_end_timestamp: muted.then(|| until_ms.unwrap_or(-1)),
                });
            }
            Self::DeleteForMe { delete_media, .. } => {
                value.delete_message_for_me_action = Some(DeleteMessageForMeAction {
                    delete_media: Some(*delete_media),
                    message_timestamp: Some(now_s),
                });
            }
            Self::ClearChat { .. } => {
                value.clear_chat_action = Some(ChatAction {
                    message_range: range(),
                });
            }
            Self::DeleteChat { .. } => {
                value.delete_chat_action = Some(ChatAction {
                    message_range: range(),
                });
            }
            Self::Contact {
                full_name,
                first_name,
                lid,
                ..
            } => {
                value.contact_action = Some(ContactAction {
                    full_name: Some(full_name.clone()),
                    first_name: first_name.clone(),
                    lid_jid: lid.clone(),
                    save_on_primary_addressbook: Some(true),
                    pn_jid: None,
                });
            }
            Self::RemoveContact { .. } => value.contact_action = Some(ContactAction::default()),
            Self::LabelEdit {
                name, color, deleted, ..
            } => {
                value.label_edit_action = Some(LabelEditAction {
                    name: Some(name.clone()),
                    color: Some(*color),
                    predefined_id: None,
                    deleted: Some(*deleted),
                });
            }
            Self::LabelChat { labeled, .. } | Self::LabelMessage { labeled, .. } => {
                value.label_association_action = flag(*labeled);
            }
            Self::PushName { name } => {
                value.push_name_setting = Some(PushNameSetting {
                    name: Some(name.clone()),
                });
            }
            Self::UnarchiveChats { enabled } => value.unarchive_chats_setting = flag(*enabled),
            Self::Other => {}
        }
        let operation = match self {
            Self::RemoveContact { .. } => SyncdOperation::Remove,
            _ => SyncdOperation::Set,
        };
        Change {
            operation,
            index: self.index(),
            value,
            version: self.version(),
        }
    }

    /// What a record says.
    pub(super) fn read(index: &[String], value: &SyncActionValue) -> Self {
        Self::of(index, value).unwrap_or(Self::Other)
    }

    fn of(index: &[String], value: &SyncActionValue) -> Option<Self> {
        let part = |at: usize| index.get(at).cloned();
        let is_set = |at: usize| index.get(at).is_some_and(|part| part == "1");
        let flag = |action: &Option<FlagAction>| Some(action.as_ref()?.flag.unwrap_or_default());
        let chat_flag = |action: &Option<ChatFlagAction>| Some(action.as_ref()?.flag.unwrap_or_default());
        let chat = || part(1);
        Some(match index.first()?.as_str() {
            "archive" => Self::Archive {
                chat: chat()?,
                archived: chat_flag(&value.archive_chat_action)?,
            },
            "markChatAsRead" => Self::MarkRead {
                chat: chat()?,
                read: chat_flag(&value.mark_chat_as_read_action)?,
            },
            "pin_v1" => Self::Pin {
                chat: chat()?,
                pinned: flag(&value.pin_action)?,
            },
            "mute" => {
                let mute = value.mute_action.as_ref()?;
                Self::Mute {
                    chat: chat()?,
                    muted: mute.muted.unwrap_or_default(),
                    until_ms: mute.mute_end_timestamp.filter(|until| *until > 0),
                }
            }
            "star" => Self::Star {
                chat: chat()?,
                whatsapp_id: part(2)?,
                from_me: is_set(3),
                starred: flag(&value.star_action)?,
            },
            "deleteMessageForMe" => Self::DeleteForMe {
                chat: chat()?,
                whatsapp_id: part(2)?,
                from_me: is_set(3),
                delete_media: value
                    .delete_message_for_me_action
                    .as_ref()?
                    .delete_media
                    .unwrap_or_default(),
            },
            "clearChat" => Self::ClearChat {
                chat: chat()?,
                delete_starred: is_set(2),
                delete_media: is_set(3),
            },
            "deleteChat" => Self::DeleteChat {
                chat: chat()?,
                delete_media: is_set(2),
            },
            "contact" => {
                let contact = value.contact_action.as_ref()?;
                Self::Contact {
                    chat: chat()?,
                    full_name: contact.full_name.clone().unwrap_or_default(),
                    first_name: contact.first_name.clone(),
                    lid: contact.lid_jid.clone(),
                }
            }
            "label_edit" => {
                let label = value.label_edit_action.as_ref()?;
                Self::LabelEdit {
                    label_id: part(1)?,
                    name: label.name.clone().unwrap_or_default(),
                    color: label.color.unwrap_or_default(),
                    deleted: label.deleted.unwrap_or_default(),
                }
            }
            "label_jid" => Self::LabelChat {
                label_id: part(1)?,
                chat: part(2)?,
                labeled: flag(&value.label_association_action)?,
            },
            "label_message" => Self::LabelMessage {
                label_id: part(1)?,
                chat: part(2)?,
                whatsapp_id: part(3)?,
                labeled: flag(&value.label_association_action)?,
            },
            "setting_pushName" => Self::PushName {
                name: value.push_name_setting.as_ref()?.name.clone()?,
            },
            "setting_unarchiveChats" => Self::UnarchiveChats {
                enabled: flag(&value.unarchive_chats_setting)?,
            },
            _ => return None,
        })
    }
}
