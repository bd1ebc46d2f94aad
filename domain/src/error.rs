//! The public list of error codes. Clients match on these, so a code never changes its meaning.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! codes {
    ($($(#[doc = $meaning:literal])* $name:ident => $text:literal, $remedy:literal;)*) => {
        /// A public error code, in JSON its snake_case name.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode { $($(#[doc = $meaning])* $name,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The code's name in the API.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it says.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($meaning),*).trim_start(),)* }
            }

            /// What a client is to do about it.
            pub fn remedy(self) -> &'static str {
                match self { $(Self::$name => $remedy,)* }
            }
        }
    };
}

codes! {
    /// The body is not well-formed JSON of the expected shape.
    InvalidBody => "invalid_body",
        "Mend the body; `errors` points at the place.";
    /// A field, parameter or header has a value that cannot be accepted.
    ValidationFailed => "validation_failed",
        "Mend what `errors` points at.";
    /// A cursor was not made by this list.
    InvalidCursor => "invalid_cursor",
        "Begin again without `cursor`, or pass `next_cursor` of this list with the same filters.";
    /// No key, or one that is not valid.
    Unauthorized => "unauthorized",
        "Send a valid key, from an allowed network, as `Authorization: Bearer` or `X-API-Key`.";
    /// The key is valid and may not do this.
    Forbidden => "forbidden",
        "Use a key with the scope and the instances that the call needs; the detail names them.";
    /// No such resource in this tenant, or no such route.
    NotFound => "not_found",
        "Check the path and the id, and that the key is of the tenant whose resource it is.";
    /// The route exists with other methods.
    MethodNotAllowed => "method_not_allowed",
        "Use a method that `Allow` names.";
    /// None of the types in `Accept` can be produced.
    NotAcceptable => "not_acceptable",
        "Accept one of the types that the detail names.";
    /// The body is not `application/json`.
    UnsupportedMediaType => "unsupported_media_type",
        "Send `Content-Type: application/json`, in UTF-8, without `Content-Encoding`.";
    /// The body is longer than the limit.
    PayloadTooLarge => "payload_too_large",
        "Send less; the detail names the limit.";
    /// The body arrived too slowly; the request was not taken.
    BodyTimeout => "body_timeout",
        "Send the request again, with its body in one go.";
    /// The resource is in a state in which this cannot be done.
    WrongState => "wrong_state",
        "Read the resource, bring it into a state that fits, and call again.";
    /// The instance is not connected to WhatsApp, and this needs it to be.
    NotConnected => "not_connected",
        "Connect the instance, wait for the state `connected`, and call again.";
    /// The recipient is of a kind that cannot be sent to.
    UnsupportedRecipient => "unsupported_recipient",
        "Send to a recipient of another kind.";
    /// The same idempotency key came with another request.
    IdempotencyKeyReused => "idempotency_key_reused",
        "Use a new key for a new request; repeat a request with the same method, path and body.";
    /// The first request with this idempotency key is still being worked on.
    IdempotencyInProgress => "idempotency_in_progress",
        "Wait as long as `Retry-After` says, and repeat the request with the same key.";
    /// A tenant has as many of these as it may have.
    LimitReached => "limit_reached",
        "Remove some of them, or ask the operator for a higher limit.";
    /// A rate limit is reached; the request was not taken. Which one stands in the detail.
    RateLimited => "rate_limited",
        "Wait as long as `Retry-After` says.";
    /// The tenant is suspended by the operator.
    TenantSuspended => "tenant_suspended",
        "Ask the operator.";
    /// The policy of the instance forbids it, for example a message to a chat that never wrote first.
    PolicyViolation => "policy_violation",
        "Wait until the chat writes first, or change the policy of the instance.";
    /// A queue is full; the request was not taken.
    Overloaded => "overloaded",
        "Wait as long as `Retry-After` says, and send fewer calls at once.";
    /// A part that is needed does not answer; the request was not taken.
    Unavailable => "unavailable",
        "Wait as long as `Retry-After` says; repeat writes with the same `Idempotency-Key`.";
    /// The answer did not come in time; the request may or may not have been carried out.
    Timeout => "timeout",
        "Repeat it with the same `Idempotency-Key`.";
    /// WhatsApp refused or failed.
    UpstreamFailed => "upstream_failed",
        "Try again later; the detail has what WhatsApp said.";
    /// A fault of Roost.
    Internal => "internal",
        "Tell the operator the `request_id`: the log of the gateway has what happened.";
}

impl ErrorCode {
    /// Whether the same request may succeed later.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::BodyTimeout
                | Self::RateLimited
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
            assert!(
                code.meaning().ends_with('.') && code.remedy().ends_with('.'),
                "{code:?}"
            );
        }
    }
}
