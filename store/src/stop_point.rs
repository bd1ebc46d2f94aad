//! Named points around commits at which a fault test ends the process, to prove that no moment loses
//! anything. They are there only with the feature `stop-points`, which is part of the gateway's feature
//! `sandbox`, and there nothing happens until a test arms one. Without it [`around`] is nothing.

use std::future::Future;

use roost_domain::webhook::store::Settlement;

#[cfg(feature = "stop-points")]
pub use armed::{Side, arm, pass};

/// Passes the points before and after a step that `work` commits.
#[cfg(not(feature = "stop-points"))]
pub(crate) fn around<W: Future>(_: &'static str, work: W) -> W {
    work
}

/// Passes the points before and after a step that `work` commits.
#[cfg(feature = "stop-points")]
pub(crate) async fn around<W: Future>(step: &'static str, work: W) -> W::Output {
    pass(step, Side::Before);
    let done = work.await;
    pass(step, Side::After);
    done
}

/// What a settlement is for; nobody asks without the feature.
#[cfg(not(feature = "stop-points"))]
pub(crate) fn step(_: &Settlement) -> &'static str {
    "settle"
}

/// What a settlement is for, the rarest first.
#[cfg(feature = "stop-points")]
pub(crate) fn step(settlement: &Settlement) -> &'static str {
    use roost_domain::webhook::DeliveryStatus;

    let mut changes = settlement.deliveries.iter();
    if !settlement.replays.is_empty() {
        "replay"
    } else if changes.any(|change| change.status == DeliveryStatus::Pending) {
        "park"
    } else {
        "settle"
    }
}

#[cfg(feature = "stop-points")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static ARMED: OnceLock<Armed> = OnceLock::new();

    struct Armed {
        point: String,
        /// Passes that are left before the end.
        left: AtomicU32,
        end: fn(),
    }

    /// On which side of a step a point is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Side {
        /// Nothing of it has happened.
        Before,
        /// It is done, and nobody has heard so.
        After,
    }

    /// Ends the process by calling `end` when the point `<step>.before` or `<step>.after` is passed for
    /// the `pass`th time, counted from 1. The first call counts.
    pub fn arm(point: &str, pass: u32, end: fn()) {
        ARMED.get_or_init(|| Armed {
            point: point.to_owned(),
            left: AtomicU32::new(pass.max(1)),
            end,
        });
    }

    /// Says that a point is passed.
    pub fn pass(step: &str, side: Side) {
        let Some(armed) = ARMED.get() else { return };
        let suffix = match side {
            Side::Before => ".before",
            Side::After => ".after",
        };
        let matches = armed.point.strip_prefix(step) == Some(suffix);
        if matches && armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            (armed.end)();
        }
    }
}
