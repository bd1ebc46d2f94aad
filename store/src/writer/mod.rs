//! The group-commit writer: one per node, and the only part that writes.
//!
//! ```text
//! callers ──try_send──▶ bounded queue ──▶ [ BEGIN · reads · plan in memory · writes · COMMIT ] ──▶ answers
//!                          full: Overloaded            one statement per kind                └──▶ observer
//! ```
//!
//! A batch is what has queued up while the one before was being committed. Statuses of messages, for
//! which nobody waits in a hurry, stay a moment longer for others to commit with. Units are answered
//! each for itself, after the commit. When a statement fails because of one unit, the batch is undone
//! and its units are run one by one, so that a bad one harms no neighbour. While the database is
//! locked, full or away, a batch is repeated for a bounded time and then refused as `Unavailable`;
//! the next success is a full recovery.
//!
//! Owners write only while the node's lease holds: see [`crate::Guard`]. It is asked before a transaction, and
//! again before its commit is sent. Without it every write of an owner is refused as fenced, and the others of
//! its batch are committed without it.
//!
//! A unit is never half there: a crash before the commit undoes it, and after the commit it is
//! durable whether or not its caller heard so.

mod checkpoint;
mod committer;
pub(crate) mod draft;
mod flush;
pub(crate) mod ids;
mod load;
mod room;
mod transaction;
pub(crate) mod unit;

use std::fs::File;
use std::sync::Arc;

use roost_domain::store::{CommitObserver, StoreError};
use roost_domain::time::Clock;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc, oneshot};

use self::committer::{Committer, Units};
use self::ids::Ids;
pub(crate) use self::transaction::Transaction;
use self::unit::{Direct, Planned, Unit};
use crate::StoreConfig;
use crate::crypto::Keyring;
use crate::database::{Address, WriteConnection};

/// Hands units to the writer's thread.
pub(crate) struct Writer {
    queue: mpsc::Sender<Unit>,
    /// Tells it to close, and is told when it has.
    thread: Mutex<Option<(oneshot::Sender<()>, oneshot::Receiver<()>)>>,
}

/// What the writer works with.
pub(crate) struct Parts {
    pub(crate) address: Address,
    pub(crate) connection: WriteConnection,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<Ids>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) observer: Arc<dyn CommitObserver>,
    /// Held until the last write is done.
    pub(crate) lock: Option<File>,
}

impl Writer {
    /// Starts the writer's thread, which uses the current runtime's timers and sockets.
    pub(crate) fn start(parts: Parts, config: &StoreConfig) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::channel(config.writer.queue_max.max(1));
        let (close, closing) = oneshot::channel();
        let committer = Committer::new(parts, config)?;
        let runtime = Handle::current();
        let (ended, end) = oneshot::channel();
        std::thread::Builder::new()
            .name("roost-writer".to_owned())
            .spawn(move || {
                runtime.block_on(committer.run(Units::new(waiting, closing)));
                // Whoever closed the store may have gone away.
                let _ = ended.send(());
            })?;
        Ok(Self {
            queue,
            thread: Mutex::new(Some((close, end))),
        })
    }

    pub(crate) async fn planned<W: Planned>(&self, write: W) -> Result<W::Output, StoreError> {
        let (unit, answer) = unit::planned(write);
        self.submit(unit)?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    pub(crate) async fn direct<W: Direct>(&self, write: W) -> Result<W::Output, StoreError> {
        let (unit, answer) = unit::direct(write);
        self.submit(unit)?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    fn submit(&self, unit: Unit) -> Result<(), StoreError> {
        self.queue.try_send(unit).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => closed(),
        })
    }

    /// Refuses new units, commits those that are queued, and waits until that is done.
    pub(crate) async fn close(&self) {
        if let Some((close, end)) = self.thread.lock().await.take() {
            // Either may be gone already, which is what is wanted.
            let _ = close.send(());
            let _ = end.await;
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}
