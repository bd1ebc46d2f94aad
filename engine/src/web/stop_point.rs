//! A point at which a fault test ends the process: the session that decrypted a message is stored, and
//! the message is not. It is there only with the feature `sandbox`, and there nothing happens until a
//! test arms it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

static ARMED: OnceLock<Armed> = OnceLock::new();

struct Armed {
    /// Messages that are left before the end.
    left: AtomicU32,
    end: fn(),
}

/// Ends the process by calling `end` when the `pass`th message was decrypted, counted from 1. The first
/// call counts.
pub fn arm_decrypted(pass: u32, end: fn()) {
    ARMED.get_or_init(|| Armed {
        left: AtomicU32::new(pass.max(1)),
        end,
    });
}

/// Counts a decrypted message. Returns what ends the process, if it is the one.
pub(super) fn pass() -> Option<fn()> {
    let armed = ARMED.get()?;
    (armed.left.fetch_sub(1, Ordering::Relaxed) == 1).then_some(armed.end)
}
