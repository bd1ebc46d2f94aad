//! Goes on with rotations of the master key that the end of a process has interrupted.

use std::sync::Arc;
use std::time::Duration;

use roost_store::SqlStore;

/// How often a node of a cluster looks whether another has left one half-done.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Goes on with what an earlier life has left.
pub async fn resume(store: &SqlStore) {
    if let Err(error) = store.resume_rotation().await {
        // Every value is readable as it is.
        tracing::error!(%error, "the rotation of the master key could not go on");
    }
}

/// Goes on with what another node has left, too.
pub async fn look_after(store: Arc<SqlStore>) {
    loop {
        resume(&store).await;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
