//! When a child that ended is started again.

use std::collections::VecDeque;
use std::time::Duration;

use ractor::ActorProcessingErr;
use roost_domain::time::Entropy;
use tokio::time::Instant;

use super::ActorExit;
use crate::Settings;
use crate::backoff::Backoff;

/// Restart classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Not started again.
    Final,
    /// Started again after a wait.
    Retry,
    /// As `Retry`, and put into quarantine when it repeats itself.
    Panic,
}

impl Class {
    pub fn of(error: &ActorProcessingErr) -> Self {
        match error.downcast_ref::<ActorExit>() {
            Some(ActorExit::Fenced) => Self::Final,
            Some(ActorExit::Retry(_)) => Self::Retry,
            Some(ActorExit::Panic(_)) | None => Self::Panic,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Final => "final",
            Self::Retry => "retry",
            Self::Panic => "panic",
        }
    }
}

/// What becomes of a child that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Forget,
    Restart(Duration),
    Quarantine,
}

/// The failures of one child.
#[derive(Debug, Default)]
pub(super) struct Record {
    failures: u32,
    panics: VecDeque<Instant>,
}

impl Record {
    /// Judges a failure after a life of the given length.
    pub fn failed(
        &mut self,
        class: Class,
        lived: Duration,
        now: Instant,
        settings: &Settings,
        entropy: &dyn Entropy,
    ) -> Verdict {
        if class == Class::Final {
            return Verdict::Forget;
        }
        if lived >= settings.backoff_reset_after {
            self.failures = 0;
        }
        self.failures = self.failures.saturating_add(1);
        if class == Class::Panic {
            self.panics
                .retain(|&at| now.duration_since(at) < settings.quarantine_window);
            self.panics.push_back(now);
            if self.panics.len() >= settings.quarantine_panics as usize {
                return Verdict::Quarantine;
            }
        }
        let backoff = Backoff {
            first: settings.backoff_first,
            max: settings.backoff_max,
        };
        Verdict::Restart(backoff.wait(self.failures, entropy))
    }
}
