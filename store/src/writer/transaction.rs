//! One transaction of the writer.

use std::sync::Arc;

use roost_domain::Timestamp;
use roost_domain::audit::AuditEvent;
use roost_domain::event::Event;

use super::draft::{Draft, Needs};
use super::ids::Ids;
use super::unit::Unit;
use crate::crypto::Keyring;
use crate::database::{Args, Dialect, Failure, Row, Rows, Statement, WriteConnection};
use crate::usage::Tally;
use crate::{audit, node};

/// What a transaction has come to before its commit.
pub(super) struct Ran {
    pub(super) events: Vec<Arc<Event>>,
    /// Whether there may be writes in it that only the holder of the lease may commit.
    pub(super) needs_lease: bool,
}

/// What a unit's statements run in.
pub(crate) struct Transaction<'a> {
    connection: &'a mut WriteConnection,
    /// Whether the node's lease held when the transaction began.
    leased: bool,
    /// Whether an owner has asked to write.
    by_owner: bool,
    pub(crate) now: Timestamp,
    pub(crate) ids: Arc<Ids>,
    pub(crate) keyring: Arc<Keyring>,
    /// Events of this transaction, in order; told of after the commit.
    events: Vec<Arc<Event>>,
    /// What is written at its end, with one statement each.
    pub(crate) audit: Vec<AuditEvent>,
    pub(crate) tally: Tally,
    /// Whether the node's heartbeat is written.
    pub(crate) beats: bool,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(
        connection: &'a mut WriteConnection,
        leased: bool,
        now: Timestamp,
        ids: Arc<Ids>,
        keyring: Arc<Keyring>,
    ) -> Self {
        Self {
            connection,
            leased,
            by_owner: false,
            now,
            ids,
            keyring,
            events: Vec::new(),
            audit: Vec::new(),
            tally: Tally::default(),
            beats: false,
        }
    }

    /// Whether owners may write in this transaction. Who asks makes the commit depend on the lease.
    pub(crate) fn writes_for_owner(&mut self) -> bool {
        self.by_owner = true;
        self.leased
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.connection.dialect()
    }

    pub(crate) fn args(&self) -> Args {
        Args::new(self.dialect())
    }

    pub(crate) fn rows(&self, statement: &Statement) -> Rows {
        statement.rows(self.dialect())
    }

    pub(crate) async fn fetch(&mut self, statement: &Statement, args: Args) -> Result<Vec<Row>, Failure> {
        self.connection.fetch(statement, args).await
    }

    pub(crate) async fn execute(&mut self, statement: &Statement, args: Args) -> Result<u64, Failure> {
        self.connection.execute(statement, args).await
    }

    /// Runs a statement on a table of values.
    pub(crate) async fn execute_rows(&mut self, statement: &Statement, rows: Rows) -> Result<u64, Failure> {
        let args = self.args().rows(rows);
        self.execute(statement, args).await
    }

    pub(super) fn wrote(&mut self, events: Vec<Arc<Event>>) {
        self.events.extend(events);
    }

    /// Runs units in their order; neighbours that can share statements do.
    pub(super) async fn run(mut self, units: &mut [Unit]) -> Result<Ran, Failure> {
        for group in units.chunk_by_mut(|a, b| matches!((a, b), (Unit::Planned(_), Unit::Planned(_)))) {
            if let [Unit::Direct(unit)] = group {
                unit.run(&mut self).await?;
                continue;
            }
            let mut needs = Needs::default();
            for unit in group.iter() {
                if let Unit::Planned(unit) = unit {
                    unit.needs(&mut needs);
                }
            }
            let mut draft = Draft::load(&mut self, needs).await?;
            for unit in group.iter_mut() {
                if let Unit::Planned(unit) = unit {
                    unit.plan(&mut draft);
                }
            }
            draft.flush(&mut self).await?;
        }
        let calls = std::mem::take(&mut self.audit);
        audit::flush(calls, &mut self).await?;
        let tally = std::mem::take(&mut self.tally);
        tally.flush(&mut self).await?;
        if self.beats {
            node::beat(&mut self).await?;
        }
        Ok(Ran {
            events: self.events,
            needs_lease: self.by_owner && self.leased,
        })
    }
}
