//! `GET /openapi.json` and `GET /docs`.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::viewer;
use crate::http::Http;

/// A file that is served as it is until the process ends.
#[derive(Clone)]
pub struct Asset {
    bytes: Bytes,
    media: &'static str,
    tag: HeaderValue,
}

impl Asset {
    /// A file of this type.
    pub fn new(bytes: impl Into<Bytes>, media: &'static str) -> Self {
        let bytes = bytes.into();
        let digest = BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(&bytes)[..12]);
        // Letters, digits, - and _ in quotes, so the fallback is never taken.
        let tag = HeaderValue::from_str(&format!("\"{digest}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Self { bytes, media, tag }
    }

    /// The file, or 304 when the client has it.
    pub fn answer(&self, headers: &HeaderMap) -> Response {
        let known = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || tag.as_bytes() == self.tag.as_bytes());
        let kept = [
            (header::ETAG, self.tag.clone()),
            // It is asked for again each time, and mostly answered 304.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        ];
        if known {
            return (StatusCode::NOT_MODIFIED, kept).into_response();
        }
        let media = [(header::CONTENT_TYPE, HeaderValue::from_static(self.media))];
        (kept, media, self.bytes.clone()).into_response()
    }
}

/// The routes of the document and its viewer, unless they are switched off.
pub fn routes(http: &Http) -> Router<Http> {
    if !http.config().docs {
        return Router::new();
    }
    let document = super::document(http.config(), http.webhooks());
    let document = Asset::new(super::text(&document), "application/json");
    let open = async move |State(_): State<Http>, headers: HeaderMap| document.answer(&headers);
    Router::new()
        .route("/openapi.json", get(open))
        .merge(viewer::routes())
}
