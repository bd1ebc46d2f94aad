//! The kinds of faults and their parameters, as the control API takes them.

use serde::{Deserialize, Serialize};

use crate::server::queue::Class;
use crate::wire::node::Node;

/// Longest delay of one stanza.
const DELAY_MS_MAX: u64 = 600_000;
const TEXT_BYTES_MAX: usize = 1_000;

/// When a connection is cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum On {
    /// Every live connection, once, when the fault is made.
    #[default]
    Now,
    /// Instead of the greeting.
    Login,
    /// When a frame of the client arrives.
    Frame,
}

/// What of a prekey bundle is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum BundlePart {
    /// The signature of the signed key does not verify.
    #[default]
    Signature,
    /// The identity is somebody else's.
    Identity,
    /// The one-time key is not one its device knows.
    OneTimeKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum MediaAction {
    Upload,
    Download,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::server) enum FaultKind {
    /// The connection is gone without a word.
    DropConnection {
        #[serde(default)]
        on: On,
        nth: Option<u64>,
    },
    /// The connection stays open, and nothing is read from it or written to it.
    Silence {
        #[serde(default)]
        on: On,
        nth: Option<u64>,
    },
    /// Another client took over the session.
    ConflictReplaced {
        #[serde(default)]
        on: On,
        nth: Option<u64>,
    },
    /// Any other `<stream:error>` with a code.
    StreamError {
        code: u16,
        #[serde(default)]
        on: On,
        nth: Option<u64>,
    },
    RefuseLogins {
        reason: u16,
        message: Option<String>,
        url: Option<String>,
    },
    TemporaryBan {
        /// The service's word for why.
        code: u16,
        expire_s: u64,
        message: Option<String>,
        url: Option<String>,
    },
    /// What a client sent is handled, and not acknowledged.
    SwallowAcks {
        class: Option<Class>,
    },
    DelayAcks {
        delay_ms: u64,
        class: Option<Class>,
    },
    DelayDeliveries {
        delay_ms: u64,
        class: Option<Class>,
    },
    DuplicateDeliveries {
        class: Option<Class>,
    },
    /// A stanza is written after the one that follows it.
    ReorderDeliveries {
        /// It is written alone when none follows in this time.
        within_ms: Option<u64>,
        class: Option<Class>,
    },
    /// Messages are acknowledged with an error and go nowhere.
    RejectSends {
        error: u16,
    },
    /// A frame to the client is encrypted and lost: the next one does not decrypt.
    DropFrame {},
    CorruptFrame {},
    WrongPrekeys {
        #[serde(default)]
        part: BundlePart,
    },
    /// First messages of a session arrive without the proof of who sent them.
    MissingDeviceIdentity {},
    SlowMedia {
        bytes_per_second: u64,
        action: Option<MediaAction>,
    },
    /// The connection ends in the middle of an upload.
    HalfUpload {},
    MediaStatus {
        status: u16,
        action: Option<MediaAction>,
    },
}

/// A field that is wrong: its name and why.
pub(super) type Wrong = (&'static str, String);

fn within(field: &'static str, value: u64, min: u64, max: u64) -> Result<(), Wrong> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err((field, format!("it is from {min} to {max}")))
    }
}

fn short(field: &'static str, text: &Option<String>) -> Result<(), Wrong> {
    match text {
        Some(text) if text.len() > TEXT_BYTES_MAX => {
            Err((field, format!("it has at most {TEXT_BYTES_MAX} bytes")))
        }
        _ => Ok(()),
    }
}

fn moment(on: On, nth: Option<u64>) -> Result<(), Wrong> {
    match nth {
        Some(_) if on != On::Frame => Err(("/nth", "it goes with \"on\": \"frame\"".to_owned())),
        Some(0) => Err(("/nth", "frames are counted from 1".to_owned())),
        _ => Ok(()),
    }
}

impl FaultKind {
    /// Checks what the types do not say.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        match self {
            Self::DropConnection { on, nth }
            | Self::Silence { on, nth }
            | Self::ConflictReplaced { on, nth } => moment(*on, *nth),
            Self::StreamError { code, on, nth } => {
                within("/code", (*code).into(), 400, 599)?;
                moment(*on, *nth)
            }
            Self::RefuseLogins { reason, message, url } => {
                within("/reason", (*reason).into(), 400, 599)?;
                if *reason == 402 {
                    return Err(("/reason", "402 is the kind temporary_ban".to_owned()));
                }
                short("/message", message)?;
                short("/url", url)
            }
            Self::TemporaryBan { message, url, .. } => {
                short("/message", message)?;
                short("/url", url)
            }
            Self::DelayAcks { delay_ms, .. } | Self::DelayDeliveries { delay_ms, .. } => {
                within("/delay_ms", *delay_ms, 1, DELAY_MS_MAX)
            }
            Self::ReorderDeliveries { within_ms, .. } => {
                within("/within_ms", within_ms.unwrap_or(1), 1, DELAY_MS_MAX)
            }
            Self::RejectSends { error } => within("/error", (*error).into(), 400, 599),
            Self::SlowMedia { bytes_per_second, .. } => {
                within("/bytes_per_second", *bytes_per_second, 1, 1 << 40)
            }
            Self::MediaStatus { status, .. } => within("/status", (*status).into(), 400, 599),
            Self::SwallowAcks { .. }
            | Self::DuplicateDeliveries { .. }
            | Self::DropFrame {}
            | Self::CorruptFrame {}
            | Self::WrongPrekeys { .. }
            | Self::MissingDeviceIdentity {}
            | Self::HalfUpload {} => Ok(()),
        }
    }

    /// When the connection is cut, for kinds that do.
    pub(super) fn cuts(&self) -> Option<(On, Option<u64>)> {
        match self {
            Self::DropConnection { on, nth }
            | Self::Silence { on, nth }
            | Self::ConflictReplaced { on, nth }
            | Self::StreamError { on, nth, .. } => Some((*on, *nth)),
            _ => None,
        }
    }

    /// What a client is told instead of being logged in.
    pub(super) fn refusal(&self) -> Option<Node> {
        let failure = |reason: u16, message: &Option<String>, url: &Option<String>| {
            Node::new("failure")
                .attr("reason", reason.to_string())
                .attr("location", "sandbox")
                .attr_opt("message", message.clone())
                .attr_opt("url", url.clone())
        };
        match self {
            Self::RefuseLogins { reason, message, url } => Some(failure(*reason, message, url)),
            Self::TemporaryBan {
                code,
                expire_s,
                message,
                url,
            } => Some(
                failure(402, message, url)
                    .attr("code", code.to_string())
                    .attr("expire", expire_s.to_string()),
            ),
            _ => None,
        }
    }
}
