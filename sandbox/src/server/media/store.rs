//! The files of the media service: which addresses there are, what they lead to, and until when.
//!
//! Bytes are stored once per hash, however many addresses lead to them. An address that has expired
//! keeps its bytes until the room is needed: they are what a phone still has of a medium, and what it
//! uploads again when it is asked to. Rows are journalled, bytes are files of the data folder; a file
//! is there before its row is.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::MediaError;
use super::blob::{Blob, Budget, Draft, Hash};
use super::path::{self, Named};
use crate::server::persist::{Row, Shelf, Table};
use crate::server::sync::{lock, now_s};

/// Interrupted uploads that are kept; the oldest are forgotten.
const DRAFTS_MAX: usize = 256;

pub(in crate::server) struct Limits {
    pub bytes_max: u64,
    pub files_max: usize,
    /// How long an address is good for.
    pub ttl_s: u64,
}

pub(in crate::server) struct Store {
    state: Mutex<State>,
    pub budget: Arc<Budget>,
    folder: Option<PathBuf>,
    shelf: Shelf,
    limits: Limits,
}

#[derive(Default)]
struct State {
    files: BTreeMap<u64, FileRow>,
    contents: HashMap<Hash, Content>,
    /// With the number of their interruption, which orders them.
    drafts: HashMap<Hash, (u64, Draft)>,
    last: u64,
}

impl State {
    fn oldest_expired(&self) -> Option<u64> {
        let now = now_s();
        let mut files = self.files.iter();
        files
            .find(|(_, row)| row.is_expired(now))
            .map(|(number, _)| *number)
    }

    /// Returns whether there was one.
    fn drop_oldest_draft(&mut self) -> bool {
        let oldest = self.drafts.iter().min_by_key(|(_, (at, _))| *at);
        let oldest = oldest.map(|(hash, _)| *hash);
        let draft = oldest.and_then(|hash| self.drafts.remove(&hash));
        draft.map(|(_, draft)| draft.discard()).is_some()
    }
}

struct Content {
    blob: Arc<Blob>,
    /// The addresses that lead here.
    files: Vec<u64>,
}

/// An address and what it leads to, as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::server) struct FileRow {
    /// The type in the upload's path, or `picture`.
    pub kind: Box<str>,
    #[serde(with = "serde_bytes")]
    pub hash: Hash,
    pub bytes: u64,
    nonce: u64,
    pub expires_s: u64,
    /// It was made to expire early.
    #[serde(default)]
    ended: bool,
    /// The number of the account that uploaded it.
    pub account: u32,
}

impl FileRow {
    fn is_expired(&self, now_s: u64) -> bool {
        self.ended || self.expires_s <= now_s
    }
}

/// A file that can be fetched, or could be once.
#[derive(Debug, Clone)]
pub(in crate::server) struct Stored {
    pub number: u64,
    pub row: FileRow,
}

impl Stored {
    pub fn direct_path(&self) -> String {
        path::write(&self.row.kind, self.number, self.row.nonce, self.row.expires_s)
    }

    pub fn is_expired(&self) -> bool {
        self.row.is_expired(now_s())
    }
}

#[derive(Debug, Error)]
pub(in crate::server) enum StoreError {
    #[error("the media store is full")]
    Full,
    #[error("the bytes are not stored, or no longer")]
    Gone,
    #[error("the media store failed")]
    Io(#[from] std::io::Error),
}

impl Store {
    /// A store with what an earlier one left in `folder` and in `rows`.
    pub fn open(
        folder: Option<PathBuf>,
        limits: Limits,
        rows: Vec<Row>,
        shelf: Shelf,
    ) -> Result<Self, MediaError> {
        let store = Self {
            state: Mutex::default(),
            budget: Budget::new(limits.bytes_max),
            folder,
            shelf,
            limits,
        };
        if let Some(folder) = &store.folder {
            store.restore(folder, rows)?;
        }
        Ok(store)
    }

    fn restore(&self, folder: &Path, rows: Vec<Row>) -> Result<(), MediaError> {
        let mut found = scan(folder)?;
        let mut state = lock(&self.state);
        for row in rows {
            let file: FileRow = row.value()?;
            state.last = state.last.max(row.item);
            if let Some((path, bytes)) = found.blobs.remove(&file.hash) {
                let blob = Arc::new(Blob::restore(path, bytes, self.budget.share()));
                let files = Vec::new();
                state.contents.insert(file.hash, Content { blob, files });
            }
            let Some(content) = state.contents.get_mut(&file.hash) else {
                tracing::warn!(number = row.item, "the bytes of a media file are gone");
                self.shelf.keep(|rows| rows.delete(Table::Media, row.item, ""));
                continue;
            };
            content.files.push(row.item);
            state.files.insert(row.item, file);
        }
        for (path, _) in found.blobs.into_values() {
            remove_stray(&path);
        }
        for (hash, path, bytes) in found.drafts {
            let draft = Draft::restore(path, bytes, self.budget.share());
            self.keep_draft_in(&mut state, hash, draft);
        }
        Ok(())
    }

    fn path_of(&self, hash: &Hash) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(hex(hash)))
    }

    /// The file an address leads to, expired or not.
    pub fn find(&self, named: Named) -> Option<(Stored, Arc<Blob>)> {
        let state = lock(&self.state);
        let row = state.files.get(&named.number)?;
        if row.nonce != named.nonce || named.expires_s.is_some_and(|s| s != row.expires_s) {
            return None;
        }
        let blob = state.contents.get(&row.hash)?.blob.clone();
        let stored = Stored {
            number: named.number,
            row: row.clone(),
        };
        Some((stored, blob))
    }

    /// The bytes with this hash, whether an address leads to them or not.
    pub fn content(&self, hash: &Hash) -> Option<Arc<Blob>> {
        let state = lock(&self.state);
        state.contents.get(hash).map(|content| content.blob.clone())
    }

    /// A good address of bytes that are stored already.
    pub fn address(&self, hash: &Hash, kind: &str) -> Option<Stored> {
        let state = lock(&self.state);
        let content = state.contents.get(hash)?;
        content.files.iter().rev().find_map(|number| {
            let stored = Stored {
                number: *number,
                row: state.files.get(number)?.clone(),
            };
            (&*stored.row.kind == kind && !stored.is_expired()).then_some(stored)
        })
    }

    /// Stores bytes and gives them an address. Blocks on the file, if there is one.
    pub fn add(&self, bytes: Vec<u8>, kind: &str, account: u32) -> Result<Stored, StoreError> {
        let hash = Sha256::digest(&bytes).into();
        if self.content(&hash).is_none() {
            let mut share = self.budget.share();
            self.reserve(&mut share, bytes.len() as u64)?;
            let blob = Blob::write(bytes, self.path_of(&hash), share)?;
            self.insert(hash, blob);
        }
        self.publish(&hash, kind, account)
    }

    /// A new address for bytes that are stored.
    pub fn publish(&self, hash: &Hash, kind: &str, account: u32) -> Result<Stored, StoreError> {
        let mut state = lock(&self.state);
        while state.files.len() >= self.limits.files_max {
            let number = state.oldest_expired().ok_or(StoreError::Full)?;
            self.drop_file(&mut state, number);
        }
        let number = state.last + 1;
        let content = state.contents.get_mut(hash).ok_or(StoreError::Gone)?;
        content.files.push(number);
        let row = FileRow {
            kind: kind.into(),
            hash: *hash,
            bytes: content.blob.bytes(),
            nonce: rand::random(),
            expires_s: now_s() + self.limits.ttl_s,
            ended: false,
            account,
        };
        self.shelf.keep(|rows| rows.put(Table::Media, number, "", &row));
        state.files.insert(number, row.clone());
        state.last = number;
        Ok(Stored { number, row })
    }

    /// Takes room for more bytes; what has expired gives way.
    pub fn reserve(&self, share: &mut super::blob::Share, bytes: u64) -> Result<(), StoreError> {
        while !share.grow(bytes) {
            let mut state = lock(&self.state);
            if !state.drop_oldest_draft() {
                let number = state.oldest_expired().ok_or(StoreError::Full)?;
                self.drop_file(&mut state, number);
            }
        }
        Ok(())
    }

    /// Forgets an address, and its bytes if it was the last one to lead to them.
    fn drop_file(&self, state: &mut State, number: u64) {
        let Some(row) = state.files.remove(&number) else {
            return;
        };
        self.shelf.keep(|rows| rows.delete(Table::Media, number, ""));
        let Some(content) = state.contents.get_mut(&row.hash) else {
            return;
        };
        content.files.retain(|other| *other != number);
        if content.files.is_empty()
            && let Some(content) = state.contents.remove(&row.hash)
        {
            content.blob.discard();
        }
    }

    fn insert(&self, hash: Hash, blob: Blob) {
        let mut state = lock(&self.state);
        // The same bytes may have come in twice at once; either copy will do.
        state.contents.entry(hash).or_insert_with(|| Content {
            blob: Arc::new(blob),
            files: Vec::new(),
        });
    }

    /// Starts an upload, or goes on with one that was interrupted after `offset` bytes.
    pub fn draft(&self, hash: &Hash, offset: Option<u64>) -> Option<Draft> {
        if let Some(offset) = offset.filter(|offset| *offset > 0) {
            let mut state = lock(&self.state);
            let has_come_to = state.drafts.get(hash).map(|(_, draft)| draft.bytes());
            if has_come_to != Some(offset) {
                return None;
            }
            return state.drafts.remove(hash).map(|(_, draft)| draft);
        }
        // A name of its own: two clients may upload the same at once.
        let name = || format!("{}.{:08x}.part", hex(hash), rand::random::<u32>());
        let path = self.folder.as_ref().map(|folder| folder.join(name()));
        Some(Draft::new(path, self.budget.share()))
    }

    /// Keeps an upload that was interrupted.
    pub fn keep_draft(&self, hash: Hash, draft: Draft) {
        self.keep_draft_in(&mut lock(&self.state), hash, draft);
    }

    fn keep_draft_in(&self, state: &mut State, hash: Hash, draft: Draft) {
        let known = state.drafts.get(&hash).map_or(0, |(_, draft)| draft.bytes());
        if draft.bytes() <= known || state.contents.contains_key(&hash) {
            return draft.discard();
        }
        state.last += 1;
        let at = state.last;
        if let Some((_, shorter)) = state.drafts.insert(hash, (at, draft)) {
            shorter.discard();
        }
        if state.drafts.len() > DRAFTS_MAX {
            state.drop_oldest_draft();
        }
    }

    /// How far an interrupted upload has come.
    pub fn draft_bytes(&self, hash: &Hash) -> Option<u64> {
        lock(&self.state).drafts.get(hash).map(|(_, draft)| draft.bytes())
    }

    /// An upload is complete, and its hash is right.
    pub fn complete(&self, hash: Hash, draft: Draft) -> Result<(), StoreError> {
        if self.content(&hash).is_some() {
            draft.discard();
            return Ok(());
        }
        let blob = draft.finish(self.path_of(&hash))?;
        self.insert(hash, blob);
        let shorter = lock(&self.state).drafts.remove(&hash);
        if let Some((_, draft)) = shorter {
            draft.discard();
        }
        Ok(())
    }

    /// Files numbered after `after`, oldest first.
    pub fn list(&self, after: u64, limit: usize) -> Vec<Stored> {
        let state = lock(&self.state);
        let files = state.files.range(after.saturating_add(1)..).take(limit);
        files
            .map(|(number, row)| Stored {
                number: *number,
                row: row.clone(),
            })
            .collect()
    }

    /// Lets addresses expire now. Returns how many were good until then.
    pub fn expire(&self, matches: impl Fn(u64, &FileRow) -> bool) -> usize {
        let mut state = lock(&self.state);
        let now = now_s();
        let good = state
            .files
            .iter_mut()
            .filter(|(number, row)| !row.is_expired(now) && matches(**number, row));
        let mut expired = 0;
        for (number, row) in good {
            row.ended = true;
            expired += 1;
            self.shelf.keep(|rows| rows.put(Table::Media, *number, "", row));
        }
        expired
    }
}

/// What a folder of media holds.
#[derive(Default)]
struct Found {
    blobs: HashMap<Hash, (PathBuf, u64)>,
    drafts: Vec<(Hash, PathBuf, u64)>,
}

fn scan(folder: &Path) -> Result<Found, MediaError> {
    let failed = |source| MediaError::Folder {
        path: folder.to_owned(),
        source,
    };
    let mut found = Found::default();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, bytes) = (entry.path(), entry.metadata().map_err(failed)?.len());
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let (stem, end) = name.split_once('.').unwrap_or((name, ""));
        match (unhex(stem), end) {
            (Some(hash), "") => {
                found.blobs.insert(hash, (path, bytes));
            }
            (Some(hash), end) if end.ends_with("part") => found.drafts.push((hash, path, bytes)),
            (Some(_), _) => remove_stray(&path),
            (None, _) => {}
        }
    }
    Ok(found)
}

fn remove_stray(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(%error, "a file that belongs to no medium could not be deleted");
    }
}

pub(super) fn hex(hash: &Hash) -> String {
    use std::fmt::Write;
    hash.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Hash> {
    let bytes: Vec<u8> = text
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect::<Option<_>>()?;
    bytes.try_into().ok()
}
