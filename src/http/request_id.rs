//! Request ids: the client's own when it is sane, else a new one. Every answer carries it.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use roost_domain::Clock;
use roost_domain::time::Entropy;

/// The header in which it comes and goes.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

const BYTES_MAX: usize = 128;

/// Id of one request.
#[derive(Debug, Clone)]
pub struct RequestId(std::sync::Arc<str>);

impl RequestId {
    /// The client's id, or a new one.
    pub fn of(headers: &HeaderMap, clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
        let given = headers
            .get(HEADER)
            .and_then(|value| value.to_str().ok())
            .filter(|text| is_sane(text));
        Self(given.map_or_else(|| make(clock, entropy).into(), Into::into))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a header's value.
    pub fn header_value(&self) -> HeaderValue {
        // Only visible ASCII gets this far, so the fallback is never taken.
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("invalid"))
    }
}

/// Ids go into logs as they are: nothing that could forge a line or break a field.
fn is_sane(text: &str) -> bool {
    (1..=BYTES_MAX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(&byte))
}

fn make(clock: &dyn Clock, entropy: &dyn Entropy) -> String {
    let unix_ms = u64::try_from(clock.now().unix_ms()).unwrap_or_default();
    format!("req_{}", ulid::Ulid::from_parts(unix_ms, entropy.bits()))
}
