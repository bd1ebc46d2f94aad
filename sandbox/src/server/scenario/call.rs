//! A step that makes any call of the control API.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::Value;

use super::step::{Call, CallMethod};
use crate::server::control;
use crate::server::service::Service;
use crate::server::template::{fill, fill_text};

/// The longest answer that is read; files of a phone's messages are the longest there are.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Makes a call, and returns the parts of the answer that have a name.
pub(super) async fn make(
    service: &Arc<Service>,
    call: &Call,
    value_of: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Vec<(String, String)>, String> {
    let method = match call.method {
        CallMethod::Get => Method::GET,
        CallMethod::Post => Method::POST,
        CallMethod::Put => Method::PUT,
        CallMethod::Patch => Method::PATCH,
        CallMethod::Delete => Method::DELETE,
    };
    let body = call.body.as_ref().map(|body| fill(body, value_of).to_string());
    let request = Request::builder()
        .method(method)
        .uri(format!("/sandbox/v1{}", fill_text(&call.path, value_of)))
        .body(Body::from(body.unwrap_or_default()))
        .map_err(|error| error.to_string())?;
    let router = TowerToHyperService::new(control::router(service.clone()));
    let answer = match router.call(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    };
    let status = answer.status();
    let bytes = to_bytes(answer.into_body(), ANSWER_BYTES_MAX).await;
    let bytes = bytes.map_err(|error| error.to_string())?;
    let is_expected = match call.status {
        Some(expected) => status.as_u16() == expected,
        None => status.is_success(),
    };
    if !is_expected {
        let said: String = String::from_utf8_lossy(&bytes).chars().take(500).collect();
        return Err(format!("the answer was {status}: {said}"));
    }
    let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let parts = call.save.iter().map(|(name, pointer)| {
        let part = answer.pointer(pointer).filter(|part| !part.is_null());
        let part = part.ok_or_else(|| format!("the answer has nothing at {pointer}"))?;
        let text = part.as_str().map_or_else(|| part.to_string(), str::to_owned);
        Ok((name.clone(), text))
    });
    parts.collect()
}
