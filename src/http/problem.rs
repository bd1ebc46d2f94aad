//! What is answered when a request cannot be carried out: problem+json (RFC 9457).
//!
//! Public text and private context are apart: `detail` is for the client; a `source` is for the log
//! and never leaves the process.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use roost_actors::{CallError, OperatorError, StreamError};
use roost_domain::ErrorCode;
use roost_domain::store::StoreError;
use serde::Serialize;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;
use utoipa::{PartialSchema, ToSchema};

use crate::access::AccessError;

/// One field, parameter or header that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// JSON pointer into the body; for parameters and headers `/query/<name>` and `/header/<name>`.
    #[schema(example = "/to")]
    pub pointer: String,
    /// What is wrong with it.
    pub detail: String,
    /// What kind of fault it is, for machines.
    #[schema(example = "invalid")]
    pub code: &'static str,
}

/// An answer other than success.
#[derive(Debug, Clone)]
pub struct Problem {
    code: ErrorCode,
    detail: String,
    errors: Vec<FieldError>,
    headers: Vec<(HeaderName, HeaderValue)>,
    source: Option<String>,
}

/// What a handler returns.
pub type Answer<T> = Result<T, Problem>;

/// A problem on its way out, kept beside the response until the request id is known.
#[derive(Clone)]
pub struct Pending(Box<Problem>);

/// Why a request was not carried out (RFC 9457).
#[derive(Serialize, ToSchema)]
struct Body<'a> {
    /// Names the kind of problem.
    #[schema(
        format = "uri",
        pattern = "^urn:roost:problem:[a-z_]+$",
        example = "urn:roost:problem:not_found"
    )]
    r#type: String,
    /// The kind of problem, for humans.
    #[schema(example = "Not found")]
    title: &'static str,
    /// Status of the answer.
    #[schema(minimum = 400, maximum = 599, example = 404)]
    status: u16,
    code: ErrorCode,
    /// What happened, for humans.
    #[schema(example = "there is no such resource")]
    detail: &'a str,
    /// Id of the request, as in `X-Request-Id`.
    #[schema(example = "req_01M83J3RNS5WCYMV4E0FKR8EBN")]
    request_id: &'a str,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// What is wrong, where a field, a parameter or a header is to blame.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

/// Status and title of each code. No catch-all arm: a new code has to decide.
fn shape(code: ErrorCode) -> (StatusCode, &'static str) {
    match code {
        ErrorCode::InvalidBody => (StatusCode::BAD_REQUEST, "The body cannot be read"),
        ErrorCode::ValidationFailed => (StatusCode::UNPROCESSABLE_ENTITY, "A value cannot be accepted"),
        ErrorCode::InvalidCursor => (StatusCode::BAD_REQUEST, "The cursor does not belong to this list"),
        ErrorCode::Unauthorized => (StatusCode::UNAUTHORIZED, "A valid API key is needed"),
        ErrorCode::Forbidden => (StatusCode::FORBIDDEN, "This key may not do that"),
        ErrorCode::NotFound => (StatusCode::NOT_FOUND, "Not found"),
        ErrorCode::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "This route has other methods"),
        ErrorCode::NotAcceptable => (
            StatusCode::NOT_ACCEPTABLE,
            "None of the accepted types can be produced",
        ),
        ErrorCode::UnsupportedMediaType => (
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The body must be application/json",
        ),
        ErrorCode::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too long"),
        ErrorCode::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "The body arrived too slowly"),
        ErrorCode::WrongState => (StatusCode::CONFLICT, "Not possible in this state"),
        ErrorCode::NotConnected => (StatusCode::CONFLICT, "The instance is not connected"),
        ErrorCode::UnsupportedRecipient => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "This kind of recipient cannot be sent to",
        ),
        ErrorCode::IdempotencyKeyReused => (
            StatusCode::UNPROCESSABLE_ENTITY,
            "The idempotency key was used for another request",
        ),
        ErrorCode::IdempotencyInProgress => {
            (StatusCode::CONFLICT, "The first request is still being worked on")
        }
        ErrorCode::LimitReached => (StatusCode::FORBIDDEN, "The limit is reached"),
        ErrorCode::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "A rate limit is reached"),
        ErrorCode::TenantSuspended => (StatusCode::FORBIDDEN, "The tenant is suspended"),
        ErrorCode::PolicyViolation => (StatusCode::FORBIDDEN, "The policy of the instance forbids it"),
        ErrorCode::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "Too much at once"),
        ErrorCode::Unavailable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "A part that is needed does not answer",
        ),
        ErrorCode::Timeout => (StatusCode::GATEWAY_TIMEOUT, "The answer did not come in time"),
        ErrorCode::UpstreamFailed => (StatusCode::BAD_GATEWAY, "WhatsApp refused or failed"),
        ErrorCode::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "A fault of Roost"),
    }
}

/// The body's schema and those it needs, by their names.
pub fn schemas() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![("Problem".to_owned(), Body::schema())];
    Body::schemas(&mut schemas);
    schemas
}

impl Problem {
    /// A problem with this code and this text for the client.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let problem = Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            headers: Vec::new(),
            source: None,
        };
        if code.is_retryable() {
            problem.retry_after(1)
        } else {
            problem
        }
    }

    /// No such thing in this tenant.
    pub fn not_found(what: &str) -> Self {
        Self::new(ErrorCode::NotFound, format!("there is no such {what}"))
    }

    /// A fault of Roost; the source goes to the log only.
    pub fn internal(source: impl Into<String>) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(ErrorCode::Internal, "the fault is in the log of the gateway")
        }
    }

    /// Fields that cannot be accepted.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [one] => format!("{}: {}", one.pointer, one.detail),
            many => format!("{} values cannot be accepted; see errors", many.len()),
        };
        Self {
            errors,
            ..Self::new(ErrorCode::ValidationFailed, detail)
        }
    }

    /// One field that cannot be accepted.
    pub fn field(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self::fields(vec![FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
            code,
        }])
    }

    /// Points at the field that is the cause.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>, code: &'static str) -> Self {
        let detail = self.detail.clone();
        self.errors.push(FieldError {
            pointer: pointer.into(),
            detail,
            code,
        });
        self
    }

    /// What happened, for the log only.
    #[must_use]
    pub fn because(mut self, source: impl Into<String>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// When the client may come back, in seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Adds, or replaces, a header of the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value));
        self
    }

    /// Its code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// Its HTTP status.
    pub fn status(&self) -> StatusCode {
        shape(self.code).0
    }

    /// What happened, for the log.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Pointers of the fields that are at fault.
    pub fn pointers(&self) -> Vec<&str> {
        self.errors.iter().map(|error| error.pointer.as_str()).collect()
    }

    /// What happened, for the client.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The answer with its body.
    pub fn render(self, request_id: &str) -> Response {
        let (status, title) = shape(self.code);
        let body = Body {
            r#type: format!("urn:roost:problem:{}", self.code.as_str()),
            title,
            status: status.as_u16(),
            code: self.code,
            detail: &self.detail,
            request_id,
            retryable: self.code.is_retryable(),
            errors: &self.errors,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers);
        response
    }
}

impl Pending {
    /// The problem.
    pub fn problem(&self) -> &Problem {
        &self.0
    }

    /// Adds, or replaces, headers of the answer.
    pub fn add_headers(&mut self, headers: HeaderMap) {
        for (name, value) in headers {
            if let Some(name) = name {
                self.0.headers.retain(|(other, _)| *other != name);
                self.0.headers.push((name, value));
            }
        }
    }

    /// The problem itself.
    pub fn into_problem(self) -> Problem {
        *self.0
    }
}

/// The body is written by the outermost layer, which knows the request id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Pending(Box::new(self)));
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::new(ErrorCode::NotFound, "there is no such resource"),
            StoreError::Fenced => {
                Self::new(ErrorCode::Unavailable, CallError::Moved.to_string()).retry_after(1)
            }
            StoreError::IdempotencyKeyReused => idempotency_key_reused(),
            StoreError::Conflict(detail) => Self::new(ErrorCode::WrongState, detail),
            StoreError::NeverWritten => CallError::from(StoreError::NeverWritten).into(),
            StoreError::Overloaded => Self::new(ErrorCode::Overloaded, "the write queue is full"),
            StoreError::Unavailable(source) => {
                Self::new(ErrorCode::Unavailable, "the database does not answer").because(source)
            }
            StoreError::Corrupt(source) => Self::internal(source),
        }
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        let detail = error.to_string();
        match error {
            AccessError::Store(error) => error.into(),
            AccessError::Call(error) => error.into(),
            AccessError::Busy => Self::new(ErrorCode::Overloaded, detail),
            AccessError::TooManyKeys { .. } => Self::new(ErrorCode::LimitReached, detail),
            AccessError::NotCovered => Self::new(ErrorCode::Forbidden, detail),
            AccessError::Stopping => Self::new(ErrorCode::Unavailable, detail),
        }
    }
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        let code = error.code();
        let retry_after = error.retry_after().map(|wait| wait.as_secs().max(1));
        let detail = error.to_string();
        let problem = match error {
            CallError::NotFound => Self::new(code, "there is no such resource"),
            CallError::Unavailable { detail, .. } | CallError::Moving { detail, .. } => {
                Self::new(code, "a part that is needed does not answer; nothing was done").because(detail)
            }
            CallError::IdempotencyKeyReused => idempotency_key_reused(),
            CallError::UnsupportedRecipient { detail } => Self::new(code, detail).at("/to", "unsupported"),
            CallError::PolicyViolation { field, detail } => {
                Self::new(code, detail).at(pointer(field), "policy")
            }
            CallError::Invalid { field, detail } => Self::field(pointer(field), "invalid", detail),
            CallError::Internal { detail } => Self::internal(detail),
            CallError::WrongState { .. }
            | CallError::WrongMessage { .. }
            | CallError::NotConnected
            | CallError::Overloaded { .. }
            | CallError::Moved
            | CallError::Timeout
            | CallError::Conflict { .. }
            | CallError::LimitReached { .. }
            | CallError::UpstreamFailed { .. } => Self::new(code, detail),
        };
        match retry_after {
            Some(seconds) => problem.retry_after(seconds),
            None => problem,
        }
    }
}

impl From<OperatorError> for Problem {
    fn from(error: OperatorError) -> Self {
        let detail = error.to_string();
        match error {
            OperatorError::NoSuchActor => Self::new(ErrorCode::NotFound, detail),
            OperatorError::NoSuchNode { .. } => Self::field("/query/node", "unknown", detail),
            OperatorError::WhichNode => Self::field("/query/node", "missing", detail),
            OperatorError::Unreachable { .. } | OperatorError::Moving => {
                Self::new(ErrorCode::Unavailable, detail)
            }
            OperatorError::Unanswered { .. } => Self::new(ErrorCode::Timeout, detail),
            OperatorError::NoCluster | OperatorError::LastNode { .. } => {
                Self::new(ErrorCode::WrongState, detail)
            }
            OperatorError::Rows(source) => {
                Self::new(ErrorCode::Unavailable, detail).because(source.to_string())
            }
            OperatorError::Call(error) => error.into(),
        }
    }
}

/// Points at a field; at the whole body, when it has no name here.
fn pointer(field: &str) -> String {
    if field.is_empty() {
        String::new()
    } else {
        format!("/{field}")
    }
}

impl From<StreamError> for Problem {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::TooMany => Self::new(
                ErrorCode::Overloaded,
                "this node has as many open streams as it may have",
            ),
            StreamError::Unavailable(source) => {
                Self::new(ErrorCode::Unavailable, "the event log does not answer").because(source)
            }
            StreamError::Closed => Self::new(ErrorCode::Unavailable, "the gateway is stopping"),
        }
    }
}

/// The answer to an idempotency key that comes with another request.
pub fn idempotency_key_reused() -> Problem {
    Problem::new(
        ErrorCode::IdempotencyKeyReused,
        "use a new Idempotency-Key for a new request",
    )
    .at("/header/idempotency-key", "reused")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_an_error_status_and_retryable_ones_say_when() {
        for &code in ErrorCode::ALL {
            let problem = Problem::new(code, "x");
            assert!(problem.status().as_u16() >= 400, "{code:?}");
            let response = problem.render("req");
            assert_eq!(
                response.headers()[header::CONTENT_TYPE],
                "application/problem+json"
            );
            assert_eq!(
                response.headers().contains_key(header::RETRY_AFTER),
                code.is_retryable(),
                "{code:?}"
            );
        }
    }
}
