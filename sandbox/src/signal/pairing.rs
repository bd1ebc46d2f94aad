//! Reading the QR text a companion shows: `ref,noise key,identity key,secret[,platform...]`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

#[cfg(test)]
mod tests;

/// Newer clients show a link that the camera of a phone would open.
pub const LINK_PREFIX: &str = "https://wa.me/settings/linked_devices#";
/// The longest text accepted; real ones have about 250 characters.
pub const QR_BYTES_MAX: usize = 2_048;
const FIELDS_MIN: usize = 4;

/// What a companion offers for linking.
#[derive(Clone, PartialEq, Eq)]
pub struct PairingQr {
    /// Names the connection that the companion waits on.
    pub reference: String,
    pub noise_key: [u8; 32],
    pub identity_key: [u8; 32],
    pub adv_secret: [u8; 32],
}

/// Does not show the secret.
impl fmt::Debug for PairingQr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairingQr")
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QrField {
    NoiseKey,
    IdentityKey,
    Secret,
}

impl fmt::Display for QrField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoiseKey => "noise key",
            Self::IdentityKey => "identity key",
            Self::Secret => "secret",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QrError {
    #[error("the QR text is empty")]
    Empty,
    #[error("the QR text has {0} bytes, more than {QR_BYTES_MAX}")]
    TooLong(usize),
    #[error("the QR text is a link, but not one for linking a device")]
    OtherLink,
    #[error("the QR text has {0} fields, at least {FIELDS_MIN} are needed")]
    FieldCount(usize),
    #[error("the reference of the QR text is empty or has characters outside printable ASCII")]
    Reference,
    #[error("the {0} of the QR text is not padded standard base64")]
    Base64(QrField),
    #[error("the {field} of the QR text has {length} bytes instead of 32")]
    Length { field: QrField, length: usize },
}

impl PairingQr {
    /// White space around the text is ignored, and so are fields after the fourth.
    pub fn parse(text: &str) -> Result<Self, QrError> {
        if text.len() > QR_BYTES_MAX {
            return Err(QrError::TooLong(text.len()));
        }
        let text = text.trim();
        let text = text.strip_prefix(LINK_PREFIX).unwrap_or(text);
        if text.is_empty() {
            return Err(QrError::Empty);
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Err(QrError::OtherLink);
        }
        let fields: Vec<&str> = text.split(',').collect();
        let [reference, noise_key, identity_key, secret, ..] = fields[..] else {
            return Err(QrError::FieldCount(fields.len()));
        };
        if reference.is_empty() || !reference.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(QrError::Reference);
        }
        Ok(Self {
            reference: reference.to_owned(),
            noise_key: key(noise_key, QrField::NoiseKey)?,
            identity_key: key(identity_key, QrField::IdentityKey)?,
            adv_secret: key(secret, QrField::Secret)?,
        })
    }
}

fn key(text: &str, field: QrField) -> Result<[u8; 32], QrError> {
    let bytes = STANDARD.decode(text).map_err(|_| QrError::Base64(field))?;
    let length = bytes.len();
    bytes.try_into().map_err(|_| QrError::Length { field, length })
}
