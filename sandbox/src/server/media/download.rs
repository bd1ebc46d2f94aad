//! Downloads: `GET <direct path>`, whole or a range of it.
//!
//! An address is its own permission, as on the real hosts: whoever has it may fetch it. A token that
//! is shown all the same has to be a good one, so that clients that ought to renew theirs notice.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;

use super::blob::{BLOCK_BYTES, Blob};
use super::fault::Verdict;
use super::path::{self, parameter};
use super::store::Stored;
use super::upload::Failure;
use crate::server::fault::MediaAction;
use crate::server::service::Service;
use crate::server::sync::now_s;

pub(super) async fn handle(State(service): State<Arc<Service>>, request: Request) -> Response {
    let address = request.uri().path_and_query().map_or("", |path| path.as_str());
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Failure::new(StatusCode::METHOD_NOT_ALLOWED, "the path has no such method").into_response();
    }
    match open(&service, address) {
        Ok((stored, blob, verdict)) => {
            if let Some(status) = verdict.status.and_then(|code| StatusCode::from_u16(code).ok()) {
                return Failure::new(status, "the sandbox was told to answer this").into_response();
            }
            service.counters.media_downloads.one();
            answer(&stored, blob, request.headers(), verdict)
        }
        Err(failure) => failure.into_response(),
    }
}

fn open(service: &Service, address: &str) -> Result<(Stored, Arc<Blob>, Verdict), Failure> {
    let media = &service.media;
    let gone = |status, detail: &str| Failure::new(status, detail);
    let query = address.split_once('?').map_or("", |(_, query)| query);
    let auth = parameter(query, "auth");
    let holder = match auth.as_deref() {
        Some(token) => {
            let checked = media.tokens.check(Some(token), now_s());
            Some(checked.map_err(|error| Failure::new(StatusCode::UNAUTHORIZED, error))?)
        }
        None => None,
    };
    let named = path::read(address);
    let (stored, blob) = named
        .and_then(|named| media.store.find(named))
        .ok_or_else(|| gone(StatusCode::NOT_FOUND, "no file has this address"))?;
    if stored.is_expired() {
        return Err(gone(
            StatusCode::GONE,
            "the address has expired; ask for a new one",
        ));
    }
    let verdict = Verdict::of(service, holder, MediaAction::Download, stored.row.bytes);
    Ok((stored, blob, verdict))
}

fn answer(stored: &Stored, blob: Arc<Blob>, headers: &HeaderMap, verdict: Verdict) -> Response {
    let bytes = stored.row.bytes;
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let (status, range) = match asked.map(|text| ranged(text, bytes)) {
        None | Some(Asked::Whole) => (StatusCode::OK, 0..bytes),
        Some(Asked::Part(range)) => (StatusCode::PARTIAL_CONTENT, range),
        Some(Asked::Nothing) => {
            let detail = "the file does not reach that far";
            let mut response = Failure::new(StatusCode::RANGE_NOT_SATISFIABLE, detail).into_response();
            put(&mut response, header::CONTENT_RANGE, format!("bytes */{bytes}"));
            return response;
        }
    };
    let length = range.end - range.start;
    let content_range = format!("bytes {}-{}/{bytes}", range.start, range.end.saturating_sub(1));
    let is_picture = &*stored.row.kind == "picture";
    let mut response = Response::new(body(blob, range, verdict));
    *response.status_mut() = status;
    put(&mut response, header::CONTENT_LENGTH, length.to_string());
    put(&mut response, header::ACCEPT_RANGES, "bytes".to_owned());
    if status == StatusCode::PARTIAL_CONTENT {
        put(&mut response, header::CONTENT_RANGE, content_range);
    }
    let kind = if is_picture {
        "image/jpeg"
    } else {
        "application/octet-stream"
    };
    put(&mut response, header::CONTENT_TYPE, kind.to_owned());
    response
}

fn put(response: &mut Response, name: header::HeaderName, value: String) {
    // All values are digits and plain words.
    if let Ok(value) = HeaderValue::from_str(&value) {
        response.headers_mut().insert(name, value);
    }
}

enum Asked {
    Whole,
    Part(Range<u64>),
    /// A range behind the end.
    Nothing,
}

/// Reads a `Range` header. What is not one range of bytes is answered with everything, as RFC 9110
/// allows.
fn ranged(text: &str, bytes: u64) -> Asked {
    let Some((first, last)) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Asked::Whole;
    };
    let range = match (first.parse::<u64>(), last.parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..bytes.min(last.saturating_add(1)),
        (Ok(first), Err(_)) if last.is_empty() => first..bytes,
        (Err(_), Ok(last)) if first.is_empty() => bytes.saturating_sub(last)..bytes,
        _ => return Asked::Whole,
    };
    if range.start < range.end {
        Asked::Part(range)
    } else {
        Asked::Nothing
    }
}

/// A part of a blob, read as it is sent, no faster than it may be.
fn body(blob: Arc<Blob>, range: Range<u64>, verdict: Verdict) -> Body {
    let end = range.end;
    let length_max = match verdict.bytes_per_second {
        Some(rate) => rate.get().div_ceil(10).min(BLOCK_BYTES as u64),
        None => BLOCK_BYTES as u64,
    };
    let blocks = stream::try_unfold(range.start, move |at| {
        let blob = blob.clone();
        async move {
            if at >= end {
                return Ok(None);
            }
            let length = usize::try_from(length_max.min(end - at)).unwrap_or(BLOCK_BYTES);
            let block = blob.read(at, length).await?;
            if block.is_empty() {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            if let Some(rate) = verdict.bytes_per_second {
                let pause = block.len() as f64 / rate.get() as f64;
                tokio::time::sleep(Duration::from_secs_f64(pause)).await;
            }
            let next = at + block.len() as u64;
            Ok::<_, io::Error>(Some((block, next)))
        }
    });
    Body::from_stream(blocks)
}
