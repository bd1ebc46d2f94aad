//! The public list of error codes. Clients match on these, so a code never changes its meaning.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident => $text:literal,)*) => {
        /// A public error code, in JSON its snake_case name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code's name in the API.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// The body is not well-formed JSON of the expected shape.
    InvalidBody => "invalid_body",
    /// A field, parameter or header has a value that cannot be accepted.
    ValidationFailed => "validation_failed",
    /// A cursor was not made by this list.
    InvalidCursor => "invalid_cursor",
    /// No key, or one that is not valid.
    Unauthorized => "unauthorized",
    /// The key is valid and may not do this.
    Forbidden => "forbidden",
    /// No such resource in this tenant, or no such route.
    NotFound => "not_found",
    /// The route exists with other methods.
    MethodNotAllowed => "method_not_allowed",
    /// None of the types in `Accept` can be produced.
    NotAcceptable => "not_acceptable",
    /// The body is not `application/json`.
    UnsupportedMediaType => "unsupported_media_type",
    /// The body is longer than the limit.
    PayloadTooLarge => "payload_too_large",
    /// The resource is in a state in which this cannot be done.
    WrongState => "wrong_state",
    /// The instance is not connected to WhatsApp, and this needs it to be.
    NotConnected => "not_connected",
    /// The recipient is of a kind that cannot be sent to.
    UnsupportedRecipient => "unsupported_recipient",
    /// The same idempotency key came with another request.
    IdempotencyKeyReused => "idempotency_key_reused",
    /// The first request with this idempotency key is still being worked on.
    IdempotencyInProgress => "idempotency_in_progress",
    /// A tenant has as many of these as it may have.
    LimitReached => "limit_reached",
    /// A rate limit is reached; the request was not taken. Which one stands in the detail.
    RateLimited => "rate_limited",
    /// The tenant is suspended by the operator.
    TenantSuspended => "tenant_suspended",
    /// The policy of the instance forbids it, for example a message to a chat that never wrote first.
    PolicyViolation => "policy_violation",
    /// A queue is full; the request was not taken.
    Overloaded => "overloaded",
    /// A part that is needed does not answer; the request was not taken.
    Unavailable => "unavailable",
    /// The answer did not come in time; the request may or may not have been carried out.
    Timeout => "timeout",
    /// WhatsApp refused or failed.
    UpstreamFailed => "upstream_failed",
    /// A fault of Roost.
    Internal => "internal",
}

impl ErrorCode {
    /// Whether the same request may succeed later.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimited
                | Self::Overloaded
                | Self::Unavailable
                | Self::Timeout
                | Self::UpstreamFailed
                | Self::IdempotencyInProgress
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_written_as_it_is_serialised() {
        for &code in ErrorCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
