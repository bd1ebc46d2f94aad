//! Hears that somebody has changed something.

use std::time::Duration;

use roost_domain::store::StoreError;
use sqlx::Executor as _;
use sqlx::pool::PoolOptions;
use sqlx::postgres::{PgConnectOptions, PgListener};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};

use crate::database::Failure;

/// A connection that has been silent for so long is asked whether it still lives.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Listens while somebody waits, and keeps what came meanwhile.
pub(super) struct Ears {
    options: PgConnectOptions,
    limit: Duration,
    listening: Mutex<Option<Listening>>,
}

struct Listening {
    listener: PgListener,
    heard_at: Instant,
}

impl Ears {
    pub(super) fn new(options: PgConnectOptions, limit: Duration) -> Self {
        Self {
            options,
            limit,
            listening: Mutex::new(None),
        }
    }

    /// Waits for a change. Whoever stops waiting misses nothing that comes before the next call.
    pub(super) async fn wait(&self) -> Result<(), StoreError> {
        self.hear().await.map_err(Failure::into_store_error)
    }

    async fn hear(&self) -> Result<(), Failure> {
        let mut kept = self.listening.lock().await;
        loop {
            let Some(listening) = kept.as_mut() else {
                // What came before it listened is unknown: that counts as a change.
                *kept = Some(self.listen().await?);
                return Ok(());
            };
            let silent_until = listening.heard_at + SILENCE_MAX;
            match timeout_at(silent_until, listening.listener.try_recv()).await {
                Ok(Ok(Some(_))) => {
                    listening.heard_at = Instant::now();
                    return Ok(());
                }
                // It was lost; what came meanwhile is unknown.
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => {
                    *kept = None;
                    return Err(error.into());
                }
                Err(_) => {
                    // Given up in the middle it is not used again.
                    if let Some(listening) = kept.take() {
                        *kept = Some(self.ping(listening).await?);
                    }
                }
            }
        }
    }

    async fn listen(&self) -> Result<Listening, Failure> {
        let work = async {
            let pool = PoolOptions::new()
                .max_connections(1)
                .max_lifetime(None)
                .idle_timeout(None)
                .acquire_timeout(self.limit)
                .connect_lazy_with(self.options.clone());
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.ignore_pool_close_event(true);
            listener.listen("roost_cluster").await?;
            Ok(Listening {
                listener,
                heard_at: Instant::now(),
            })
        };
        timeout(self.limit, work).await.unwrap_or(Err(Failure::TimedOut))
    }

    async fn ping(&self, mut listening: Listening) -> Result<Listening, Failure> {
        match timeout(self.limit, listening.listener.execute("SELECT 1")).await {
            Ok(answered) => answered.map(drop)?,
            Err(_) => return Err(Failure::TimedOut),
        }
        listening.heard_at = Instant::now();
        Ok(listening)
    }
}

impl Drop for Ears {
    fn drop(&mut self) {
        // A listener that is dropped starts a task, and there may be no runtime any more: the end of the
        // process closes its socket as well.
        if Handle::try_current().is_err()
            && let Some(listening) = self.listening.get_mut().take()
        {
            std::mem::forget(listening);
        }
    }
}
