//! The media messages, read as one: five kinds of messages say the same things in different places.

use serde::{Deserialize, Serialize};

use crate::signal::media::MediaKind;
use crate::signal::proto::Message;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediumKind {
    Image,
    Video,
    Audio,
    /// Audio that was recorded on the spot.
    Voice,
    Document,
    Sticker,
}

impl MediumKind {
    /// Which keys its file is encrypted with.
    pub(super) fn crypto(self) -> MediaKind {
        match self {
            Self::Image | Self::Sticker => MediaKind::Image,
            Self::Video => MediaKind::Video,
            Self::Audio | Self::Voice => MediaKind::Audio,
            Self::Document => MediaKind::Document,
        }
    }

    pub(super) fn thumbnail_crypto(self) -> Option<MediaKind> {
        match self {
            Self::Image => Some(MediaKind::ImageThumbnail),
            Self::Video => Some(MediaKind::VideoThumbnail),
            Self::Document => Some(MediaKind::DocumentThumbnail),
            Self::Audio | Self::Voice | Self::Sticker => None,
        }
    }

    /// The type in the path of an upload.
    pub(super) fn upload_kind(self) -> &'static str {
        match self {
            Self::Image | Self::Sticker => "image",
            Self::Video => "video",
            Self::Audio | Self::Voice => "audio",
            Self::Document => "document",
        }
    }

    /// The `mediatype` of the stanza.
    pub(super) fn stanza_kind(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Voice => "ptt",
            Self::Document => "document",
            Self::Sticker => "sticker",
        }
    }
}

/// What a message says about the file it points to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Medium<'a> {
    /// `None` for histories, which are no media to look at.
    pub kind: Option<MediumKind>,
    pub crypto: MediaKind,
    /// The type in the path of an upload.
    pub upload_kind: &'static str,
    pub mimetype: Option<&'a str>,
    pub file_name: Option<&'a str>,
    pub seconds: Option<u32>,
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub media_key: Option<&'a [u8]>,
    pub file_sha256: Option<&'a [u8]>,
    pub file_enc_sha256: Option<&'a [u8]>,
    pub file_length: Option<u64>,
    pub direct_path: Option<&'a str>,
}

/// What `GET …/messages` shows of a medium.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediumView {
    pub kind: MediumKind,
    pub mimetype: Option<String>,
    /// Length of the file, decrypted.
    pub bytes: Option<u64>,
    pub file_name: Option<String>,
    pub seconds: Option<u32>,
    pub width: Option<u32>,
    pub height: Option<u32>,
    pub direct_path: Option<String>,
}

/// The fields all kinds have under the same name.
macro_rules! medium {
    ($message:expr, $kind:expr) => {{
        let (message, kind): (_, MediumKind) = ($message, $kind);
        Medium {
            kind: Some(kind),
            crypto: kind.crypto(),
            upload_kind: kind.upload_kind(),
            mimetype: message.mimetype.as_deref(),
            file_name: None,
            seconds: None,
            width: None,
            height: None,
            media_key: message.media_key.as_deref(),
            file_sha256: message.file_sha256.as_deref(),
            file_enc_sha256: message.file_enc_sha256.as_deref(),
            file_length: message.file_length,
            direct_path: message.direct_path.as_deref(),
        }
    }};
}

impl<'a> Medium<'a> {
    /// Reads a message, whatever is wrapped around it; `None` when it points to no file.
    pub fn of(message: &'a Message) -> Option<Self> {
        let message = message.innermost();
        if let Some(image) = &message.image_message {
            return Some(Medium {
                width: image.width,
                height: image.height,
                ..medium!(image, MediumKind::Image)
            });
        }
        if let Some(video) = &message.video_message {
            return Some(Medium {
                seconds: video.seconds,
                width: video.width,
                height: video.height,
                ..medium!(video, MediumKind::Video)
            });
        }
        if let Some(audio) = &message.audio_message {
            let is_voice = audio.ptt == Some(true);
            let kind = if is_voice {
                MediumKind::Voice
            } else {
                MediumKind::Audio
            };
            return Some(Medium {
                seconds: audio.seconds,
                ..medium!(audio, kind)
            });
        }
        if let Some(document) = &message.document_message {
            return Some(Medium {
                file_name: document.file_name.as_deref(),
                ..medium!(document, MediumKind::Document)
            });
        }
        if let Some(sticker) = &message.sticker_message {
            return Some(Medium {
                width: sticker.width,
                height: sticker.height,
                ..medium!(sticker, MediumKind::Sticker)
            });
        }
        Self::of_history(message)
    }

    fn of_history(message: &'a Message) -> Option<Self> {
        let history = message
            .protocol_message
            .as_ref()?
            .history_sync_notification
            .as_ref()?;
        Some(Self {
            kind: None,
            crypto: MediaKind::History,
            upload_kind: "md-msg-hist",
            mimetype: None,
            file_name: None,
            seconds: None,
            width: None,
            height: None,
            media_key: history.media_key.as_deref(),
            file_sha256: history.file_sha256.as_deref(),
            file_enc_sha256: history.file_enc_sha256.as_deref(),
            file_length: history.file_length,
            direct_path: Some(history.direct_path.as_deref()?),
        })
    }

    /// What the API shows; nothing of a history.
    pub fn view(&self) -> Option<MediumView> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Some(MediumView {
            kind: self.kind?,
            mimetype: owned(self.mimetype),
            bytes: self.file_length,
            file_name: owned(self.file_name),
            seconds: self.seconds,
            width: self.width,
            height: self.height,
            direct_path: owned(self.direct_path),
        })
    }
}
