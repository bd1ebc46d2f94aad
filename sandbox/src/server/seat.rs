//! Seats for HTTP connections: a limited number, which nobody holds by keeping silent.
//!
//! A connection is either served or waits for its client: for a request, the rest of one, or that an
//! answer is read. When all seats are taken, a new connection gets the seat of the one that has waited
//! longest, so that a crowd of slow clients displaces itself and not those who get on with it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use axum::body::HttpBody;
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::sync::lock;

pub(super) struct Seats {
    free: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    /// Somebody has begun to wait for a client.
    began: Notify,
}

/// Those that wait for their clients, in the order in which they began to.
#[derive(Default)]
struct Waiting {
    last: u64,
    by_turn: BTreeMap<u64, CancellationToken>,
}

impl Seats {
    pub fn new(seats: usize) -> Arc<Self> {
        Arc::new(Self {
            free: Arc::new(Semaphore::new(seats)),
            waiting: Mutex::default(),
            began: Notify::new(),
        })
    }

    /// A seat, taken from somebody else if need be. Waits while all others are being served; `None`
    /// never comes while the seats are there.
    pub async fn take(self: &Arc<Self>) -> Option<Seat> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Some(self.seat(permit, false));
        }
        loop {
            let longest = lock(&self.waiting).by_turn.pop_first();
            if let Some((_, seat)) = longest {
                seat.cancel();
                let permit = self.free.clone().acquire_owned().await.ok()?;
                return Some(self.seat(permit, true));
            }
            tokio::select! {
                permit = self.free.clone().acquire_owned() => return Some(self.seat(permit.ok()?, false)),
                () = self.began.notified() => {}
            }
        }
    }

    fn seat(self: &Arc<Self>, permit: OwnedSemaphorePermit, is_displacing: bool) -> Seat {
        let seat = Seat {
            seats: self.clone(),
            is_displacing,
            lost: CancellationToken::new(),
            turn: Mutex::default(),
            _permit: permit,
        };
        seat.await_client();
        seat
    }
}

/// One connection's seat, given back when it is dropped.
pub(super) struct Seat {
    seats: Arc<Seats>,
    /// Somebody else had it before.
    pub is_displacing: bool,
    lost: CancellationToken,
    /// Since when it waits for its client, in turns.
    turn: Mutex<Option<u64>>,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// From now on the sandbox waits for the client.
    pub fn await_client(&self) {
        let mut turn = lock(&self.turn);
        let mut waiting = lock(&self.seats.waiting);
        if let Some(former) = turn.take() {
            waiting.by_turn.remove(&former);
        }
        waiting.last += 1;
        let next = waiting.last;
        waiting.by_turn.insert(next, self.lost.clone());
        *turn = Some(next);
        drop(waiting);
        self.seats.began.notify_one();
    }

    /// From now on the client waits for the sandbox.
    pub fn serve(&self) {
        if let Some(turn) = lock(&self.turn).take() {
            lock(&self.seats.waiting).by_turn.remove(&turn);
        }
    }

    /// Waits until somebody else gets the seat.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.serve();
    }
}

/// The body of a request. Until it is there, or nobody wants it any more, the sandbox waits for the
/// client.
pub(super) struct Awaited {
    body: Incoming,
    seat: Arc<Seat>,
}

impl Awaited {
    pub fn new(body: Incoming, seat: Arc<Seat>) -> Self {
        if HttpBody::is_end_stream(&body) {
            seat.serve();
        }
        Self { body, seat }
    }
}

impl HttpBody for Awaited {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || HttpBody::is_end_stream(&self.body) {
            self.seat.serve();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        HttpBody::is_end_stream(&self.body)
    }

    fn size_hint(&self) -> SizeHint {
        HttpBody::size_hint(&self.body)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.seat.serve();
    }
}
