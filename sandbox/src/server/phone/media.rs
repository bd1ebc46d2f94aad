//! Media of phones: what they send is encrypted and uploaded, what they receive is fetched and
//! decrypted when somebody wants to see it.
//!
//! A phone keeps the media messages it sent or received, and with them the keys; the encrypted bytes
//! stay in the media store, also after their address has expired.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::State;
use super::medium::{Medium, MediumKind};
use crate::server::account::Account;
use crate::server::media::{Hash, Media, StoreError};
use crate::server::persist::{PersistError, SavedAccount, Table};
use crate::server::service::Service;
use crate::server::sync::{lock, now_s};
use crate::signal::media::{self, MediaKind, SealedMedia};
use crate::signal::proto::{
    AudioMessage, DocumentMessage, HistorySyncNotification, ImageMessage, Message, ProtoMessage,
    StickerMessage, VideoMessage,
};

/// Loudness over time, as phones draw it under a voice message.
const WAVEFORM_POINTS: u8 = 64;
const WAVEFORM_MAX: u8 = 100;

/// A medium to send, not encrypted yet.
#[derive(Debug, Clone)]
pub(in crate::server) struct NewMedium {
    pub kind: MediumKind,
    pub bytes: Vec<u8>,
    pub about: About,
    /// A small JPEG.
    pub thumbnail: Option<Vec<u8>>,
}

/// What a message says about its medium.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub mimetype: String,
    pub caption: Option<String>,
    pub file_name: Option<String>,
    pub seconds: Option<u32>,
    pub width: Option<u32>,
    pub height: Option<u32>,
}

/// A medium that was uploaded, and all that a message needs to point to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadedMedium {
    pub kind: MediumKind,
    pub about: About,
    file: UploadedFile,
    thumbnail: Option<(Vec<u8>, UploadedFile)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct UploadedFile {
    media_key: [u8; 32],
    file_sha256: [u8; 32],
    file_enc_sha256: [u8; 32],
    bytes: u64,
    direct_path: String,
    url: String,
    timestamp: i64,
}

/// Why a medium cannot be shown.
#[derive(Debug, Error)]
pub(in crate::server) enum FetchError {
    #[error("the phone knows no media message with this id")]
    NoSuchMessage,
    #[error("the message lacks its {0}")]
    Incomplete(&'static str),
    #[error("the message points to a file that was never uploaded, or is gone")]
    NoFile,
    #[error("the message and the uploaded file do not belong together: {0}")]
    Mismatch(&'static str),
    #[error("the file cannot be decrypted")]
    Undecryptable(#[from] media::MediaError),
    #[error("the file cannot be read")]
    Io(#[from] std::io::Error),
}

/// A gray square.
pub(in crate::server) const THUMBNAIL: &[u8] = include_bytes!("thumbnail.jpg");

impl UploadedMedium {
    /// Encrypts a medium and uploads it. Takes time and memory in proportion to its size.
    pub(in crate::server) fn upload(
        service: &Service,
        account: &Account,
        new: NewMedium,
    ) -> Result<Self, StoreError> {
        let sealed = media::seal(new.kind.crypto(), &new.bytes);
        let media_key = sealed.media_key;
        let file = store(&service.media, account, new.kind.upload_kind(), sealed)?;
        let thumbnail = match (new.thumbnail, new.kind.thumbnail_crypto()) {
            (Some(jpeg), Some(crypto)) => {
                let sealed = media::seal_with(crypto, media_key, &jpeg);
                Some((
                    jpeg,
                    store(&service.media, account, new.kind.upload_kind(), sealed)?,
                ))
            }
            (Some(jpeg), None) => {
                tracing::debug!(bytes = jpeg.len(), "this kind of medium has no thumbnail");
                None
            }
            (None, _) => None,
        };
        Ok(Self {
            kind: new.kind,
            about: new.about,
            file,
            thumbnail,
        })
    }

    /// The message that carries the medium.
    pub(super) fn message(&self) -> Message {
        let mut message = Message::default();
        match self.kind {
            MediumKind::Image => message.image_message = Some(Box::new(self.image())),
            MediumKind::Video => message.video_message = Some(Box::new(self.video())),
            MediumKind::Audio | MediumKind::Voice => message.audio_message = Some(Box::new(self.audio())),
            MediumKind::Document => message.document_message = Some(Box::new(self.document())),
            MediumKind::Sticker => message.sticker_message = Some(Box::new(self.sticker())),
        }
        message
    }

    fn jpeg(&self) -> Option<Vec<u8>> {
        self.thumbnail.as_ref().map(|(jpeg, _)| jpeg.clone())
    }

    fn image(&self) -> ImageMessage {
        let (file, about, small) = (&self.file, &self.about, self.thumbnail.as_ref());
        ImageMessage {
            url: Some(file.url.clone()),
            mimetype: Some(about.mimetype.clone()),
            caption: about.caption.clone(),
            file_sha256: Some(file.file_sha256.to_vec()),
            file_length: Some(file.bytes),
            height: about.height,
            width: about.width,
            media_key: Some(file.media_key.to_vec()),
            file_enc_sha256: Some(file.file_enc_sha256.to_vec()),
            direct_path: Some(file.direct_path.clone()),
            media_key_timestamp: Some(file.timestamp),
            jpeg_thumbnail: self.jpeg(),
            thumbnail_direct_path: small.map(|(_, small)| small.direct_path.clone()),
            thumbnail_sha256: small.map(|(_, small)| small.file_sha256.to_vec()),
            thumbnail_enc_sha256: small.map(|(_, small)| small.file_enc_sha256.to_vec()),
            ..ImageMessage::default()
        }
    }

    fn video(&self) -> VideoMessage {
        let (file, about, small) = (&self.file, &self.about, self.thumbnail.as_ref());
        VideoMessage {
            url: Some(file.url.clone()),
            mimetype: Some(about.mimetype.clone()),
            caption: about.caption.clone(),
            file_sha256: Some(file.file_sha256.to_vec()),
            file_length: Some(file.bytes),
            seconds: about.seconds,
            height: about.height,
            width: about.width,
            media_key: Some(file.media_key.to_vec()),
            file_enc_sha256: Some(file.file_enc_sha256.to_vec()),
            direct_path: Some(file.direct_path.clone()),
            media_key_timestamp: Some(file.timestamp),
            jpeg_thumbnail: self.jpeg(),
            thumbnail_direct_path: small.map(|(_, small)| small.direct_path.clone()),
            thumbnail_sha256: small.map(|(_, small)| small.file_sha256.to_vec()),
            thumbnail_enc_sha256: small.map(|(_, small)| small.file_enc_sha256.to_vec()),
            ..VideoMessage::default()
        }
    }

    fn audio(&self) -> AudioMessage {
        let (file, about) = (&self.file, &self.about);
        let is_voice = self.kind == MediumKind::Voice;
        let waveform = (0..WAVEFORM_POINTS).map(|at| at.wrapping_mul(37) % WAVEFORM_MAX);
        AudioMessage {
            url: Some(file.url.clone()),
            mimetype: Some(about.mimetype.clone()),
            file_sha256: Some(file.file_sha256.to_vec()),
            file_length: Some(file.bytes),
            seconds: about.seconds,
            ptt: Some(is_voice),
            media_key: Some(file.media_key.to_vec()),
            file_enc_sha256: Some(file.file_enc_sha256.to_vec()),
            direct_path: Some(file.direct_path.clone()),
            media_key_timestamp: Some(file.timestamp),
            waveform: is_voice.then(|| waveform.collect()),
            ..AudioMessage::default()
        }
    }

    fn document(&self) -> DocumentMessage {
        let (file, about, small) = (&self.file, &self.about, self.thumbnail.as_ref());
        DocumentMessage {
            url: Some(file.url.clone()),
            mimetype: Some(about.mimetype.clone()),
            title: about.file_name.clone(),
            file_sha256: Some(file.file_sha256.to_vec()),
            file_length: Some(file.bytes),
            media_key: Some(file.media_key.to_vec()),
            file_name: about.file_name.clone(),
            file_enc_sha256: Some(file.file_enc_sha256.to_vec()),
            direct_path: Some(file.direct_path.clone()),
            media_key_timestamp: Some(file.timestamp),
            jpeg_thumbnail: self.jpeg(),
            thumbnail_direct_path: small.map(|(_, small)| small.direct_path.clone()),
            thumbnail_sha256: small.map(|(_, small)| small.file_sha256.to_vec()),
            thumbnail_enc_sha256: small.map(|(_, small)| small.file_enc_sha256.to_vec()),
            caption: about.caption.clone(),
            ..DocumentMessage::default()
        }
    }

    fn sticker(&self) -> StickerMessage {
        let (file, about) = (&self.file, &self.about);
        StickerMessage {
            url: Some(file.url.clone()),
            file_sha256: Some(file.file_sha256.to_vec()),
            file_enc_sha256: Some(file.file_enc_sha256.to_vec()),
            media_key: Some(file.media_key.to_vec()),
            mimetype: Some(about.mimetype.clone()),
            height: about.height,
            width: about.width,
            direct_path: Some(file.direct_path.clone()),
            file_length: Some(file.bytes),
            media_key_timestamp: Some(file.timestamp),
            ..StickerMessage::default()
        }
    }
}

fn store(
    media: &Media,
    account: &Account,
    kind: &str,
    sealed: SealedMedia,
) -> Result<UploadedFile, StoreError> {
    let SealedMedia {
        media_key,
        blob,
        file_sha256,
        file_bytes,
        file_enc_sha256,
    } = sealed;
    let stored = media.store.add(blob, kind, account.raw_id)?;
    Ok(UploadedFile {
        media_key,
        file_sha256,
        file_enc_sha256,
        bytes: file_bytes,
        direct_path: stored.direct_path(),
        url: media.url(&stored),
        timestamp: i64::try_from(now_s()).unwrap_or(i64::MAX),
    })
}

/// Uploads a deflated history and says where it is. Returns whether that succeeded.
pub(super) fn upload_history(
    service: &Service,
    account: &Account,
    deflated: &[u8],
    notification: &mut HistorySyncNotification,
) -> bool {
    let sealed = media::seal(MediaKind::History, deflated);
    match store(&service.media, account, "md-msg-hist", sealed) {
        Ok(file) => {
            notification.file_sha256 = Some(file.file_sha256.to_vec());
            notification.file_length = Some(file.bytes);
            notification.media_key = Some(file.media_key.to_vec());
            notification.file_enc_sha256 = Some(file.file_enc_sha256.to_vec());
            notification.direct_path = Some(file.direct_path);
            true
        }
        Err(error) => {
            tracing::warn!(%error, "a history could not be uploaded; it is sent inside the message");
            false
        }
    }
}

/// The decrypted medium of a message the phone received, or sent, and its type. Blocks.
pub(in crate::server) fn fetch(
    service: &Service,
    account: &Account,
    id: &str,
) -> Result<(Vec<u8>, Option<String>), FetchError> {
    let message = lock(&account.phone.state).media.get(id).cloned();
    let message = message.ok_or(FetchError::NoSuchMessage)?;
    let medium = Medium::of(&message).ok_or(FetchError::NoSuchMessage)?;
    let path = medium.direct_path.ok_or(FetchError::Incomplete("direct path"))?;
    let (media_key, hash) = (medium.media_key()?, medium.hash()?);
    // An address that expired meanwhile is no matter: the phone has fetched the file in time.
    let (stored, blob) = service.media.find(path).ok_or(FetchError::NoFile)?;
    if stored.row.hash != hash {
        return Err(FetchError::Mismatch("the hash of the encrypted file"));
    }
    let plain = media::open(medium.crypto, &media_key, &blob.read_all()?)?;
    if medium.file_length != Some(plain.len() as u64) {
        return Err(FetchError::Mismatch("the length of the file"));
    }
    if medium.file_sha256 != Some(Sha256::digest(&plain).as_slice()) {
        return Err(FetchError::Mismatch("the hash of the file"));
    }
    Ok((plain, medium.mimetype.map(str::to_owned)))
}

/// Where the file of a message is, as far as the phone knows.
pub(in crate::server) fn address(account: &Account, id: &str) -> Option<String> {
    let state = lock(&account.phone.state);
    let message = state.media.get(id)?;
    Medium::of(message)?.direct_path.map(str::to_owned)
}

impl Medium<'_> {
    pub(super) fn media_key(&self) -> Result<[u8; 32], FetchError> {
        let key = self.media_key.and_then(|key| key.try_into().ok());
        key.ok_or(FetchError::Incomplete("media key"))
    }

    pub(super) fn hash(&self) -> Result<Hash, FetchError> {
        let hash = self.file_enc_sha256.and_then(|hash| hash.try_into().ok());
        hash.ok_or(FetchError::Incomplete("hash of the encrypted file"))
    }
}

/// A media message as it is kept.
#[derive(Serialize, Deserialize)]
struct MediumRow {
    id: Box<str>,
    #[serde(with = "serde_bytes")]
    message: Vec<u8>,
}

impl State {
    /// Remembers a message that leads to a file. Others are none of its business.
    pub(super) fn remember_medium(&mut self, id: &str, message: &Message) {
        if Medium::of(message).is_none() {
            return;
        }
        let row = self.shelf.is_durable().then(|| MediumRow {
            id: id.into(),
            message: message.encode_to_vec(),
        });
        let placed = self.media.set(id, Arc::new(message.clone()));
        if let Some((placed, row)) = placed.zip(row) {
            self.shelf.keep(|rows| {
                rows.put(Table::Medium, placed.at, "", &row);
                placed
                    .forgotten
                    .for_each(|position| rows.delete(Table::Medium, position, ""));
            });
        }
    }

    pub(super) fn restore_media(&mut self, saved: &mut SavedAccount) -> Result<(), PersistError> {
        for row in saved.take(Table::Medium, 0) {
            let kept: MediumRow = row.value()?;
            let message = Message::decode(kept.message.as_slice()).map_err(|error| row.corrupt(error))?;
            self.media.restore(row.item, kept.id, Arc::new(message));
        }
        Ok(())
    }
}
