//! Whether a connection has requests at work, and for how long it had none.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// Requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request at work; dropped with the last byte of its answer.
#[derive(Debug)]
pub(super) struct Working(Arc<Activity>);

impl Activity {
    pub(super) fn begin(self: &Arc<Self>) -> Working {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Working(Arc::clone(self))
    }

    /// Ends when nothing was at work for this long, at the latest after twice the time: looking now
    /// and then costs requests nothing.
    pub(super) async fn rested(&self, time: Duration) {
        let seen = || {
            (
                self.begun.load(Ordering::Relaxed),
                self.ended.load(Ordering::Relaxed),
            )
        };
        let mut last = seen();
        loop {
            tokio::time::sleep(time).await;
            let now = seen();
            if now == last && now.0 == now.1 {
                return;
            }
            last = now;
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// The body of an answer, which is work until it has been written.
pub(super) struct Counted {
    body: Body,
    _working: Working,
}

impl Counted {
    pub(super) fn new(body: Body, working: Working) -> Self {
        Self {
            body,
            _working: working,
        }
    }
}

impl hyper::body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
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
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_rests_only_when_nothing_is_at_work() {
        let rest = Duration::from_secs(10);
        let activity = Arc::new(Activity::default());
        activity.rested(rest).await;
        let working = activity.begin();
        let counted = Counted::new(Body::empty(), working);
        let long = tokio::time::timeout(10 * rest, activity.rested(rest)).await;
        assert!(long.is_err(), "a long answer is work");
        drop(counted);
        activity.rested(rest).await;
    }
}
