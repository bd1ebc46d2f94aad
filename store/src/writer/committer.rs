//! The writer's thread: makes batches of what has queued up, commits them, and answers each unit.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use roost_domain::event::Event;
use roost_domain::store::CommitObserver;
use roost_domain::time::Clock;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::Parts;
use super::checkpoint::Checkpointer;
use super::ids::Ids;
use super::room::Disk;
use super::transaction::Transaction;
use super::unit::Unit;
use crate::crypto::Keyring;
use crate::database::{Address, Args, Dialect, Failure, Remedy, Statement, WriteConnection};
use crate::{Guard, StoreConfig, WriterLimits};

/// Pauses between attempts of a batch: the first, doubled up to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// What the writer's thread works with. It blocks in SQLite, which is why it has a thread.
pub(super) struct Committer {
    address: Address,
    connection: Option<WriteConnection>,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    keyring: Arc<Keyring>,
    observer: Arc<dyn CommitObserver>,
    pub(super) limits: WriterLimits,
    transaction_timeout: Duration,
    guard: Guard,
    /// On SQLite.
    pub(super) disk: Option<Arc<Disk>>,
    checkpointer: Option<Checkpointer>,
    /// Whether the last batch got through.
    pub(super) healthy: bool,
    /// Of the database's file. Dropped last.
    _lock: Option<File>,
}

/// The writer's end of the queue.
pub(super) struct Units {
    queue: mpsc::Receiver<Unit>,
    /// Resolves when the store is closed or dropped.
    closing: oneshot::Receiver<()>,
}

impl Units {
    pub(super) fn new(queue: mpsc::Receiver<Unit>, closing: oneshot::Receiver<()>) -> Self {
        Self { queue, closing }
    }

    /// The next unit; `None` when the store is closed and all were given.
    async fn next(&mut self) -> Option<Unit> {
        tokio::select! {
            biased;
            // What is queued is still committed.
            _ = &mut self.closing, if !self.queue.is_closed() => self.queue.close(),
            unit = self.queue.recv() => return unit,
        }
        self.queue.recv().await
    }
}

impl Committer {
    pub(super) fn new(parts: Parts, config: &StoreConfig) -> io::Result<Self> {
        let (disk, checkpointer) = match &parts.address {
            Address::Sqlite(file) => {
                let disk = Arc::new(Disk::new(&file.path, config.disk_floor));
                let checkpointer = Checkpointer::start(file.clone(), disk.clone())?;
                (Some(disk), Some(checkpointer))
            }
            Address::Postgres(_) => (None, None),
        };
        Ok(Self {
            address: parts.address,
            connection: Some(parts.connection),
            clock: parts.clock,
            ids: parts.ids,
            keyring: parts.keyring,
            observer: parts.observer,
            limits: config.writer.clone(),
            transaction_timeout: config.transaction_timeout,
            guard: config.guard.clone(),
            disk,
            checkpointer,
            healthy: true,
            _lock: parts.lock,
        })
    }

    /// Until the store is closed.
    pub(super) async fn run(mut self, mut units: Units) {
        while let Some(first) = units.next().await {
            let batch = self.collect(first, &mut units).await;
            self.commit(batch).await;
        }
        drop(self.checkpointer.take());
        if let Some(connection) = self.connection.take()
            && let Err(failure) = connection.close().await
        {
            let error = failure.into_store_error();
            tracing::warn!(%error, "the database connection did not close cleanly");
        }
    }

    /// Takes what is queued. Patient units alone wait a moment for company: a commit costs about the
    /// same for one unit as for many.
    async fn collect(&self, first: Unit, units: &mut Units) -> Vec<Unit> {
        let deadline = Instant::now() + self.limits.status_max_wait;
        let mut weight = first.weight();
        let mut patient = first.patient();
        let mut batch = vec![first];
        let weight_max = self.weight_max();
        while weight < weight_max {
            let unit = match units.queue.try_recv() {
                Ok(unit) => unit,
                Err(_) if !patient => break,
                Err(_) => match tokio::time::timeout_at(deadline, units.next()).await {
                    Ok(Some(unit)) => unit,
                    Ok(None) | Err(_) => break,
                },
            };
            weight += unit.weight();
            patient &= unit.patient();
            batch.push(unit);
        }
        batch
    }

    /// Commits a batch and answers its units.
    async fn commit(&mut self, mut batch: Vec<Unit>) {
        let operations = batch.iter().map(Unit::weight).sum();
        match self.persist(&mut batch).await {
            Ok(events) => {
                self.acknowledge(batch, &events);
                self.tidy(operations);
            }
            Err(failure) if failure.blames_a_unit() && batch.len() > 1 => {
                tracing::debug!(?failure, "a batch failed and is run unit by unit");
                for unit in batch {
                    self.commit_alone(unit).await;
                }
            }
            Err(failure) => refuse(batch, failure),
        }
    }

    /// Copies the rest of SQLite's log when it is time to, while nobody waits for an answer.
    fn tidy(&mut self, operations: usize) {
        let due = self
            .checkpointer
            .as_ref()
            .is_some_and(|checkpointer| checkpointer.committed(operations));
        if let Some(connection) = self.connection.as_mut().filter(|_| due)
            && let Err(failure) = connection.checkpoint()
        {
            tracing::debug!(
                ?failure,
                "the rest of the write-ahead log could not be copied back"
            );
        }
    }

    async fn commit_alone(&mut self, unit: Unit) {
        let mut batch = vec![unit];
        match self.persist(&mut batch).await {
            Ok(events) => self.acknowledge(batch, &events),
            Err(failure) => refuse(batch, failure),
        }
    }

    fn acknowledge(&self, batch: Vec<Unit>, events: &[Arc<Event>]) {
        for unit in batch {
            unit.answer();
        }
        if events.is_empty() {
            return;
        }
        // Sorting is stable: each tenant's events stay in order.
        let mut events = events.to_vec();
        events.sort_by_key(|event| event.tenant_id);
        for group in events.chunk_by(|a, b| a.tenant_id == b.tenant_id) {
            self.observer.committed(group[0].tenant_id, group);
        }
    }

    /// Runs a batch until it is committed, cannot be, or has been tried for long enough.
    async fn persist(&mut self, batch: &mut [Unit]) -> Result<Vec<Arc<Event>>, Failure> {
        let deadline = Instant::now()
            + if self.healthy {
                self.limits.retry_for
            } else {
                Duration::ZERO
            };
        let mut pause = PAUSES.0;
        let mut rereads = 0;
        let mut lost = false;
        loop {
            let leased = !lost && self.guard.holds();
            let failure = match self.attempt(batch, leased).await {
                Ok(events) => {
                    self.found_healthy(true, "");
                    return Ok(events);
                }
                Err(failure) => failure,
            };
            self.note_full(&failure);
            match failure.remedy() {
                Remedy::None if failure.is_for_all(batch.len()) => {
                    return Err(self.refused(failure));
                }
                Remedy::None => return Err(failure),
                Remedy::Refuse => lost = true,
                // Another node wrote the same key first, or one unit's row is there already: a lone
                // unit looks once more, a batch is taken apart.
                Remedy::Reread if batch.len() == 1 && rereads == 0 => rereads += 1,
                Remedy::Reread => return Err(failure),
                Remedy::Wait | Remedy::Reconnect if Instant::now() + pause >= deadline => {
                    return Err(self.refused(failure));
                }
                Remedy::Wait | Remedy::Reconnect => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    /// Notes that nothing can be written for now.
    fn refused(&mut self, failure: Failure) -> Failure {
        let error = failure.into_store_error();
        self.found_healthy(false, &error.to_string());
        Failure::Stored(error)
    }

    fn found_healthy(&mut self, healthy: bool, error: &str) {
        match (self.healthy, healthy) {
            (true, false) => tracing::warn!(error, "the database does not take writes"),
            (false, true) => tracing::info!("the database takes writes again"),
            _ => {}
        }
        self.healthy = healthy;
    }

    /// Runs a batch once.
    async fn attempt(&mut self, batch: &mut [Unit], leased: bool) -> Result<Vec<Arc<Event>>, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => limited(self.time_limit(), WriteConnection::open(&self.address)).await?,
        };
        if let Err(failure) = self.make_room(&mut connection) {
            if failure.remedy() != Remedy::Reconnect {
                self.connection = Some(connection);
            }
            return Err(failure);
        }
        let limit = self.time_limit();
        let run = async {
            let number = connection.begin().await?;
            let transaction = Transaction::new(
                &mut connection,
                leased,
                self.clock.now(),
                self.ids.clone(),
                self.keyring.clone(),
            );
            let ran = transaction.run(batch).await?;
            if ran.needs_lease && !self.guard.holds() {
                return Err(Failure::LeaseLost);
            }
            self.check_room(&connection)?;
            Ok::<_, Failure>((number, ran.events))
        };
        let (number, events) = match limited(limit, run).await {
            Ok(done) => done,
            Err(failure) => {
                self.undo(connection, &failure).await;
                return Err(failure);
            }
        };
        match limited(limit, connection.commit()).await {
            Ok(_) => {
                self.connection = Some(connection);
                Ok(events)
            }
            Err(failure) if number.is_some() && failure.remedy() == Remedy::Reconnect => {
                drop(connection);
                self.find_out(number.unwrap_or_default(), failure)
                    .await
                    .map(|()| events)
            }
            Err(failure) => {
                self.undo(connection, &failure).await;
                Err(failure)
            }
        }
    }

    /// A statement on SQLite runs on a thread that cannot be abandoned; on PostgreSQL a dead network
    /// would otherwise hold the writer for as long as TCP likes.
    fn time_limit(&self) -> Option<Duration> {
        (self.address.dialect() == Dialect::Postgres).then_some(self.transaction_timeout)
    }

    /// Undoes a transaction; a connection that cannot do even that is given up.
    async fn undo(&mut self, mut connection: WriteConnection, failure: &Failure) {
        if failure.remedy() == Remedy::Reconnect {
            return;
        }
        if limited(self.time_limit(), connection.roll_back()).await.is_ok() {
            self.connection = Some(connection);
        }
    }

    /// Finds out whether a commit whose answer was lost happened. PostgreSQL remembers the fate of a
    /// transaction by its number, so nothing has to be guessed or repeated: `Ok` when it is
    /// committed, the first failure when it is not and the batch may run again.
    async fn find_out(&mut self, number: String, failure: Failure) -> Result<(), Failure> {
        static STATUS: Statement = Statement::new("SELECT pg_xact_status($1::text::xid8)");
        let deadline = Instant::now() + self.limits.retry_for.max(Duration::from_secs(1));
        let mut pause = PAUSES.0;
        while Instant::now() < deadline {
            let asked = async {
                let mut connection = WriteConnection::open(&self.address).await?;
                let rows = connection
                    .fetch(&STATUS, Args::new(Dialect::Postgres).text(&number))
                    .await?;
                Ok::<_, Failure>((connection, rows))
            };
            if let Ok((connection, rows)) = limited(self.time_limit(), asked).await {
                self.connection = Some(connection);
                match rows.first().map(|row| row.opt_str(0)) {
                    Some(Ok(Some("committed"))) => return Ok(()),
                    Some(Ok(Some("aborted"))) => return Err(failure),
                    // Still in progress: the server has not noticed yet that we are gone.
                    Some(Ok(Some(_))) => {}
                    _ => return Err(Failure::CommitUnknown),
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
        Err(Failure::CommitUnknown)
    }
}

async fn limited<T>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match limit {
        None => work.await,
        Some(limit) => tokio::time::timeout(limit, work)
            .await
            .unwrap_or(Err(Failure::TimedOut)),
    }
}

fn refuse(batch: Vec<Unit>, failure: Failure) {
    let error = failure.into_store_error();
    for unit in batch {
        unit.refuse(error.clone());
    }
}
