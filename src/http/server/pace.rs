//! How fast a body has to arrive.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::config;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The slowest a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    grace: Duration,
    bytes_per_second: u32,
}

/// A body came more slowly than it may.
#[derive(Debug, thiserror::Error)]
#[error("the body arrives too slowly")]
pub struct TooSlow;

impl Pace {
    pub(super) fn new(config: &config::Http) -> Self {
        Self {
            grace: config.body_grace,
            bytes_per_second: u32::try_from(config.body_bytes_per_second_min).unwrap_or(u32::MAX),
        }
    }

    /// How long the client may take until the byte after so many.
    fn allowed(&self, received: u64) -> Duration {
        // The check of the configuration makes this at least 1.
        let per_second = u64::from(self.bytes_per_second.max(1));
        self.grace + Duration::from_millis(received.saturating_mul(1000) / per_second)
    }
}

/// A request's body that breaks off when it comes too slowly. Time runs from when it is first waited
/// for.
pub(super) struct Paced<B = Incoming> {
    body: B,
    pace: Pace,
    received: u64,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> Paced<B> {
    pub(super) fn new(body: B, pace: Pace) -> Self {
        Self {
            body,
            pace,
            received: 0,
            waiting: None,
        }
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some(Ok(frame)) = &frame {
                this.received += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let allowed = this.pace.allowed(this.received);
        let (since, sleep) = this.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(sleep_until(now + allowed)))
        });
        let deadline = *since + allowed;
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Some(Err(Box::new(TooSlow))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    /// A body of so many pieces of 100 bytes, one every so often.
    async fn read(pieces: usize, every: Duration) -> Result<usize, BoxError> {
        let pieces = futures::stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(every).await;
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(&[b'x'; 100])))
        });
        let pace = Pace {
            grace: Duration::from_secs(10),
            bytes_per_second: 100,
        };
        let body = Paced::new(StreamBody::new(Box::pin(pieces)), pace);
        Ok(body.collect().await?.to_bytes().len())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_has_to_keep_the_pace() {
        assert_eq!(read(100, Duration::from_millis(900)).await.unwrap(), 10_000);
        for (pieces, every) in [(1, 11_000), (100, 1_200)] {
            let error = read(pieces, Duration::from_millis(every)).await.unwrap_err();
            assert!(error.is::<TooSlow>(), "{every}: {error}");
        }
    }
}
