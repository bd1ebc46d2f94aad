//! The media service: encrypted files and pictures, uploaded and fetched over TLS.
//!
//! Clients learn its host and their token from `media_conn`; virtual phones use the store behind it
//! directly. Files and interrupted uploads survive a `kill -9` with a data folder; without one they
//! are in memory, within the same kind of limit.

mod auth;
mod authority;
mod blob;
mod download;
mod fault;
mod listener;
mod path;
mod store;
#[cfg(test)]
mod tests;
mod upload;
mod watch;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;
use thiserror::Error;
use tokio::sync::Semaphore;

use super::config::SandboxConfig;
use super::persist::{Journal, PersistError, Row, Shelf, Table};
use super::sync::now_s;
pub(super) use auth::Holder;
use auth::Tokens;
use authority::AuthorityRow;
pub(super) use blob::Hash;
pub(super) use listener::run;
use store::Limits;
pub(super) use store::{Store, StoreError, Stored};

/// Names of the settings that are kept.
const AUTHORITY: &str = "media_authority";
const TOKENS: &str = "media_tokens";
/// The folder of the data folder that holds the files.
const FOLDER: &str = "media";
/// The authority's certificate in the data folder.
const CA_FILE: &str = "ca.pem";
/// Files that phones encrypt or decrypt at a time: each is in memory, twice.
const PHONE_FILES_AT_ONCE: usize = 4;

/// Why the media service cannot start.
#[derive(Debug, Error)]
pub enum MediaError {
    #[error("the media folder {} cannot be used", path.display())]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("the certificate cannot be written to {}", path.display())]
    Export {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("a certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    #[error("the certificate cannot be used")]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    State(#[from] PersistError),
}

pub(super) struct Media {
    pub store: Store,
    /// Taken by phones while they hold a whole file.
    pub phone_files: Arc<Semaphore>,
    tls: Arc<ServerConfig>,
    names: Vec<String>,
    authority: AuthorityRow,
    tokens: Tokens,
    auth_ttl_s: u64,
    /// The name clients are told, if it is not the address.
    name: Option<String>,
    address: OnceLock<SocketAddr>,
    shelf: Shelf,
}

/// What an earlier sandbox kept: a setting by its name, or a new value that is kept from now on.
fn kept<T: serde::Serialize + serde::de::DeserializeOwned>(
    settings: &[Row],
    shelf: &Shelf,
    name: &str,
    generate: impl FnOnce() -> Result<T, MediaError>,
) -> Result<T, MediaError> {
    if let Some(row) = settings.iter().find(|row| &*row.name == name) {
        return Ok(row.value()?);
    }
    let value = generate()?;
    shelf.keep(|rows| rows.put(Table::Setting, 0, name, &value));
    Ok(value)
}

impl Media {
    /// A media service with what was saved of an earlier one.
    pub fn open(
        config: &SandboxConfig,
        journal: &Journal,
        settings: &[Row],
        files: Vec<Row>,
    ) -> Result<Self, MediaError> {
        let shelf = journal.shelf(0, 0);
        let authority = kept(settings, &shelf, AUTHORITY, || Ok(AuthorityRow::generate()?))?;
        let tokens = kept(settings, &shelf, TOKENS, || Ok(Tokens::generate()))?;
        let names = authority::names(&config.media_names, config.media_listen.ip());
        let folder = config.data_dir.as_deref().map(folder).transpose()?;
        let in_data_dir = config.data_dir.as_ref().map(|folder| folder.join(CA_FILE));
        for file in in_data_dir.iter().chain(&config.ca_file) {
            authority::export(authority.pem(), file)?;
        }
        let limits = Limits {
            bytes_max: match folder {
                Some(_) => config.media_disk_bytes_max,
                None => config.media_memory_bytes_max,
            },
            files_max: config.media_files_max,
            ttl_s: config.media_ttl.as_secs(),
        };
        Ok(Self {
            store: Store::open(folder, limits, files, shelf.clone())?,
            phone_files: Arc::new(Semaphore::new(PHONE_FILES_AT_ONCE)),
            tls: authority.server(&names)?,
            names,
            authority,
            tokens,
            auth_ttl_s: config.media_auth_ttl.as_secs(),
            name: config.media_names.first().cloned(),
            address: OnceLock::new(),
            shelf,
        })
    }

    /// Says where the listener is bound.
    pub fn bound(&self, address: SocketAddr) {
        self.address.get_or_init(|| address);
    }

    /// The host clients are told to use, with its port.
    pub fn host(&self) -> String {
        let address = self.address.get();
        let port = address.map_or(443, SocketAddr::port);
        match (&self.name, address) {
            (Some(name), _) => format!("{name}:{port}"),
            (None, Some(address)) if !address.ip().is_unspecified() => address.to_string(),
            _ => format!("localhost:{port}"),
        }
    }

    pub fn url(&self, stored: &Stored) -> String {
        format!("https://{}{}", self.host(), stored.direct_path())
    }

    /// The certificate clients have to trust, in PEM.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// A token for uploads.
    pub fn token(&self, holder: Holder) -> String {
        self.tokens.issue(holder, now_s() + self.auth_ttl_s)
    }

    pub fn auth_ttl_s(&self) -> u64 {
        self.auth_ttl_s
    }

    /// Makes all tokens worthless that were given out so far.
    pub fn expire_tokens(&self) {
        self.tokens.expire();
        self.shelf
            .keep(|rows| rows.put(Table::Setting, 0, TOKENS, &self.tokens));
    }

    /// The file a direct path or a URL of this service leads to.
    pub fn find(&self, address: &str) -> Option<(Stored, Arc<blob::Blob>)> {
        let path = match address.strip_prefix("https://") {
            Some(rest) => &rest[rest.find('/')?..],
            None => address,
        };
        self.store.find(path::read(path)?)
    }
}

fn folder(data_dir: &Path) -> Result<PathBuf, MediaError> {
    use std::os::unix::fs::DirBuilderExt;
    let path = data_dir.join(FOLDER);
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&path);
    match made {
        Ok(()) => Ok(path),
        Err(source) => Err(MediaError::Folder { path, source }),
    }
}
