//! Pictures of accounts and of groups.
//!
//! The bytes are a file of the media service; whoever has one knows which, also after a restart.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::group::GroupError;
use super::media::{Hash, Media, StoreError, Stored};
use super::persist::{PersistError, Row, Shelf, Table};
use super::sync::{lock, now_s};

/// The type of these files in the media service.
const KIND: &str = "picture";
/// How every JPEG starts.
const JPEG: [u8; 3] = [0xFF, 0xD8, 0xFF];

#[derive(Debug, Error)]
pub(super) enum PictureError {
    #[error("a picture is a JPEG")]
    NotJpeg,
    #[error("a picture has at most {0} bytes")]
    TooLarge(usize),
    #[error("the picture is somebody else's")]
    NotOwn,
    #[error("the account does not show its picture")]
    Hidden,
    #[error("the picture cannot be stored")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Group(#[from] GroupError),
}

/// A picture as it is kept.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Picture {
    /// Changes with every picture; it looks like a time.
    pub id: u64,
    #[serde(with = "serde_bytes")]
    hash: Hash,
    /// The number of the account that set it.
    account: u32,
}

impl Picture {
    /// Stores a picture that follows `former`. Blocks on its file, if there is one.
    pub fn store(
        media: &Media,
        account: u32,
        jpeg: &[u8],
        bytes_max: usize,
        former: Option<Self>,
    ) -> Result<Self, PictureError> {
        if !jpeg.starts_with(&JPEG) {
            return Err(PictureError::NotJpeg);
        }
        if jpeg.len() > bytes_max {
            return Err(PictureError::TooLarge(bytes_max));
        }
        let stored = media.store.add(jpeg.to_vec(), KIND, account)?;
        Ok(Self {
            id: now_s().max(former.map_or(0, |former| former.id + 1)),
            hash: stored.row.hash,
            account,
        })
    }

    /// Where it can be fetched; `None` when the media service had to give it up.
    pub fn stored(&self, media: &Media) -> Option<Stored> {
        let known = media.store.address(&self.hash, KIND);
        known.or_else(|| media.store.publish(&self.hash, KIND, self.account).ok())
    }

    /// The JPEG itself. Blocks on its file, if there is one.
    pub fn bytes(&self, media: &Media) -> Option<Vec<u8>> {
        media.store.content(&self.hash)?.read_all().ok()
    }
}

/// The place for the picture of an account.
pub(super) struct Slot {
    picture: Mutex<Option<Picture>>,
    shelf: Shelf,
    /// The name of the setting it is kept under.
    name: &'static str,
}

impl Slot {
    pub fn new(shelf: Shelf, name: &'static str) -> Self {
        Self {
            picture: Mutex::default(),
            shelf,
            name,
        }
    }

    pub fn restore(&self, row: &Row) -> Result<(), PersistError> {
        *lock(&self.picture) = row.value()?;
        Ok(())
    }

    pub fn get(&self) -> Option<Picture> {
        *lock(&self.picture)
    }

    /// Replaces the picture. Blocks on its file, if there is one.
    pub fn set(
        &self,
        media: &Media,
        account: u32,
        jpeg: &[u8],
        bytes_max: usize,
    ) -> Result<Picture, PictureError> {
        let picture = Picture::store(media, account, jpeg, bytes_max, self.get())?;
        self.put(Some(picture));
        Ok(picture)
    }

    /// Returns whether there was one.
    pub fn remove(&self) -> bool {
        self.put(None)
    }

    /// Puts a picture that is stored already in its place. Returns whether there was another one.
    pub fn put(&self, picture: Option<Picture>) -> bool {
        let mut slot = lock(&self.picture);
        let former = std::mem::replace(&mut *slot, picture);
        if former.is_some() || slot.is_some() {
            self.shelf
                .keep(|rows| rows.put(Table::Setting, 0, self.name, &*slot));
        }
        former.is_some()
    }
}
