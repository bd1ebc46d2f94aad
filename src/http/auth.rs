//! Who calls: API keys, read from `Authorization: Bearer` or `X-API-Key`.
//!
//! A tenant's key reaches that tenant's resources and nothing else; an operator's key reaches
//! `/v1/operator` and nothing else.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use roost_domain::api_key::{Credential, Principal};
use roost_domain::{ErrorCode, TenantId};
use subtle::ConstantTimeEq;

use super::problem::{Answer, Problem};
use super::state::{Gateway, Http};
use crate::api_key::KeyText;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// How long a key's row is believed. A key that is removed works on for at most this long.
const CACHED_FOR: Duration = Duration::from_secs(30);
const CACHED_MAX: usize = 10_000;

/// The tenant that calls.
pub struct Tenant(pub TenantId);

/// The operator calls.
pub struct Operator;

/// Rows of keys that were used a moment ago, so that a call reads no key from the database.
#[derive(Default)]
pub struct KeyCache(Mutex<HashMap<String, (Instant, Credential)>>);

impl KeyCache {
    fn get(&self, prefix: &str) -> Option<Credential> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rows.get(prefix)
            .filter(|(read_at, _)| read_at.elapsed() < CACHED_FOR)
            .map(|(_, found)| found.clone())
    }

    fn put(&self, found: Credential) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.len() >= CACHED_MAX {
            rows.retain(|_, (read_at, _)| read_at.elapsed() < CACHED_FOR);
            if rows.len() >= CACHED_MAX {
                rows.clear();
            }
        }
        rows.insert(found.secret.prefix.clone(), (Instant::now(), found));
    }
}

impl FromRequestParts<Http> for Tenant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, http: &Http) -> Answer<Self> {
        match principal(&parts.headers, http.gateway()?).await? {
            Principal::Tenant(tenant) => Ok(Self(tenant)),
            Principal::Operator => Err(Problem::new(
                ErrorCode::Forbidden,
                "an operator key reaches /v1/operator only; use a tenant's key",
            )),
        }
    }
}

impl FromRequestParts<Http> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, http: &Http) -> Answer<Self> {
        match principal(&parts.headers, http.gateway()?).await? {
            Principal::Operator => Ok(Self),
            Principal::Tenant(_) => Err(Problem::new(ErrorCode::Forbidden, "this needs an operator key")),
        }
    }
}

async fn principal(headers: &HeaderMap, gateway: &Gateway) -> Answer<Principal> {
    let text = credential(headers)?;
    let key = KeyText::parse(text).ok_or_else(|| refused("this is not an API key; keys begin with rst_"))?;
    let row = match gateway.keys.get(key.prefix()) {
        Some(row) => row,
        None => {
            let row = gateway.store.credential(key.prefix()).await?;
            let row = row.ok_or_else(|| refused("the API key is not valid"))?;
            gateway.keys.put(row.clone());
            row
        }
    };
    let hash = gateway.store.key_hash(key.reveal());
    if bool::from(hash.ct_eq(&row.secret.hash)) {
        Ok(row.key.principal)
    } else {
        Err(refused("the API key is not valid"))
    }
}

fn credential(headers: &HeaderMap) -> Answer<&str> {
    let bearer = headers.get(header::AUTHORIZATION);
    let plain = headers.get(X_API_KEY);
    match (bearer, plain) {
        (Some(_), Some(_)) => Err(refused("send either Authorization or X-API-Key, not both")),
        (Some(value), None) => {
            let text = value.to_str().unwrap_or_default();
            let (scheme, key) = text.split_once(' ').unwrap_or((text, ""));
            if scheme.eq_ignore_ascii_case("bearer") {
                Ok(key.trim())
            } else {
                Err(refused("send Authorization: Bearer <API key>"))
            }
        }
        (None, Some(value)) => Ok(value.to_str().unwrap_or_default()),
        (None, None) => Err(refused(
            "send an API key as Authorization: Bearer <key> or X-API-Key: <key>",
        )),
    }
}

fn refused(detail: &str) -> Problem {
    Problem::new(ErrorCode::Unauthorized, detail).header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"roost\""),
    )
}
