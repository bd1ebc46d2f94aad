//! What is too large for a patch is a blob of the media service: the mutations of a large patch, and
//! whole collections.

use sha2::{Digest, Sha256};

use crate::server::account::Account;
use crate::server::media::Media;
use crate::signal::media::{self, MediaKind};
use crate::signal::proto::ExternalBlobReference;

/// The type of these files in the media service.
const KIND: &str = "md-app-state";

/// The plain content of a blob. Blocks on its file, if there is one.
pub(super) fn fetch(service: &Media, reference: &ExternalBlobReference) -> Option<Vec<u8>> {
    let (_, blob) = service.find(reference.direct_path.as_deref()?)?;
    let media_key = reference.media_key.as_deref()?.try_into().ok()?;
    let plain = media::open(MediaKind::AppState, &media_key, &blob.read_all().ok()?).ok()?;
    let hash = reference.file_sha256.as_deref()?;
    (hash == Sha256::digest(&plain).as_slice()).then_some(plain)
}

/// Whether companions can fetch a blob.
pub(super) fn is_there(service: &Media, reference: &ExternalBlobReference) -> bool {
    let path = reference.direct_path.as_deref().unwrap_or_default();
    service.find(path).is_some_and(|(stored, _)| !stored.is_expired())
}

/// Encrypts and stores a blob. Blocks on its file, if there is one.
pub(super) fn upload(service: &Media, account: &Account, plain: &[u8]) -> Option<ExternalBlobReference> {
    let sealed = media::seal(MediaKind::AppState, plain);
    let stored = match service.store.add(sealed.blob, KIND, account.raw_id) {
        Ok(stored) => stored,
        Err(error) => {
            tracing::warn!(%error, "app state could not be uploaded; patches are sent instead");
            return None;
        }
    };
    Some(ExternalBlobReference {
        media_key: Some(sealed.media_key.to_vec()),
        direct_path: Some(stored.direct_path()),
        handle: None,
        file_size_bytes: Some(sealed.file_bytes),
        file_sha256: Some(sealed.file_sha256.to_vec()),
        file_enc_sha256: Some(sealed.file_enc_sha256.to_vec()),
    })
}
