//! Errors of the control API, as problem+json.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// What went wrong, in a word that never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum ProblemCode {
    NotFound,
    MethodNotAllowed,
    InvalidBody,
    InvalidField,
    InvalidPhoneNumber,
    InvalidQuery,
    BodyTooLarge,
    AccountNotFound,
    AccountExists,
    TooManyAccounts,
    TooManyConnections,
    UnknownCode,
    WrongCode,
    KeyMismatch,
    NoCodeRequested,
    PairingFailed,
    PairingTimedOut,
    TooManyDevices,
    MessageNotFound,
    DeviceNotFound,
    FaultNotFound,
    TooManyFaults,
    ScenarioNotFound,
    TooManyScenarios,
    GroupNotFound,
    GroupForbidden,
    GroupChanged,
    GroupFull,
    TooManyGroups,
    AlreadyMember,
    UnknownInvite,
    InviteReset,
    MediaNotFound,
    MediaUnusable,
    MediaStoreFull,
    QueueFull,
    NotSent,
    CollectionFull,
    CollectionBroken,
    UpgradeRequired,
    Internal,
}

impl ProblemCode {
    fn status(self) -> StatusCode {
        match self {
            Self::NotFound
            | Self::AccountNotFound
            | Self::UnknownCode
            | Self::MessageNotFound
            | Self::DeviceNotFound
            | Self::FaultNotFound
            | Self::ScenarioNotFound
            | Self::GroupNotFound
            | Self::UnknownInvite
            | Self::MediaNotFound => StatusCode::NOT_FOUND,
            Self::GroupForbidden => StatusCode::FORBIDDEN,
            Self::InviteReset => StatusCode::GONE,
            Self::MediaStoreFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::InvalidBody | Self::InvalidQuery => StatusCode::BAD_REQUEST,
            Self::InvalidField
            | Self::InvalidPhoneNumber
            | Self::WrongCode
            | Self::KeyMismatch
            | Self::MediaUnusable => StatusCode::UNPROCESSABLE_ENTITY,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::AccountExists
            | Self::NoCodeRequested
            | Self::PairingFailed
            | Self::TooManyDevices
            | Self::GroupChanged
            | Self::GroupFull
            | Self::AlreadyMember
            | Self::NotSent
            | Self::CollectionBroken => StatusCode::CONFLICT,
            Self::TooManyAccounts
            | Self::TooManyConnections
            | Self::TooManyFaults
            | Self::TooManyScenarios
            | Self::TooManyGroups
            | Self::CollectionFull
            | Self::QueueFull => StatusCode::SERVICE_UNAVAILABLE,
            Self::PairingTimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::UpgradeRequired => StatusCode::UPGRADE_REQUIRED,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

#[derive(Debug)]
pub(in crate::server) struct Problem {
    code: ProblemCode,
    detail: String,
    pointer: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    code: ProblemCode,
    detail: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError<'a>>,
}

#[derive(Serialize)]
struct FieldError<'a> {
    pointer: &'a str,
    detail: &'a str,
}

impl Problem {
    pub(in crate::server) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            pointer: None,
        }
    }

    /// The place in the body and what is wrong there.
    pub(super) fn into_field(self) -> (String, String) {
        (self.pointer.unwrap_or_default(), self.detail)
    }

    /// Names the place in the body, as a JSON pointer; empty means none.
    pub(super) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into()).filter(|pointer| !pointer.is_empty());
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.pointer {
            Some(pointer) => write!(f, "{pointer}: {}", self.detail),
            None => f.write_str(&self.detail),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let errors = self
            .pointer
            .iter()
            .map(|pointer| FieldError {
                pointer,
                detail: &self.detail,
            })
            .collect();
        let body = Body {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("error"),
            status: status.as_u16(),
            code: self.code,
            detail: &self.detail,
            errors,
        };
        let mut response = (status, axum::Json(body)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if status == StatusCode::UPGRADE_REQUIRED {
            response
                .headers_mut()
                .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        response
    }
}
