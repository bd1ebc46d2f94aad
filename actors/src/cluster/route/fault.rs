//! Why a call was not carried out, as the called node writes it.

use std::time::Duration;

use roost_domain::instance::InstanceState;
use serde::{Deserialize, Serialize};

use crate::CallError;

/// Names of fields that errors point to. One that is not known here points to the whole body.
const FIELDS: &[&str] = &[
    "to",
    "reply_to",
    "name",
    "proxy",
    "url",
    "secret",
    "max_concurrency",
    "rate_per_second",
    "overlap_seconds",
    "pacing/messages_per_minute",
    "pacing/jitter_percent",
    "seqs",
    "event_ids",
    "delivery_ids",
];

/// As [`CallError`]. A variant that is added later is [`Fault::Unknown`] to earlier releases.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub(super) enum Fault {
    NotFound,
    WrongState {
        state: InstanceState,
        detail: String,
    },
    WrongMessage {
        detail: String,
    },
    NotConnected,
    Overloaded {
        retry_ms: u64,
    },
    Unavailable {
        detail: String,
        retry_ms: u64,
    },
    Moving {
        detail: String,
        retry_ms: u64,
    },
    Moved,
    Timeout,
    IdempotencyKeyReused,
    UnsupportedRecipient {
        detail: String,
    },
    PolicyViolation {
        field: String,
        detail: String,
    },
    Invalid {
        field: String,
        detail: String,
    },
    Conflict {
        detail: String,
    },
    LimitReached {
        detail: String,
    },
    UpstreamFailed {
        detail: String,
    },
    Internal {
        detail: String,
    },
    #[serde(other)]
    Unknown,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotFound => Self::NotFound,
            CallError::WrongState { state, detail } => Self::WrongState { state, detail },
            CallError::WrongMessage { detail } => Self::WrongMessage { detail },
            CallError::NotConnected => Self::NotConnected,
            CallError::Overloaded { retry_after } => Self::Overloaded {
                retry_ms: millis(retry_after),
            },
            CallError::Unavailable { detail, retry_after } => Self::Unavailable {
                detail,
                retry_ms: millis(retry_after),
            },
            CallError::Moving { detail, retry_after } => Self::Moving {
                detail,
                retry_ms: millis(retry_after),
            },
            CallError::Moved => Self::Moved,
            CallError::Timeout => Self::Timeout,
            CallError::IdempotencyKeyReused => Self::IdempotencyKeyReused,
            CallError::UnsupportedRecipient { detail } => Self::UnsupportedRecipient { detail },
            CallError::PolicyViolation { field, detail } => Self::PolicyViolation {
                field: field.to_owned(),
                detail,
            },
            CallError::Invalid { field, detail } => Self::Invalid {
                field: field.to_owned(),
                detail,
            },
            CallError::Conflict { detail } => Self::Conflict { detail },
            CallError::LimitReached { detail } => Self::LimitReached { detail },
            CallError::UpstreamFailed { detail } => Self::UpstreamFailed { detail },
            CallError::Internal { detail } => Self::Internal { detail },
        }
    }
}

impl From<Fault> for CallError {
    fn from(fault: Fault) -> Self {
        let time = Duration::from_millis;
        let known = |field: String| FIELDS.iter().copied().find(|known| *known == field);
        match fault {
            Fault::NotFound => Self::NotFound,
            Fault::WrongState { state, detail } => Self::WrongState { state, detail },
            Fault::WrongMessage { detail } => Self::WrongMessage { detail },
            Fault::NotConnected => Self::NotConnected,
            Fault::Overloaded { retry_ms } => Self::Overloaded {
                retry_after: time(retry_ms),
            },
            Fault::Unavailable { detail, retry_ms } => Self::Unavailable {
                detail,
                retry_after: time(retry_ms),
            },
            Fault::Moving { detail, retry_ms } => Self::Moving {
                detail,
                retry_after: time(retry_ms),
            },
            Fault::Moved => Self::Moved,
            Fault::Timeout => Self::Timeout,
            Fault::IdempotencyKeyReused => Self::IdempotencyKeyReused,
            Fault::UnsupportedRecipient { detail } => Self::UnsupportedRecipient { detail },
            Fault::PolicyViolation { field, detail } => Self::PolicyViolation {
                field: known(field).unwrap_or_default(),
                detail,
            },
            Fault::Invalid { field, detail } => Self::Invalid {
                field: known(field).unwrap_or_default(),
                detail,
            },
            Fault::Conflict { detail } => Self::Conflict { detail },
            Fault::LimitReached { detail } => Self::LimitReached { detail },
            Fault::UpstreamFailed { detail } => Self::UpstreamFailed { detail },
            Fault::Internal { detail } => Self::Internal { detail },
            Fault::Unknown => {
                Self::unavailable("another node refused, for a reason that this release does not know")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_error() -> Vec<CallError> {
        let detail = || "why".to_owned();
        let retry_after = Duration::from_millis(1_500);
        vec![
            CallError::NotFound,
            CallError::WrongState {
                state: InstanceState::Pairing,
                detail: detail(),
            },
            CallError::WrongMessage { detail: detail() },
            CallError::NotConnected,
            CallError::Overloaded { retry_after },
            CallError::Unavailable {
                detail: detail(),
                retry_after,
            },
            CallError::Moving {
                detail: detail(),
                retry_after,
            },
            CallError::Moved,
            CallError::Timeout,
            CallError::IdempotencyKeyReused,
            CallError::UnsupportedRecipient { detail: detail() },
            CallError::PolicyViolation {
                field: "to",
                detail: detail(),
            },
            CallError::Invalid {
                field: "reply_to",
                detail: detail(),
            },
            CallError::Conflict { detail: detail() },
            CallError::LimitReached { detail: detail() },
            CallError::UpstreamFailed { detail: detail() },
            CallError::Internal { detail: detail() },
        ]
    }

    fn over_the_wire(error: CallError) -> CallError {
        let sent = rmp_serde::to_vec_named(&Err::<(), _>(Fault::from(error))).unwrap();
        let answer: Result<(), Fault> = rmp_serde::from_slice(&sent).unwrap();
        answer.unwrap_err().into()
    }

    #[test]
    fn every_error_comes_over_as_it_is() {
        for error in every_error() {
            assert_eq!(over_the_wire(error.clone()), error);
        }
    }

    #[test]
    fn a_reason_of_a_later_release_is_unavailable_and_a_field_of_it_the_whole_body() {
        #[derive(Serialize)]
        #[serde(tag = "fault", rename_all = "snake_case")]
        enum Later {
            SunSpots { activity: u8 },
            Invalid { field: String, detail: String, hint: u8 },
        }
        let read = |later: Later| -> CallError {
            let sent = rmp_serde::to_vec_named(&Err::<(), _>(later)).unwrap();
            let answer: Result<(), Fault> = rmp_serde::from_slice(&sent).unwrap();
            answer.unwrap_err().into()
        };
        assert!(matches!(
            read(Later::SunSpots { activity: 7 }),
            CallError::Unavailable { .. }
        ));
        let invalid = Later::Invalid {
            field: "colour".into(),
            detail: "too red".into(),
            hint: 1,
        };
        let (field, detail) = ("", "too red".to_owned());
        assert_eq!(read(invalid), CallError::Invalid { field, detail });
    }
}
