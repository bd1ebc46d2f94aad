//! When each operation is due: at a fixed rate (open loop) or as fast as answers come (closed loop).
//!
//! At a fixed rate a thread of its own keeps the times, because the runtime's timer is a millisecond
//! coarse. A ticket carries the time at which it was *meant* to go out, so that latencies include
//! every delay in front of the system under test: no coordinated omission.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, Semaphore, mpsc};

/// Operations of one run at most; what was sent is kept in memory for the comparison at the end.
pub const OPERATIONS_MAX: u64 = 5_000_000;
/// Tickets that are due and not taken yet, before the clock thread waits for its takers.
const DUE_MAX: usize = 65_536;

/// How fast to go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many per second, whatever the answers do.
    PerSecond(f64),
    /// The next one when an answer has come.
    Max,
}

impl Pace {
    /// From a flag, where 0 means as fast as possible.
    pub fn from_rate(rate: u32) -> Self {
        if rate == 0 {
            Self::Max
        } else {
            Self::PerSecond(f64::from(rate))
        }
    }

    /// When operation `index` is due after the start.
    fn due(rate: f64, index: u64) -> Duration {
        Duration::from_secs_f64(index as f64 / rate)
    }

    /// How many operations fit into `duration`.
    fn count(rate: f64, duration: Duration) -> u64 {
        // Both are small and not negative, see the flags.
        ((rate * duration.as_secs_f64()) as u64).clamp(1, OPERATIONS_MAX)
    }
}

/// Leave to carry out one operation.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    pub index: u64,
    /// When it was meant to go out.
    pub intended: Instant,
}

/// Hands out tickets to any number of workers until the time is over.
#[derive(Debug, Clone)]
pub struct Tickets {
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    Clocked(Arc<Mutex<mpsc::Receiver<Ticket>>>),
    Free {
        next: Arc<AtomicU64>,
        end: Instant,
        window: Option<Arc<Semaphore>>,
    },
    Burst {
        next: Arc<AtomicU64>,
        count: u64,
    },
}

impl Tickets {
    /// Starts the clock. Without a rate, `window` is how many operations may be under way beyond
    /// their answer: who sees one complete adds a permit.
    pub fn start(pace: Pace, duration: Duration, window: Option<Arc<Semaphore>>) -> Self {
        let start = Instant::now();
        let source = match pace {
            Pace::Max => Source::Free {
                next: Arc::default(),
                end: start + duration,
                window,
            },
            Pace::PerSecond(rate) => {
                let (sender, receiver) = mpsc::channel(DUE_MAX);
                // It ends with the last ticket, or at the next one when no taker is left.
                std::thread::spawn(move || keep_time(start, rate, duration, &sender));
                Source::Clocked(Arc::new(Mutex::new(receiver)))
            }
        };
        Self { source }
    }

    /// Hands out `count` tickets without regard to time.
    pub fn burst(count: u64) -> Self {
        let next = Arc::default();
        Self {
            source: Source::Burst { next, count },
        }
    }

    /// The next ticket, once it is due; `None` when the time is over.
    pub async fn next(&self) -> Option<Ticket> {
        match &self.source {
            Source::Clocked(due) => due.lock().await.recv().await,
            Source::Free { next, end, window } => {
                if let Some(window) = window {
                    let permit = tokio::time::timeout_at((*end).into(), window.acquire()).await;
                    permit.ok()?.ok()?.forget();
                }
                let intended = Instant::now();
                let index = next.fetch_add(1, Ordering::Relaxed);
                (intended < *end && index < OPERATIONS_MAX).then_some(Ticket { index, intended })
            }
            Source::Burst { next, count } => {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let intended = Instant::now();
                (index < *count).then_some(Ticket { index, intended })
            }
        }
    }

    /// Says that the operation of a ticket was not carried out.
    pub fn give_back(&self) {
        if let Source::Free {
            window: Some(window), ..
        } = &self.source
        {
            window.add_permits(1);
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a thread of its own, and the runtime's timer is too coarse"
)]
fn keep_time(start: Instant, rate: f64, duration: Duration, due: &mpsc::Sender<Ticket>) {
    for index in 0..Pace::count(rate, duration) {
        let intended = start + Pace::due(rate, index);
        std::thread::sleep(intended.saturating_duration_since(Instant::now()));
        if due.blocking_send(Ticket { index, intended }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_means_as_fast_as_possible() {
        assert_eq!(Pace::from_rate(0), Pace::Max);
        assert_eq!(Pace::from_rate(500), Pace::PerSecond(500.0));
    }

    #[test]
    fn due_times_do_not_drift() {
        assert_eq!(Pace::due(500.0, 0), Duration::ZERO);
        assert_eq!(Pace::due(500.0, 1), Duration::from_millis(2));
        assert_eq!(Pace::due(3.0, 3_000_000), Duration::from_secs(1_000_000));
        assert_eq!(Pace::count(500.0, Duration::from_secs(20)), 10_000);
        assert_eq!(Pace::count(0.1, Duration::from_secs(1)), 1);
    }

    #[tokio::test]
    async fn a_fixed_rate_hands_out_every_ticket_once_and_never_early() {
        let tickets = Tickets::start(Pace::PerSecond(2_000.0), Duration::from_millis(50), None);
        let other = tickets.clone();
        let take = |tickets: Tickets| async move {
            let mut taken = Vec::new();
            while let Some(ticket) = tickets.next().await {
                assert!(Instant::now() >= ticket.intended);
                taken.push(ticket.index);
            }
            taken
        };
        let (mut all, more) = tokio::join!(take(tickets), take(other));
        all.extend(more);
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_late_taker_still_sees_the_intended_times() {
        let tickets = Tickets::start(Pace::PerSecond(1_000.0), Duration::from_millis(5), None);
        let first = tickets.next().await.unwrap();
        let Source::Clocked(due) = &tickets.source else {
            panic!("a rate is clocked")
        };
        while due.lock().await.len() < 4 {
            tokio::task::yield_now().await;
        }
        for index in 1..5 {
            let ticket = tickets.next().await.unwrap();
            assert_eq!(ticket.intended, first.intended + Duration::from_millis(index));
        }
        assert!(tickets.next().await.is_none());
    }

    #[tokio::test]
    async fn the_closed_loop_ends_with_its_time() {
        let tickets = Tickets::start(Pace::Max, Duration::ZERO, None);
        assert!(tickets.next().await.is_none());
    }

    #[tokio::test]
    async fn a_full_window_waits_for_completions_and_not_beyond_the_end() {
        let window = Arc::new(Semaphore::new(1));
        let tickets = Tickets::start(Pace::Max, Duration::from_secs(60), Some(Arc::clone(&window)));
        tickets.next().await.unwrap();
        assert_eq!(window.available_permits(), 0);
        tickets.give_back();
        assert_eq!(tickets.next().await.unwrap().index, 1);
        let over = Tickets::start(Pace::Max, Duration::from_millis(1), Some(window));
        assert!(over.next().await.is_none());
    }

    #[tokio::test]
    async fn a_burst_has_its_count() {
        let tickets = Tickets::burst(2);
        assert_eq!(tickets.next().await.unwrap().index, 0);
        assert_eq!(tickets.next().await.unwrap().index, 1);
        assert!(tickets.next().await.is_none());
    }
}
