//! Master keys: from configuration, or a file that is made on first use and rewritten by rotations.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use roost_domain::time::Entropy;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Longest file of keys.
const FILE_BYTES_MAX: u64 = 4096;
/// Keys that one file may hold: a rotation needs two.
const FILE_KEYS_MAX: usize = 8;

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The text is not 32 bytes in base64 or hex.
    #[error("the master key is not 32 bytes in base64 or hex")]
    Form,
    /// The file holds no key, or too many.
    #[error("the master key file {path} has {found} keys, one to a line; it must have 1 to {max}", max = FILE_KEYS_MAX)]
    Count {
        /// The file.
        path: PathBuf,
        /// Keys in it.
        found: usize,
    },
    /// Others can read the file.
    #[error("the master key file {path} has mode {mode:o}: make it readable by its owner only (chmod 600)")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file cannot be read or made.
    #[error("cannot use the master key file {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// 32 bytes from which every other key is derived. Removed from memory when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

/// Hidden on purpose: configuration gets printed.
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

impl MasterKey {
    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key written as 64 hex digits or in base64.
    pub fn from_text(text: &str) -> Result<Self, MasterKeyError> {
        let text = text.trim();
        let mut key = Self([0; 32]);
        if hex::decode_to_slice(text, &mut key.0).is_ok() {
            return Ok(key);
        }
        for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            if let Ok(bytes) = engine.decode(text).map(Zeroizing::new)
                && bytes.len() == key.0.len()
            {
                key.0.copy_from_slice(&bytes);
                return Ok(key);
            }
        }
        Err(MasterKeyError::Form)
    }

    /// A new key.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut key = Self([0; 32]);
        entropy.fill(&mut key.0);
        key
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The master keys that are known: the first one seals, all of them open.
#[derive(Debug, Clone)]
pub struct MasterKeys {
    /// Under which everything is written.
    pub first: MasterKey,
    /// Under which values may still be.
    pub further: Vec<MasterKey>,
}

impl MasterKeys {
    /// A single key.
    pub fn one(first: MasterKey) -> Self {
        Self {
            first,
            further: Vec::new(),
        }
    }

    /// The keys in a file, one to a line; empty lines and lines that begin with `#` are passed over.
    pub fn load(path: &Path) -> Result<Self, MasterKeyError> {
        let file = File::open(path).map_err(|source| file_error(path, source))?;
        let mode = file
            .metadata()
            .map_err(|source| file_error(path, source))?
            .permissions()
            .mode()
            & 0o777;
        if mode & 0o077 != 0 {
            return Err(MasterKeyError::Mode {
                path: path.to_owned(),
                mode,
            });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|source| file_error(path, source))?;
        let lines = text.lines().map(str::trim);
        let keys: Result<Vec<_>, _> = lines
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(MasterKey::from_text)
            .collect();
        let mut keys = keys?;
        if keys.is_empty() || keys.len() > FILE_KEYS_MAX {
            return Err(MasterKeyError::Count {
                path: path.to_owned(),
                found: keys.len(),
            });
        }
        let first = keys.remove(0);
        Ok(Self { first, further: keys })
    }

    /// Makes a file with a new key; one that is there is left and read.
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Self, MasterKeyError> {
        let keys = Self::one(MasterKey::generate(entropy));
        // Linked into place: the file is there complete or not at all, and another process may have been
        // first.
        keys.write(path, entropy, |draft, path| {
            match std::fs::hard_link(draft, path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                result => result?,
            }
            std::fs::remove_file(draft)
        })?;
        Self::load(path)
    }

    /// Puts these keys into a file that is there: before and after a crash it is complete.
    pub fn replace(&self, path: &Path, entropy: &dyn Entropy) -> Result<(), MasterKeyError> {
        // What a link leads to is replaced, not the link.
        let path = path.canonicalize().map_err(|source| file_error(path, source))?;
        self.write(&path, entropy, |draft, path| std::fs::rename(draft, path))
    }

    /// Writes a file beside `path`, readable by its owner only, and has it put into place.
    fn write(
        &self,
        path: &Path,
        entropy: &dyn Entropy,
        put: impl FnOnce(&Path, &Path) -> std::io::Result<()>,
    ) -> Result<(), MasterKeyError> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let mut text = Zeroizing::new(String::with_capacity(64 * (1 + self.further.len())));
        for key in std::iter::once(&self.first).chain(&self.further) {
            STANDARD.encode_string(key.0, &mut text);
            text.push('\n');
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:032x}", entropy.bits()));
        let draft = folder.join(name);
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| {
                let mut file = OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&draft)?;
                file.write_all(text.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| put(&draft, path))
            .and_then(|()| File::open(folder)?.sync_all());
        written.map_err(|source| {
            // It may not be there, or be in place already.
            let _ = std::fs::remove_file(&draft);
            file_error(path, source)
        })
    }
}

/// Where master keys come from.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// From the configuration, which Roost cannot change.
    Given(MasterKeys),
    /// A file that Roost keeps: made with a new key together with a new database, and rewritten by
    /// rotations. Without it, a database that is there is not opened.
    File(PathBuf),
}

fn file_error(path: &Path, source: std::io::Error) -> MasterKeyError {
    MasterKeyError::File {
        path: path.to_owned(),
        source,
    }
}
