//! The start gate of a node: how many links are dialled at once and per second.
//!
//! After a restart or a failover thousands of sessions want to connect. Each holds a [`GatePass`]
//! from the moment it dials until its link is connected, shows a pairing code, or ends. Passes are
//! given in the order of asking. A pass is released when it is dropped, also by a killed actor.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;

type Rate = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// Numbers of the start gate, for operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GateView {
    /// Links being dialled now.
    pub dialing: usize,
    /// Sessions that wait for their turn.
    pub waiting: usize,
    /// Links at most being dialled at once.
    pub dials_max: usize,
    /// Dials at most per second.
    pub dials_per_second: u32,
    /// Dials since the start.
    pub dialed: u64,
}

/// See the module.
pub(crate) struct StartGate {
    slots: Arc<Semaphore>,
    rate: Rate,
    clock: MonotonicClock,
    dials_max: usize,
    dials_per_second: NonZeroU32,
    waiting: AtomicUsize,
    dialed: AtomicU64,
}

/// The right to dial, until dropped.
#[derive(Debug)]
pub(crate) struct GatePass(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl StartGate {
    pub fn new(dials_max: usize, dials_per_second: NonZeroU32) -> Self {
        let clock = MonotonicClock;
        Self {
            slots: Arc::new(Semaphore::new(dials_max)),
            rate: RateLimiter::direct_with_clock(Quota::per_second(dials_per_second), clock.clone()),
            clock,
            dials_max,
            dials_per_second,
            waiting: AtomicUsize::new(0),
            dialed: AtomicU64::new(0),
        }
    }

    /// Waits for a turn. `None` once the gate is closed.
    pub async fn pass(&self) -> Option<GatePass> {
        let _waiting = Waiting::enter(&self.waiting);
        let permit = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        while let Err(early) = self.rate.check() {
            tokio::time::sleep(early.wait_time_from(self.clock.now())).await;
        }
        if self.slots.is_closed() {
            return None;
        }
        self.dialed.fetch_add(1, Ordering::Relaxed);
        Some(GatePass(permit))
    }

    /// Lets nobody in any more.
    pub fn close(&self) {
        self.slots.close();
    }

    pub fn view(&self) -> GateView {
        GateView {
            dialing: self.dials_max.saturating_sub(self.slots.available_permits()),
            waiting: self.waiting.load(Ordering::Relaxed),
            dials_max: self.dials_max,
            dials_per_second: self.dials_per_second.get(),
            dialed: self.dialed.load(Ordering::Relaxed),
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_pass_at_once_than_the_limit() {
        let gate = Arc::new(StartGate::new(2, NonZeroU32::new(1000).unwrap()));
        let first = gate.pass().await.unwrap();
        let second = gate.pass().await.unwrap();
        let third = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.pass().await.is_some() }
        });
        while gate.view().waiting == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(gate.view().dialing, 2);
        drop(first);
        assert!(third.await.unwrap());
        drop(second);
        assert_eq!((gate.view().dialing, gate.view().dialed), (0, 3));
    }

    #[tokio::test]
    async fn a_closed_gate_lets_nobody_wait() {
        let gate = StartGate::new(1, NonZeroU32::new(1000).unwrap());
        gate.close();
        assert!(gate.pass().await.is_none());
    }
}
