//! Which answers are compressed.
//!
//! No answer mixes one party's secret with what another party chose, and no browser adds a credential
//! by itself: the length of an answer tells a listener nothing worth guessing for.

use axum::http::{HeaderMap, header};
use hyper::body::Body;
use tower_http::compression::{CompressionLayer, CompressionLevel, Predicate};

use crate::config;

/// Text of a known length that is worth it. Streams have no length, and images are compressed already.
#[derive(Debug, Clone, Copy)]
pub struct WorthIt {
    bytes_min: u64,
}

impl Predicate for WorthIt {
    fn should_compress<B: Body>(&self, response: &axum::http::Response<B>) -> bool {
        let long = response
            .body()
            .size_hint()
            .exact()
            .is_some_and(|bytes| bytes >= self.bytes_min);
        long && is_text(response.headers())
    }
}

fn is_text(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let essence = value.and_then(|value| value.split(|byte| *byte == b';').next());
    match essence.map(<[u8]>::trim_ascii) {
        Some(b"text/event-stream") | None => false,
        Some(essence) => {
            essence.starts_with(b"text/") || essence.ends_with(b"json") || essence.ends_with(b"javascript")
        }
    }
}

/// The layer; `None` when it is switched off.
pub fn layer(config: &config::Http) -> Option<CompressionLayer<WorthIt>> {
    let worth_it = WorthIt {
        bytes_min: config.compression_bytes_min as u64,
    };
    config.compression.then(|| {
        CompressionLayer::new()
            .quality(CompressionLevel::Fastest)
            .compress_when(worth_it)
    })
}
