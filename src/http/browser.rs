//! What browsers are told about every answer: which pages may read it, and that it is nothing to show,
//! to keep or to guess the type of.

use std::sync::LazyLock;

use axum::extract::Request;
use axum::http::Method;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::config::{Cors, Origin};

/// What an answer has unless its route says otherwise.
static UNLESS_SET: LazyLock<[(HeaderName, HeaderValue); 5]> = LazyLock::new(|| {
    [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        ),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ]
});

/// Headers that scripts may send beside those that are always allowed.
const SENT: [&str; 7] = [
    "accept",
    "authorization",
    "content-type",
    "idempotency-key",
    "last-event-id",
    "x-api-key",
    "x-request-id",
];

/// Headers that scripts may read.
const READ: [&str; 9] = [
    "allow",
    "idempotency-replayed",
    "location",
    "ratelimit-limit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "ratelimit-reset",
    "retry-after",
    "x-request-id",
];

/// The layer of the headers that protect.
pub async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers: &mut HeaderMap = response.headers_mut();
    for (name, value) in UNLESS_SET.iter() {
        if !headers.contains_key(name) {
            headers.insert(name.clone(), value.clone());
        }
    }
    response
}

/// The layer that lets pages of other origins call; `None` when none may. Cookies play no part: a call
/// needs its key whoever makes it.
pub fn cors(config: &Cors) -> Option<CorsLayer> {
    if config.allowed_origins.is_empty() {
        return None;
    }
    let mut origins = Vec::new();
    let mut any = false;
    for origin in &config.allowed_origins {
        match origin {
            Origin::Any => any = true,
            Origin::Of(value) => origins.push(value.clone()),
        }
    }
    let origins = if any {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins)
    };
    let methods = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    Some(
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods(methods)
            .allow_headers(SENT.map(HeaderName::from_static))
            .expose_headers(READ.map(HeaderName::from_static))
            .max_age(config.max_age),
    )
}
