//! The task that commits what has gathered in the journal.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinError;

use super::database::Database;
use super::journal::{Batch, Journal, Shared};
use super::pen::Pen;

const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Why a batch is not on file.
#[derive(Debug, Error)]
enum WriteError {
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    #[error("the writing of batch {number} was broken off")]
    Task {
        number: u64,
        #[source]
        source: JoinError,
    },
}

/// Commits until it is told to end.
pub(in crate::server) struct Writer {
    shared: Arc<Shared>,
    database: Database,
    /// Away while a batch is written; lost if that panics.
    pen: Option<Pen>,
    /// The number of the latest batch that is committed.
    committed: watch::Sender<u64>,
}

pub(super) fn start(database: Database, pen: Pen) -> (Journal, Writer) {
    let (committed, watched) = watch::channel(0);
    let shared = Arc::new(Shared::new(watched));
    let writer = Writer {
        shared: shared.clone(),
        database,
        pen: Some(pen),
        committed,
    };
    (Journal::new(shared), writer)
}

impl Writer {
    /// Runs until `ended`, commits the rest, and gives the data folder up.
    pub async fn run(mut self, ended: impl Future<Output = ()>) {
        tokio::pin!(ended);
        let mut is_last = false;
        loop {
            while let Some(mut batch) = self.shared.cut() {
                if let Err(error) = self.commit(&mut batch, &mut ended, &mut is_last).await {
                    tracing::error!(
                        error = error.to_string(),
                        rows = batch.changes.len(),
                        "changes were given up when the sandbox ended"
                    );
                    return;
                }
                self.committed.send_replace(batch.number);
            }
            if is_last {
                break;
            }
            tokio::select! {
                () = self.shared.dirty.notified() => {}
                () = &mut ended => is_last = true,
            }
        }
        self.pen = None;
        if let Err(error) = self.database.close().await {
            tracing::warn!(
                error = error.to_string(),
                "the sandbox's database was not closed properly"
            );
        }
    }

    /// Writes a batch on a thread that may block; the changes stay in the batch.
    async fn write(&mut self, batch: &mut Batch) -> Result<(), WriteError> {
        let mut pen = match self.pen.take() {
            Some(pen) => pen,
            None => self.database.pen()?,
        };
        let changes = Arc::new(std::mem::take(&mut batch.changes));
        let (shared, number) = (changes.clone(), batch.number);
        let written = tokio::task::spawn_blocking(move || (pen.write(&shared), pen)).await;
        batch.changes = Arc::try_unwrap(changes).unwrap_or_else(|changes| changes.to_vec());
        let (written, pen) = written.map_err(|source| WriteError::Task { number, source })?;
        self.pen = Some(pen);
        Ok(written?)
    }

    /// Tries until it succeeds: until then everybody waits, and nothing is acknowledged. At the end
    /// it tries only once more.
    async fn commit(
        &mut self,
        batch: &mut Batch,
        mut ended: impl Future<Output = ()> + Unpin,
        is_last: &mut bool,
    ) -> Result<(), WriteError> {
        let mut pause = RETRY_FIRST;
        let mut failures = 0_u32;
        loop {
            match self.write(batch).await {
                Ok(()) if failures == 0 => return Ok(()),
                Ok(()) => {
                    tracing::info!(failures, "the sandbox's database works again");
                    return Ok(());
                }
                Err(error) if *is_last => return Err(error),
                Err(error) => {
                    failures += 1;
                    let error = error.to_string();
                    if failures == 1 || pause == RETRY_MAX {
                        tracing::error!(error, failures, "changes cannot be kept; everybody waits");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = &mut ended, if !*is_last => *is_last = true,
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }
}
