//! Threads that read SQLite, each on a connection of its own.
//!
//! A read of a row by its key takes a few microseconds: handing it over, the row back and the end after
//! it, as `sqlx` does, costs several times as much. Here a read is handed over once and comes back
//! whole.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use roost_domain::store::StoreError;
use tokio::sync::oneshot;

use super::{Args, Failure, Local, Remedy, Row, SqliteFile, Statement};

/// Reads that may wait. Each belongs to a call that was let in, so that more are a fault.
const QUEUE_MAX: usize = 65_536;
/// A thread that nobody has needed for so long closes its connection, and with it its memory.
const IDLE_MAX: Duration = Duration::from_secs(300);

type Answer = Result<Vec<Row>, Failure>;

/// The threads, and what waits for them.
pub(super) struct Crew {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// How long a read waits for a thread.
    patience: Duration,
}

struct Shared {
    file: SqliteFile,
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Default)]
struct Queue {
    reads: VecDeque<Read>,
    /// Threads that wait to be woken.
    idle: usize,
    closed: bool,
}

struct Read {
    statement: &'static Statement,
    args: Args,
    begun: Arc<AtomicBool>,
    reply: oneshot::Sender<Answer>,
}

impl Crew {
    pub(super) fn start(file: SqliteFile, threads: u32, patience: Duration) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            file,
            queue: Mutex::default(),
            wake: Condvar::new(),
        });
        let crew = Self {
            shared: Arc::clone(&shared),
            threads: Mutex::default(),
            patience,
        };
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            // When one cannot be had, the others end with the crew.
            let thread = std::thread::Builder::new()
                .name(format!("roost-reader-{number}"))
                .spawn(move || shared.work())?;
            crew.threads().push(thread);
        }
        Ok(crew)
    }

    pub(super) async fn fetch(&self, statement: &'static Statement, args: Args) -> Answer {
        let (reply, mut answer) = oneshot::channel();
        let begun = Arc::new(AtomicBool::new(false));
        self.shared.put(Read {
            statement,
            args,
            begun: Arc::clone(&begun),
            reply,
        })?;
        match tokio::time::timeout(self.patience, &mut answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(closed())),
            // Patience is for the wait alone: a read that has begun may take its time.
            Err(_) if begun.load(Ordering::Acquire) => answer.await.unwrap_or_else(|_| Err(closed())),
            Err(_) => Err(Failure::TimedOut),
        }
    }

    /// Ends the threads; what waits is answered that the store is closed.
    pub(super) async fn close(&self) {
        self.shared.end();
        let threads = std::mem::take(&mut *self.threads());
        // The wait is for a read that is under way. It fails only when the runtime ends, and all with it.
        let _ = tokio::task::spawn_blocking(move || {
            for thread in threads {
                let _ = thread.join();
            }
        })
        .await;
    }

    fn threads(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, read: Read) -> Result<(), Failure> {
        let mut queue = self.queue();
        if queue.closed {
            return Err(closed());
        }
        if queue.reads.len() >= QUEUE_MAX {
            return Err(Failure::Stored(StoreError::Overloaded));
        }
        queue.reads.push_back(read);
        let somebody_waits = queue.idle > 0;
        drop(queue);
        if somebody_waits {
            self.wake.notify_one();
        }
        Ok(())
    }

    fn end(&self) {
        let mut queue = self.queue();
        queue.closed = true;
        queue.reads.clear();
        drop(queue);
        self.wake.notify_all();
    }

    /// The life of one thread.
    fn work(&self) {
        let mut connection = None;
        while let Some(next) = self.next() {
            match next {
                Next::Read(read) => self.answer(&mut connection, read),
                Next::Rest => connection = None,
            }
        }
    }

    /// What to do next; `None` when the crew is closed.
    fn next(&self) -> Option<Next> {
        let mut queue = self.queue();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(read) = queue.reads.pop_front() {
                return Some(Next::Read(read));
            }
            queue.idle += 1;
            let (woken, waited) = self
                .wake
                .wait_timeout(queue, IDLE_MAX)
                .unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            queue.idle -= 1;
            if waited.timed_out() && queue.reads.is_empty() && !queue.closed {
                return Some(Next::Rest);
            }
        }
    }

    fn answer(&self, connection: &mut Option<Local>, read: Read) {
        read.begun.store(true, Ordering::Release);
        if read.reply.is_closed() {
            // Who asked has gone away.
            return;
        }
        let mut answer = self.fetch(connection, read.statement, read.args.clone());
        if matches!(&answer, Err(failure) if failure.remedy() == Remedy::Reconnect) {
            *connection = None;
            answer = self.fetch(connection, read.statement, read.args);
        }
        let _ = read.reply.send(answer);
    }

    fn fetch(&self, connection: &mut Option<Local>, statement: &Statement, args: Args) -> Answer {
        let local = match connection {
            Some(local) => local,
            None => connection.insert(Local::open_for_reading(&self.file)?),
        };
        Ok(local.fetch(statement, args)?)
    }
}

enum Next {
    Read(Read),
    /// Nobody has asked for long.
    Rest,
}

fn closed() -> Failure {
    Failure::Stored(StoreError::Unavailable("the store is closed".to_owned()))
}
