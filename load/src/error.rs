//! What can end a measurement. The text of a cause is in the chain of sources, not in its effect's.

use std::path::PathBuf;
use std::time::Duration;

/// Why a measurement ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot start {program}")]
    Spawn {
        program: PathBuf,
        source: std::io::Error,
    },
    #[error("{name} ended by itself ({status}) while {phase}")]
    Exited {
        name: &'static str,
        status: std::process::ExitStatus,
        phase: String,
    },
    #[error("stuck in \"{phase}\": {progress} after {limit:?}")]
    Stuck {
        phase: String,
        progress: String,
        limit: Duration,
    },
    #[error("{call} failed")]
    Call { call: String, source: HttpError },
    #[error("{call} answered {status}: {body}")]
    Refused { call: String, status: u16, body: String },
    #[error("{call} answered something unexpected")]
    Answer { call: String, source: serde_json::Error },
    #[error("the event stream was lost {reconnects} times: {last}")]
    StreamLost { reconnects: u32, last: String },
    #[error("the event stream carried something unexpected")]
    Event(#[source] serde_json::Error),
    #[error("instance {instance} is {state} instead of connected ({reason})")]
    NotConnected {
        instance: String,
        state: String,
        reason: String,
    },
    #[error("{phase}: {refused} calls were refused: {refusals:?}")]
    WarmUp {
        phase: String,
        refused: usize,
        refusals: std::collections::BTreeMap<String, usize>,
    },
    #[error("the companion of {number} failed")]
    Companion {
        number: String,
        source: crate::companion::WireError,
    },
    #[error("{needed} files have to be open at once, {allowed} may be: raise the limit (ulimit -n {needed})")]
    Files { needed: u64, allowed: u64 },
    #[error("cannot read {what} of process {pid}")]
    Proc {
        what: &'static str,
        pid: i32,
        source: procfs::ProcError,
    },
    #[error("the node does not run")]
    NotRunning,
    #[error("{command} failed: {said}")]
    Command { command: String, said: String },
    #[error("PostgreSQL: {0}")]
    Postgres(String),
    #[error("{what} {path}")]
    File {
        what: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("a measuring task ended early")]
    Task(#[from] tokio::task::JoinError),
    #[error("interrupted")]
    Interrupted,
}

/// Why one HTTP call got no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("cannot connect")]
    Connect(#[source] std::io::Error),
    #[error("the connection failed")]
    Exchange(#[from] hyper::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("cannot read the answer")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot build the request")]
    Request(#[from] hyper::http::Error),
}

pub type Result<T, E = LoadError> = std::result::Result<T, E>;

/// An error and its causes in one line, for reports that keep no errors.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_every_cause_once() {
        let refused = std::io::Error::other("refused");
        let call = "GET /healthz".to_owned();
        let source = HttpError::Connect(refused);
        let error = LoadError::Call { call, source };
        assert_eq!(chain(&error), "GET /healthz failed: cannot connect: refused");
    }
}
