//! The bytes of media: files in a folder, or memory, within one budget.
//!
//! A blob is complete and never changes. A draft is an upload that goes on; it is written in place,
//! so that an upload that was interrupted, by a `kill -9` too, can be resumed from where it came to.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

/// The SHA-256 of what is stored: the encrypted file, as clients name it.
pub(in crate::server) type Hash = [u8; 32];

/// What is read or written at once.
pub(super) const BLOCK_BYTES: usize = 128 << 10;

/// How many bytes may be stored, drafts included.
#[derive(Debug)]
pub(in crate::server) struct Budget {
    used: AtomicU64,
    bytes_max: u64,
}

/// A part of the budget; given back when it is dropped.
#[derive(Debug)]
pub(in crate::server) struct Share {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicU64::new(0),
            bytes_max,
        })
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub fn share(self: &Arc<Self>) -> Share {
        Share {
            budget: self.clone(),
            bytes: 0,
        }
    }
}

impl Share {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more of the budget, if it has that much left.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let within = |used: u64| {
            used.checked_add(bytes)
                .filter(|sum| *sum <= self.budget.bytes_max)
        };
        let taken = self
            .budget
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, within);
        self.bytes += if taken.is_ok() { bytes } else { 0 };
        taken.is_ok()
    }

    /// Takes what is there already, whatever the limit: it was within an earlier one.
    fn claim(&mut self, bytes: u64) {
        self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }

    fn shrink(&mut self, bytes: u64) {
        self.budget.used.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Stored bytes.
#[derive(Debug)]
pub(in crate::server) struct Blob {
    share: Share,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Memory(Vec<Bytes>),
    File(PathBuf),
}

impl Blob {
    /// A file that was kept.
    pub fn restore(path: PathBuf, bytes: u64, mut share: Share) -> Self {
        share.claim(bytes);
        Self {
            share,
            body: Body::File(path),
        }
    }

    /// Stores `bytes`, whose share is taken already. Blocks on the file, if there is one.
    pub fn write(bytes: Vec<u8>, path: Option<PathBuf>, share: Share) -> io::Result<Self> {
        let body = match path {
            None => Body::Memory(vec![bytes.into()]),
            Some(path) => {
                let draft = path.with_extension("new");
                std::fs::write(&draft, &bytes)?;
                std::fs::rename(&draft, &path)?;
                Body::File(path)
            }
        };
        Ok(Self { share, body })
    }

    pub fn bytes(&self) -> u64 {
        self.share.bytes()
    }

    pub async fn read(self: &Arc<Self>, at: u64, max: usize) -> io::Result<Bytes> {
        let length = max.min(usize::try_from(self.bytes().saturating_sub(at)).unwrap_or(max));
        match &self.body {
            Body::Memory(blocks) => Ok(read_blocks(blocks, at, length)),
            Body::File(_) => {
                let blob = self.clone();
                in_background(move || blob.read_now(at, length)).await
            }
        }
    }

    /// All of it. Blocks on the file, if there is one.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        match &self.body {
            Body::Memory(blocks) => Ok(blocks.concat()),
            Body::File(path) => std::fs::read(path),
        }
    }

    fn read_now(&self, at: u64, length: usize) -> io::Result<Bytes> {
        let Body::File(path) = &self.body else {
            return Ok(Bytes::new());
        };
        let mut block = BytesMut::zeroed(length);
        File::open(path)?.read_exact_at(&mut block, at)?;
        Ok(block.freeze())
    }

    /// Deletes the file. Readers find it gone.
    pub fn discard(&self) {
        if let Body::File(path) = &self.body {
            remove(path);
        }
    }
}

impl Body {
    async fn write(&mut self, block: &Bytes, at: u64) -> io::Result<()> {
        match self {
            Self::Memory(blocks) => {
                blocks.push(block.clone());
                Ok(())
            }
            Self::File(path) => {
                let (path, block) = (path.clone(), block.clone());
                in_background(move || to_write(&path)?.write_all_at(&block, at)).await
            }
        }
    }
}

fn to_write(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    options.open(path)
}

fn read_blocks(blocks: &[Bytes], at: u64, length: usize) -> Bytes {
    let mut start = 0;
    for block in blocks {
        let end = start + block.len() as u64;
        if at < end {
            // One block at most: a reader asks again for the rest.
            let from = usize::try_from(at - start).unwrap_or(block.len());
            return block.slice(from..block.len().min(from.saturating_add(length)));
        }
        start = end;
    }
    Bytes::new()
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(%error, "a media file could not be deleted");
    }
}

pub(super) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// An upload as far as it has come.
#[derive(Debug)]
pub(in crate::server) struct Draft {
    pub share: Share,
    body: Body,
    /// Never more than its share of the budget.
    written: u64,
    /// Over all bytes so far; none for a draft that was found at the start.
    hasher: Option<Sha256>,
}

impl Draft {
    pub fn new(path: Option<PathBuf>, share: Share) -> Self {
        Self {
            share,
            body: path.map_or_else(|| Body::Memory(Vec::new()), Body::File),
            written: 0,
            hasher: Some(Sha256::new()),
        }
    }

    /// An upload that a crash interrupted.
    pub fn restore(path: PathBuf, bytes: u64, mut share: Share) -> Self {
        share.claim(bytes);
        Self {
            share,
            body: Body::File(path),
            written: bytes,
            hasher: None,
        }
    }

    pub fn bytes(&self) -> u64 {
        self.written
    }

    /// How much its share has to grow for `more` bytes.
    pub fn lacks(&self, more: u64) -> u64 {
        (self.written + more).saturating_sub(self.share.bytes())
    }

    /// Adds a block; there is room for it in the draft's share. Cancelling loses the block only.
    pub async fn append(&mut self, block: Bytes) -> io::Result<()> {
        let at = self.written;
        if let Some(hasher) = &mut self.hasher {
            // Forgotten if the block is not written.
            let mut next = hasher.clone();
            next.update(&block);
            self.body.write(&block, at).await?;
            *hasher = next;
        } else {
            self.body.write(&block, at).await?;
        }
        self.written += block.len() as u64;
        Ok(())
    }

    /// The hash of all bytes so far.
    pub async fn hash(&mut self) -> io::Result<Hash> {
        let hasher = match &self.hasher {
            Some(hasher) => hasher.clone(),
            None => {
                let bytes = self.written;
                let Body::File(path) = &self.body else {
                    return Err(io::ErrorKind::NotFound.into());
                };
                let path = path.clone();
                in_background(move || hash_file(&path, bytes)).await?
            }
        };
        self.hasher = Some(hasher.clone());
        Ok(hasher.finalize().into())
    }

    /// What was uploaded, under its own name.
    pub fn finish(mut self, path: Option<PathBuf>) -> io::Result<Blob> {
        self.share.shrink(self.share.bytes() - self.written);
        let body = match (self.body, path) {
            (Body::File(draft), Some(path)) => {
                // A write that was cancelled may have left bytes behind the end.
                to_write(&draft)?.set_len(self.written)?;
                std::fs::rename(&draft, &path)?;
                Body::File(path)
            }
            (body, _) => body,
        };
        Ok(Blob {
            share: self.share,
            body,
        })
    }

    pub fn discard(self) {
        if let Body::File(path) = &self.body
            && path.exists()
        {
            remove(path);
        }
    }
}

fn hash_file(path: &Path, bytes: u64) -> io::Result<Sha256> {
    let file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut at = 0;
    while at < bytes {
        let length = block
            .len()
            .min(usize::try_from(bytes - at).unwrap_or(block.len()));
        file.read_exact_at(&mut block[..length], at)?;
        hasher.update(&block[..length]);
        at += length as u64;
    }
    Ok(hasher)
}
