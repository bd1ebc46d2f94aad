//! What goes wrong with a transfer: the faults that were made for media, as the handlers need them.

use std::num::NonZeroU64;

use super::auth::Holder;
use crate::server::fault::{MediaAction, MediaFault};
use crate::server::service::Service;

/// Where an upload of unknown length ends in the middle.
const HALF_OF_UNKNOWN: u64 = 64 << 10;

/// What happens to a transfer; by default nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Verdict {
    /// Answered at once with this HTTP status instead.
    pub status: Option<u16>,
    /// No faster than this.
    pub bytes_per_second: Option<NonZeroU64>,
    /// The connection is closed after this many bytes of the body.
    pub cut_after: Option<u64>,
}

impl Verdict {
    /// Lets the faults take their chance at a transfer that is about to start. `bytes` is what is going
    /// to be transferred, if that is known.
    pub fn of(service: &Service, holder: Option<Holder>, action: MediaAction, bytes: u64) -> Self {
        if !service.faults.strike_media() {
            return Self::default();
        }
        let account = holder.and_then(|holder| service.account_by_number(holder.account));
        let account = account.as_ref().map(|account| &*account.pn);
        let half = if bytes > 1 { bytes / 2 } else { HALF_OF_UNKNOWN };
        match service.faults.media(account, action) {
            Some(MediaFault::Slow { bytes_per_second }) => Self {
                bytes_per_second: NonZeroU64::new(bytes_per_second),
                ..Self::default()
            },
            Some(MediaFault::Half) => Self {
                cut_after: Some(half),
                ..Self::default()
            },
            Some(MediaFault::Status(status)) => Self {
                status: Some(status),
                ..Self::default()
            },
            None => Self::default(),
        }
    }
}
