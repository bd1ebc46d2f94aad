//! The master key: from configuration, or a file that is made on first use.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use roost_domain::time::Entropy;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Longest file that can hold a key: 64 hex digits and white space.
const FILE_BYTES_MAX: u64 = 256;

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// The text is not 32 bytes in base64 or hex.
    #[error("the master key is not 32 bytes in base64 or hex")]
    Form,
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

    /// The key in a file, which is made with a new key when it is not there.
    pub fn load_or_create(path: &Path, entropy: &dyn Entropy) -> Result<Self, MasterKeyError> {
        match Self::load(path) {
            Err(MasterKeyError::File { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Self::create(path, entropy).map_err(|source| file_error(path, source))?;
                // Read back what is there: another process may have been first.
                Self::load(path)
            }
            result => result,
        }
    }

    /// The key in a file.
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
        Self::from_text(&text)
    }

    /// Writes a new key beside the file and links it into place: the file is there complete or not at
    /// all, and never replaces one that is there.
    fn create(path: &Path, entropy: &dyn Entropy) -> std::io::Result<()> {
        let mut bytes = Zeroizing::new([0; 32]);
        entropy.fill(&mut *bytes);
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:032x}", entropy.bits()));
        let draft = folder.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        let text = Zeroizing::new(format!("{}\n", STANDARD.encode(*bytes)));
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        let linked = written.and_then(|()| match std::fs::hard_link(&draft, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            result => result,
        });
        std::fs::remove_file(&draft)?;
        linked?;
        File::open(folder)?.sync_all()
    }

    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

fn file_error(path: &Path, source: std::io::Error) -> MasterKeyError {
    MasterKeyError::File {
        path: path.to_owned(),
        source,
    }
}
