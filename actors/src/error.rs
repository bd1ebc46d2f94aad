//! What a call to an actor can come to, as the edge maps it to a public error code.

use std::time::Duration;

use roost_domain::instance::InstanceState;
use roost_domain::store::StoreError;
use roost_domain::{AddressError, ErrorCode};

/// Why a call was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No such resource in this tenant.
    #[error("not found")]
    NotFound,
    /// The instance is in a state in which this cannot be done.
    #[error("{detail}")]
    WrongState {
        /// State it is in.
        state: InstanceState,
        /// What would have to be the case, for humans.
        detail: String,
    },
    /// A message is in a state in which this cannot be done.
    #[error("{detail}")]
    WrongMessage {
        /// What would have to be the case, for humans.
        detail: String,
    },
    /// The instance is not connected to WhatsApp, and this needs it to be.
    #[error("the instance is not connected to WhatsApp")]
    NotConnected,
    /// A queue is full; nothing was done.
    #[error("too much is queued already")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
    /// A part that is needed does not answer; nothing was done.
    #[error("unavailable: {detail}")]
    Unavailable {
        /// What does not answer, for humans.
        detail: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// What the call is for ends, moves to another node or starts again at this moment; nothing was done.
    #[error("{detail}")]
    Moving {
        /// What goes on, for humans.
        detail: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// Another gateway has taken over what the call is for; nothing was done.
    #[error("another gateway on the same database has taken over; nothing was done")]
    Moved,
    /// The answer did not come in time; it may or may not have been carried out.
    #[error("the answer did not come in time")]
    Timeout,
    /// The idempotency key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
    /// The recipient is of a kind that cannot be sent to.
    #[error("{detail}")]
    UnsupportedRecipient {
        /// What kind, for humans.
        detail: String,
    },
    /// The policy of the instance forbids it.
    #[error("{detail}")]
    PolicyViolation {
        /// JSON name of the field that is against it.
        field: &'static str,
        /// What the policy says, for humans.
        detail: String,
    },
    /// A field's value cannot be accepted.
    #[error("{detail}")]
    Invalid {
        /// JSON name of the field.
        field: &'static str,
        /// What is wrong, for humans.
        detail: String,
    },
    /// A unique name stands against it.
    #[error("{detail}")]
    Conflict {
        /// What stands against it, for humans.
        detail: String,
    },
    /// The tenant has as many of these as it may have.
    #[error("{detail}")]
    LimitReached {
        /// What the limit is, for humans.
        detail: String,
    },
    /// WhatsApp refused or failed.
    #[error("{detail}")]
    UpstreamFailed {
        /// What it said, for humans.
        detail: String,
    },
    /// A fault of Roost; the detail is for its logs only.
    #[error("internal fault: {detail}")]
    Internal {
        /// What happened; not for clients.
        detail: String,
    },
}

/// What a caller is told to wait when nothing better is known.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

impl CallError {
    /// The public code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound => ErrorCode::NotFound,
            Self::WrongState { .. } | Self::WrongMessage { .. } | Self::Conflict { .. } => {
                ErrorCode::WrongState
            }
            Self::NotConnected => ErrorCode::NotConnected,
            Self::Overloaded { .. } => ErrorCode::Overloaded,
            Self::Unavailable { .. } | Self::Moving { .. } | Self::Moved => ErrorCode::Unavailable,
            Self::Timeout => ErrorCode::Timeout,
            Self::IdempotencyKeyReused => ErrorCode::IdempotencyKeyReused,
            Self::UnsupportedRecipient { .. } => ErrorCode::UnsupportedRecipient,
            Self::PolicyViolation { .. } => ErrorCode::PolicyViolation,
            Self::Invalid { .. } => ErrorCode::ValidationFailed,
            Self::LimitReached { .. } => ErrorCode::LimitReached,
            Self::UpstreamFailed { .. } => ErrorCode::UpstreamFailed,
            Self::Internal { .. } => ErrorCode::Internal,
        }
    }

    /// When the same call may be tried again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after }
            | Self::Unavailable { retry_after, .. }
            | Self::Moving { retry_after, .. } => Some(*retry_after),
            Self::Moved => Some(RETRY_AFTER),
            _ => None,
        }
    }

    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::Unavailable {
            detail: detail.into(),
            retry_after: RETRY_AFTER,
        }
    }

    pub(crate) fn moving(detail: impl Into<String>) -> Self {
        Self::Moving {
            detail: detail.into(),
            retry_after: RETRY_AFTER,
        }
    }

    pub(crate) fn overloaded() -> Self {
        Self::Overloaded {
            retry_after: RETRY_AFTER,
        }
    }
}

impl From<StoreError> for CallError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound,
            StoreError::Fenced => Self::Moved,
            StoreError::IdempotencyKeyReused => Self::IdempotencyKeyReused,
            StoreError::Conflict(detail) => Self::Conflict { detail },
            StoreError::NeverWritten => Self::PolicyViolation {
                field: "to",
                detail: "the instance is reply_only: it may write to this chat once somebody has written to it there"
                    .to_owned(),
            },
            StoreError::Overloaded => Self::overloaded(),
            StoreError::Unavailable(detail) => Self::unavailable(detail),
            StoreError::Corrupt(detail) => Self::Internal { detail },
        }
    }
}

impl From<AddressError> for CallError {
    fn from(error: AddressError) -> Self {
        Self::Invalid {
            field: "to",
            detail: error.to_string(),
        }
    }
}
