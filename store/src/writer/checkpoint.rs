//! Copies SQLite's write-ahead log back into the database, beside the writer.
//!
//! Left to itself, SQLite does that within a commit, and everybody waits for thousands of pages. Here a
//! thread with a connection of its own copies them while the writer goes on. Only the writer can then
//! begin the log anew, when all of it was copied: it copies the little that came meanwhile itself,
//! between two batches.
//!
//! The thread also looks how much room the disk has. While there is little, it copies nothing: the writer
//! empties the log itself, see [`room`](super::room).
//!
//! Nothing depends on it for durability: without it the log grows, up to a limit at which SQLite
//! copies within a commit again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::room::Disk;
use crate::database::{Local, SqliteFile};

/// How often the thread looks whether there is enough to copy.
const LOOK: Duration = Duration::from_millis(250);
/// Operations worth a look at the log.
const OPERATIONS_MIN: u64 = 500;
/// Bytes that it grew by which are worth one however few operations they are: long texts, pages all over.
const GROWN_MIN: u64 = 8 << 20;
/// Pages in the log from which it is begun anew: pages that are written often are copied once for many
/// commits.
const PAGES_MIN: u32 = 4000;

/// The thread, as the writer sees it.
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    operations: AtomicU64,
    /// Most of the log was copied: the writer is to copy the rest.
    rest: AtomicBool,
    stop: AtomicBool,
}

impl Checkpointer {
    pub(super) fn start(file: SqliteFile, disk: Arc<Disk>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = std::thread::Builder::new()
            .name("roost-checkpoint".to_owned())
            .spawn({
                let shared = shared.clone();
                move || run(&file, &disk, &shared)
            })?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Notes a commit of so many operations. Returns whether the writer is to copy the rest of the log
    /// now.
    pub(super) fn committed(&self, operations: usize) -> bool {
        self.shared
            .operations
            .fetch_add(operations as u64, Ordering::Relaxed);
        self.shared.rest.load(Ordering::Relaxed) && self.shared.rest.swap(false, Ordering::Relaxed)
    }
}

impl Drop for Checkpointer {
    /// Waits until a copy that is under way is done: the database is closed after it.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}

fn run(file: &SqliteFile, disk: &Disk, shared: &Shared) {
    let mut connection = None;
    let mut seen = 0;
    let mut log_seen = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        std::thread::park_timeout(LOOK);
        let log = disk.look();
        log_seen = log.min(log_seen);
        if disk.is_short() {
            continue;
        }
        let operations = shared.operations.load(Ordering::Relaxed);
        if operations < seen + OPERATIONS_MIN && log < log_seen + GROWN_MIN {
            continue;
        }
        (seen, log_seen) = (operations, log);
        match copy(file, &mut connection) {
            Ok(pages) if pages >= PAGES_MIN => shared.rest.store(true, Ordering::Relaxed),
            Ok(_) => {}
            // Locked, full or away: the writer finds that out too, and says so.
            Err(error) => {
                tracing::debug!(%error, "the write-ahead log could not be copied back");
                connection = None;
            }
        }
    }
}

fn copy(file: &SqliteFile, connection: &mut Option<Local>) -> rusqlite::Result<u32> {
    match connection {
        Some(connection) => connection.checkpoint(),
        None => connection.insert(Local::open(file)?).checkpoint(),
    }
}
