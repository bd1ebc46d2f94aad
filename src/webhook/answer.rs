//! What an endpoint said.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Incoming};
use hyper::header::RETRY_AFTER;
use roost_domain::Timestamp;

/// An answer as far as it has come. Once there is a status, it is an answer.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) status: Option<u16>,
    pub(super) retry_after: Option<Duration>,
    kept: BytesMut,
}

impl Progress {
    /// The head has come.
    pub(super) fn head(&mut self, status: u16, headers: &HeaderMap, now: Timestamp) {
        self.status = Some(status);
        self.retry_after = retry_after(headers, now);
    }

    /// Reads the body for as long as it comes, at most `bytes_max`, and keeps its beginning. A body
    /// that is cut off is dropped, and its connection with it.
    pub(super) async fn read(&mut self, mut body: Incoming, bytes_max: usize, kept_max: usize) {
        let mut read = 0;
        while !body.is_end_stream() {
            // The status has decided: how the body ends does not matter.
            let Some(Ok(frame)) = body.frame().await else {
                return;
            };
            let Ok(data) = frame.into_data() else { continue };
            let wanted = (kept_max - self.kept.len()).min(data.len());
            self.kept.extend_from_slice(&data[..wanted]);
            read += data.len();
            if read >= bytes_max {
                return;
            }
        }
    }

    pub(super) fn body(self) -> Bytes {
        self.kept.freeze()
    }
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let since_epoch = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    let now = Duration::from_millis(now.unix_ms().try_into().ok()?);
    Some(since_epoch.saturating_sub(now))
}
