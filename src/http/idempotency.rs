//! `Idempotency-Key`: a POST that comes twice is carried out once and answered alike.
//!
//! Calls that write rows hand the key to the write, so that both commit together. The others are
//! wrapped in [`once`], which keeps the answer after the call; what they do is harmless when it is
//! done twice, so a crash between the two costs nothing but the kept answer.

use std::collections::HashSet;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use roost_domain::store::{Idempotency, Replay};
use roost_domain::{ErrorCode, TenantId, Timestamp};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::problem::{Answer, Problem};
use super::state::Gateway;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that an answer was given before.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const KEY_BYTES: std::ops::RangeInclusive<usize> = 1..=255;

/// What makes a request repeatable: the client's key, and what the request was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeatable {
    key: String,
    fingerprint: [u8; 32],
}

impl Repeatable {
    /// The key in the headers, if there is one.
    pub fn key(headers: &HeaderMap) -> Answer<Option<String>> {
        let mut values = headers.get_all(KEY).iter();
        let Some(value) = values.next() else {
            return Ok(None);
        };
        let wrong = |detail: &str| Problem::field("/header/idempotency-key", "invalid", detail);
        if values.next().is_some() {
            return Err(wrong("given more than once"));
        }
        let bytes = value.as_bytes();
        if !KEY_BYTES.contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(wrong("expected 1 to 255 visible ASCII characters"));
        }
        Ok(Some(bytes.iter().copied().map(char::from).collect()))
    }

    /// A key with the fingerprint of its request.
    pub fn new(key: String, method: &Method, path: &str, body: &[u8]) -> Self {
        let mut hash = Sha256::new();
        for part in [method.as_str().as_bytes(), path.as_bytes(), body] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self {
            key,
            fingerprint: hash.finalize().into(),
        }
    }

    /// As the store keeps it.
    pub fn record(self, status: StatusCode, now: Timestamp, kept_for: Duration) -> Idempotency {
        Idempotency {
            key: self.key,
            fingerprint: self.fingerprint,
            status: status.as_u16(),
            expires_at: now.plus(kept_for),
        }
    }
}

/// Keys whose first request is being worked on.
#[derive(Debug, Clone, Default)]
pub struct InProgress(Arc<Mutex<HashSet<(TenantId, String)>>>);

struct Working {
    all: InProgress,
    entry: (TenantId, String),
}

impl InProgress {
    fn begin(&self, tenant: TenantId, key: &str) -> Answer<Working> {
        let entry = (tenant, key.to_owned());
        // As many entries as there are requests at work, which the edge bounds.
        let new = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(entry.clone());
        if new {
            Ok(Working {
                all: self.clone(),
                entry,
            })
        } else {
            Err(Problem::new(
                ErrorCode::IdempotencyInProgress,
                "the first request with this Idempotency-Key is not answered yet",
            ))
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.all
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.entry);
    }
}

/// An answer given before, given again.
pub fn replayed(replay: Replay) -> Response {
    let status = StatusCode::from_u16(replay.status).unwrap_or(StatusCode::OK);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (REPLAYED, HeaderValue::from_static("true")),
    ];
    (status, headers, replay.body).into_response()
}

/// Carries a call out once. Only success is kept: after a failure the client may try again.
pub async fn once<T: Serialize>(
    gateway: &Gateway,
    tenant: TenantId,
    repeatable: Option<Repeatable>,
    status: StatusCode,
    call: impl Future<Output = Answer<T>>,
) -> Answer<Response> {
    once_keeping(gateway, tenant, repeatable, status, call, |_| None::<T>).await
}

/// The same for an answer that is not to be kept as it is: `kept` gives what is kept in its place.
pub async fn once_keeping<T: Serialize, K: Serialize>(
    gateway: &Gateway,
    tenant: TenantId,
    repeatable: Option<Repeatable>,
    status: StatusCode,
    call: impl Future<Output = Answer<T>>,
    kept: impl FnOnce(&T) -> Option<K>,
) -> Answer<Response> {
    let Some(repeatable) = repeatable else {
        return Ok((status, axum::Json(call.await?)).into_response());
    };
    let _working = gateway.in_progress.begin(tenant, &repeatable.key)?;
    if let Some(replay) = gateway
        .store
        .reply(tenant, &repeatable.key, &repeatable.fingerprint)
        .await?
    {
        return Ok(replayed(replay));
    }
    let written = |error: serde_json::Error| Problem::internal(error.to_string());
    let answer = call.await?;
    let body = serde_json::to_string(&answer).map_err(written)?;
    let in_its_place = kept(&answer).map(|kept| serde_json::to_string(&kept));
    let keep = in_its_place
        .transpose()
        .map_err(written)?
        .unwrap_or_else(|| body.clone());
    let record = gateway.record(repeatable, status);
    gateway.store.keep_reply(tenant, record, keep).await?;
    Ok((
        status,
        [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))],
        body,
    )
        .into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_tells_requests_apart() {
        let of = |method: Method, path: &str, body: &[u8]| Repeatable::new("k".into(), &method, path, body);
        let first = of(Method::POST, "/a", b"b");
        assert_eq!(first, of(Method::POST, "/a", b"b"));
        for other in [
            of(Method::POST, "/ab", b""),
            of(Method::POST, "/a", b"c"),
            of(Method::PUT, "/a", b"b"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn a_key_is_visible_ascii_of_bounded_length() {
        let read = |bytes: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(KEY, HeaderValue::from_bytes(bytes).unwrap());
            Repeatable::key(&headers).map(|key| key.unwrap())
        };
        assert_eq!(read(b"a").unwrap(), "a");
        assert_eq!(read(&[b'k'; 255]).unwrap().len(), 255);
        for wrong in [&b""[..], b"a b", "\u{e9}".as_bytes(), &[b'k'; 256]] {
            assert_eq!(read(wrong).unwrap_err().code(), ErrorCode::ValidationFailed);
        }
    }
}
