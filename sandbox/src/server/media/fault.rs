//! Where trouble with media can be injected: one question per transfer, asked before it starts.
//!
//! Nothing here decides; whoever makes faults installs a [`MediaFaults`], and the handlers do to the
//! transfer what its verdict says.

use std::num::NonZeroU64;
use std::sync::{Arc, RwLock};

use super::auth::Holder;
use crate::server::sync::{read, write};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransferDirection {
    Upload,
    Download,
}

/// A transfer that is about to start.
#[derive(Debug, Clone, Copy)]
pub struct Transfer<'a> {
    pub direction: TransferDirection,
    /// Who transfers, when the request says so.
    pub holder: Option<Holder>,
    /// The type in an upload's path, or that of the stored file.
    pub kind: &'a str,
}

/// What happens to a transfer; by default nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Answered at once with this HTTP status instead.
    pub status: Option<u16>,
    /// No faster than this.
    pub bytes_per_second: Option<NonZeroU64>,
    /// The connection is closed after this many bytes of the body.
    pub cut_after: Option<u64>,
}

pub trait MediaFaults: Send + Sync {
    fn verdict(&self, transfer: &Transfer<'_>) -> Verdict;
}

/// The installed source of faults, if any.
#[derive(Default)]
pub(in crate::server) struct FaultHook(RwLock<Option<Arc<dyn MediaFaults>>>);

impl FaultHook {
    /// Asks `faults` from now on.
    pub fn install(&self, faults: Arc<dyn MediaFaults>) {
        *write(&self.0) = Some(faults);
    }

    pub fn verdict(&self, transfer: &Transfer<'_>) -> Verdict {
        let installed = read(&self.0);
        installed
            .as_ref()
            .map_or_else(Verdict::default, |faults| faults.verdict(transfer))
    }
}
