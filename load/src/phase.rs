//! Waits with a name and a limit, so that a run that is stuck says where.

use std::future::Future;
use std::io::Write;
use std::time::Duration;

use crate::error::{LoadError, Result};

/// Awaits `work` for at most `limit`.
pub async fn within<T>(phase: &str, limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    within_showing(phase, limit, || "not done".to_owned(), work).await
}

/// Awaits `work` for at most `limit`; `progress` says how far it came when it did not end.
pub async fn within_showing<T>(
    phase: &str,
    limit: Duration,
    progress: impl Fn() -> String,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    // For whoever waits; the results go to standard output.
    let _ = writeln!(std::io::stderr(), "· {phase}");
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(LoadError::Stuck {
            phase: phase.to_owned(),
            progress: progress(),
            limit,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stuck_phase_says_how_far_it_came() {
        let progress = || "3 of 5".to_owned();
        let stuck = within_showing::<()>(
            "pairing",
            Duration::from_millis(1),
            progress,
            std::future::pending(),
        );
        let error = stuck.await.unwrap_err();
        assert_eq!(error.to_string(), "stuck in \"pairing\": 3 of 5 after 1ms");
    }

    #[tokio::test]
    async fn a_phase_that_ends_passes_its_result_on() {
        let done = within("waiting", Duration::from_secs(10), async { Ok(7) });
        assert_eq!(done.await.unwrap(), 7);
    }
}
