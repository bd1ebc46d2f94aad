//! How many files and sockets the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one: every session and every client is a socket, and the usual
/// soft limit of 1,024 would end both early.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => {
            tracing::debug!(from = ?limit.current, to = ?limit.maximum, "raised the limit of open files")
        }
        Err(error) => {
            tracing::warn!(%error, limit = ?limit.current, "the limit of open files could not be raised; set it with ulimit -n");
        }
    }
}
