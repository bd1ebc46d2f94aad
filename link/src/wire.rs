//! The form of calls, answers and notes: a version, a head in MessagePack, and the body as it is.
//!
//! Heads are maps: a field that a release does not know is passed over, one that is missing has its
//! default. So a head can grow without a new version. What cannot be read is answered, never dropped.

use bytes::Bytes;
use roost_domain::cluster::NodeName;
use roost_domain::peer::{Kind, Note, NoteKind, WireError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of the frames that this release writes and reads.
const VERSION: u8 = 1;

/// What is before a head: the version and the head's length.
const PREFIX_BYTES: usize = 5;

/// What a head adds to a body, at most: a name of a node, an error's text.
const ERROR_TEXT_BYTES_MAX: usize = 1_024;

/// Head of a call.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CallHead {
    pub from: NodeName,
    pub kind: Kind,
    /// Time that is left for it. Relative, as clocks differ.
    pub left_ms: u64,
}

/// Head of an answer.
#[derive(Debug, Default, Serialize, Deserialize)]
struct AnswerHead {
    /// Number of the error; none when the call was carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hint: Option<NodeName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_ms: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// Head of a batch of notes. It has no body.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct NotesHead {
    pub from: NodeName,
    notes: Vec<(NoteKind, Bytes, Bytes)>,
}

/// Why a frame cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireFault {
    #[error("version {0} of the envelope is not known")]
    Version(u8),
    #[error("the envelope cannot be read: {0}")]
    Head(String),
}

impl NotesHead {
    pub fn new(from: NodeName, notes: Vec<Note>) -> Self {
        let notes = notes
            .into_iter()
            .map(|note| (note.kind, note.key, note.body))
            .collect();
        Self { from, notes }
    }

    pub fn into_notes(self) -> impl Iterator<Item = Note> {
        self.notes
            .into_iter()
            .map(|(kind, key, body)| Note { kind, key, body })
    }
}

/// A frame of this head and body.
pub(crate) fn frame(head: &impl Serialize, body: &[u8]) -> Result<Vec<u8>, WireFault> {
    let mut bytes = Vec::with_capacity(PREFIX_BYTES + 96 + body.len());
    bytes.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
    let mut writer = rmp_serde::Serializer::new(&mut bytes).with_struct_map();
    head.serialize(&mut writer)
        .map_err(|error| WireFault::Head(error.to_string()))?;
    let length = u32::try_from(bytes.len() - PREFIX_BYTES)
        .map_err(|_| WireFault::Head("the head is too long".to_owned()))?;
    bytes[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    Ok(bytes)
}

/// The head and the body of a frame.
pub(crate) fn open<H: DeserializeOwned>(frame: Vec<u8>) -> Result<(H, Bytes), WireFault> {
    let short = || WireFault::Head("it is cut off".to_owned());
    match frame.first() {
        Some(&VERSION) => {}
        Some(&other) => return Err(WireFault::Version(other)),
        None => return Err(short()),
    }
    let (prefix, rest) = frame.split_at_checked(PREFIX_BYTES).ok_or_else(short)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    let head = rest.get(..length).ok_or_else(short)?;
    let head = rmp_serde::from_slice(head).map_err(|error| WireFault::Head(error.to_string()))?;
    Ok((head, Bytes::from(frame).slice(PREFIX_BYTES + length..)))
}

/// The frame of an answer.
pub(crate) fn answer(result: &Result<Bytes, WireError>) -> Result<Vec<u8>, WireFault> {
    match result {
        Ok(body) => frame(&AnswerHead::default(), body),
        Err(error) => frame(&AnswerHead::from(error), &[]),
    }
}

/// What an answer says.
pub(crate) fn open_answer(bytes: Vec<u8>) -> Result<Result<Bytes, WireError>, WireFault> {
    let (head, body): (AnswerHead, Bytes) = open(bytes)?;
    Ok(head.into_error().map_or(Ok(body), Err))
}

// Numbers of errors: spoken between releases, never used again for something else.
const NOT_OWNER: u8 = 1;
const UNOWNED: u8 = 2;
const FENCED: u8 = 3;
const OVERLOADED: u8 = 4;
const UNKNOWN_KIND: u8 = 5;
const DEADLINE: u8 = 6;
const TOO_LARGE: u8 = 7;
const BAD: u8 = 8;
const FAILED: u8 = 9;

impl From<&WireError> for AnswerHead {
    fn from(error: &WireError) -> Self {
        let of = |number| Self {
            error: Some(number),
            ..Self::default()
        };
        let with = |number, text: &str| Self {
            text: Some(text[..text.floor_char_boundary(ERROR_TEXT_BYTES_MAX)].to_owned()),
            ..of(number)
        };
        match error {
            WireError::NotOwner { hint } => Self {
                hint: hint.clone(),
                ..of(NOT_OWNER)
            },
            WireError::Unowned => of(UNOWNED),
            WireError::Fenced => of(FENCED),
            WireError::Overloaded { retry_ms } => Self {
                retry_ms: Some(*retry_ms),
                ..of(OVERLOADED)
            },
            WireError::UnknownKind => of(UNKNOWN_KIND),
            WireError::Deadline => of(DEADLINE),
            WireError::TooLarge => of(TOO_LARGE),
            WireError::Bad(text) => with(BAD, text),
            WireError::Failed(text) => with(FAILED, text),
        }
    }
}

impl AnswerHead {
    fn into_error(self) -> Option<WireError> {
        let text = self.text.unwrap_or_default();
        Some(match self.error? {
            NOT_OWNER => WireError::NotOwner { hint: self.hint },
            UNOWNED => WireError::Unowned,
            FENCED => WireError::Fenced,
            OVERLOADED => WireError::Overloaded {
                retry_ms: self.retry_ms.unwrap_or(1_000),
            },
            UNKNOWN_KIND => WireError::UnknownKind,
            DEADLINE => WireError::Deadline,
            TOO_LARGE => WireError::TooLarge,
            BAD => WireError::Bad(text),
            FAILED => WireError::Failed(text),
            newer => WireError::Failed(format!("error {newer} of a newer release: {text}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        text.parse().unwrap()
    }

    #[test]
    fn a_call_reads_back_with_its_body() {
        let head = CallHead {
            from: name("a"),
            kind: Kind::INSTANCE,
            left_ms: 1_500,
        };
        let bytes = frame(&head, b"body").unwrap();
        let (read, body): (CallHead, Bytes) = open(bytes).unwrap();
        assert_eq!((read, &body[..]), (head, &b"body"[..]));
    }

    #[test]
    fn a_head_of_a_newer_release_is_read_without_what_is_new() {
        #[derive(Serialize)]
        struct Newer {
            trace: &'static str,
            from: NodeName,
            kind: Kind,
            left_ms: u64,
            urgent: bool,
        }
        let newer = Newer {
            trace: "00-1",
            from: name("b"),
            kind: Kind(9),
            left_ms: 1,
            urgent: true,
        };
        let (head, _): (CallHead, Bytes) = open(frame(&newer, &[]).unwrap()).unwrap();
        assert_eq!(head.kind, Kind(9));
    }

    #[test]
    fn every_error_reads_back() {
        for error in [
            WireError::NotOwner {
                hint: Some(name("c")),
            },
            WireError::NotOwner { hint: None },
            WireError::Unowned,
            WireError::Fenced,
            WireError::Overloaded { retry_ms: 7 },
            WireError::UnknownKind,
            WireError::Deadline,
            WireError::TooLarge,
            WireError::Bad("why".to_owned()),
            WireError::Failed("how".to_owned()),
        ] {
            let bytes = answer(&Err(error.clone())).unwrap();
            assert_eq!(open_answer(bytes).unwrap(), Err(error));
        }
    }

    #[test]
    fn an_error_of_a_newer_release_is_an_error() {
        let head = AnswerHead {
            error: Some(200),
            text: Some("moved".to_owned()),
            ..AnswerHead::default()
        };
        let read = open_answer(frame(&head, &[]).unwrap()).unwrap();
        assert!(matches!(read, Err(WireError::Failed(text)) if text.contains("200")));
    }

    #[test]
    fn what_cannot_be_read_is_a_fault() {
        let good = frame(&AnswerHead::default(), b"x").unwrap();
        for end in 0..good.len() - 1 {
            assert!(open::<AnswerHead>(good[..end].to_vec()).is_err(), "{end}");
        }
        let mut newer = good.clone();
        newer[0] = 2;
        assert_eq!(open::<AnswerHead>(newer).unwrap_err(), WireFault::Version(2));
        assert!(open::<CallHead>(good).is_err(), "a head of another kind");
        assert!(open::<CallHead>(vec![1, 255, 255, 255, 255, 0]).is_err());
    }
}
