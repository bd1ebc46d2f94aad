//! The rows by which nodes of a cluster know each other and share the slots, on PostgreSQL.
//!
//! ```text
//! keeper ──renew──────▶ line of its own ─┐
//! steward ──claim …───▶ line             ├─▶ node_lease · slot · meta.epoch
//!         ◀─changed──── LISTEN           ┘
//! ```
//! Only the database's clock decides when a lease has expired. Lives begin and slots are taken one after
//! the other, by whoever has raised the one counter; who takes something first ends every lease that has
//! expired, so that a late renewal finds its row changed and fails. So of a slot there is one owner at a
//! time, under epochs that only grow, also over [`roost_domain::store::Node::next_epoch`].
//!
//! Connections are opened in the first call that needs one, on that call's runtime, and anew when they are
//! lost. After a crash the rows stand as they were, and the leases run out.

mod ears;
mod line;
mod place;
#[cfg(test)]
mod tests;
mod view;

use std::time::Duration;

use async_trait::async_trait;
use roost_domain::cluster::{
    ClusterView, LOCAL_NODE, Member, Membership, MembershipError, NodeCard, NodeName,
};
use roost_domain::store::StoreError;
use roost_domain::{Epoch, Slot};

use self::ears::Ears;
use self::line::Line;
use self::place::slot_rows;
pub(crate) use self::place::{place_rows, rows_by_slots};
use crate::StoreConfig;
use crate::database::{Address, Args, Column, Dialect, Row, Statement};
use crate::open::{self, OpenError};

/// Name of the hash of [`Slot`], as it stands in the database.
const HASH: &str = "xxh3_64";

static REGISTER: Statement = Statement::new(
    "SELECT r.outcome, r.number, r.other_node, r.other_address \
     FROM cluster_register($1, $2, $3, $4, $5, $6, $7, $8) AS r",
);

static RENEW: Statement = Statement::new(
    "UPDATE node_lease SET expires_at = clock_timestamp() + CAST($3 AS bigint) * interval '1 millisecond' \
     WHERE node = $1 AND incarnation = $2 AND ended_at IS NULL AND expires_at > clock_timestamp() RETURNING 1",
);

static CLAIM: Statement = Statement::with_rows(
    "SELECT c.taken, c.under FROM cluster_claim($1, $2, ARRAY(SELECT r.slot FROM {rows} AS r)) AS c",
    &[Column::Int("slot")],
);

/// Waits for its turn as a claim does, so that the two never hold slots that the other waits for.
static RELEASE: Statement = Statement::with_rows(
    "WITH turn AS MATERIALIZED (SELECT 1 FROM meta WHERE name = 'epoch' FOR UPDATE), \
     freed AS (UPDATE slot AS s SET node = NULL, incarnation = NULL FROM turn, {rows} AS r \
     WHERE s.slot = r.slot AND s.node = $1 AND s.incarnation = $2 RETURNING s.slot) \
     SELECT 1, pg_notify('roost_cluster', '') WHERE EXISTS (SELECT 1 FROM freed)",
    &[Column::Int("slot")],
);

static SET_DRAINING: Statement = Statement::new(
    "WITH marked AS (UPDATE node_lease SET draining = CAST($2 AS bigint) <> 0 WHERE node = $1 RETURNING node) \
     SELECT 1, pg_notify('roost_cluster', '') FROM marked",
);

static LEAVE: Statement = Statement::new(
    "WITH gone AS (DELETE FROM node_lease WHERE node = $1 AND incarnation = $2 RETURNING node) \
     SELECT 1, pg_notify('roost_cluster', '') FROM gone",
);

/// How long calls may take. The database gives a statement up after the same time.
#[derive(Debug, Clone, Copy)]
pub struct MembershipLimits {
    /// A renewal: a third of a lease leaves time for another attempt.
    pub renew: Duration,
    /// Everything else.
    pub call: Duration,
}

/// [`Membership`] on PostgreSQL.
pub struct PgMembership {
    renewals: Line,
    calls: Line,
    ears: Ears,
}

impl PgMembership {
    /// Membership in the database that a store has migrated. Connects when it is first used.
    pub fn new(config: &StoreConfig, limits: MembershipLimits) -> Result<Self, OpenError> {
        let Address::Postgres(options) = open::address(config)? else {
            return Err(OpenError::Url("a cluster needs PostgreSQL".to_owned()));
        };
        let options = options.application_name("roost membership");
        Ok(Self {
            renewals: Line::new(options.clone(), limits.renew),
            calls: Line::new(options.clone(), limits.call),
            ears: Ears::new(options, limits.call),
        })
    }

    async fn call(&self, statement: &Statement, args: Args) -> Result<Vec<Row>, MembershipError> {
        Ok(self.calls.fetch(statement, args).await?)
    }
}

/// Arguments that begin with a node's life.
fn of(me: &Member) -> Args {
    Args::new(Dialect::Postgres).text(&me.node).int(me.incarnation)
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn registered(card: &NodeCard, row: Option<&Row>) -> Result<Member, MembershipError> {
    let row = row.ok_or_else(|| StoreError::Corrupt("the registration had no outcome".to_owned()))?;
    let address = || row.text(3);
    match row.str(0)? {
        "registered" => Ok(Member {
            node: card.node.clone(),
            incarnation: row.int(1)?,
        }),
        "taken" => Err(MembershipError::NameTaken {
            node: row.parse(2)?,
            address: address()?,
        }),
        "not_alone" => Err(MembershipError::NotAlone {
            node: row.parse(2)?,
            address: address()?,
        }),
        _ => Err(MembershipError::Layout(format!(
            "the database has {}, this release {} slots by {HASH}",
            address()?,
            Slot::COUNT
        ))),
    }
}

#[async_trait]
impl Membership for PgMembership {
    async fn register(&self, card: &NodeCard, ttl: Duration) -> Result<Member, MembershipError> {
        let args = Args::new(Dialect::Postgres)
            .text(&card.node)
            .text(&card.address)
            .text(&card.http_address)
            .text(&card.version)
            .int(millis(ttl))
            .int(i64::from(Slot::COUNT))
            .text(HASH)
            .text(LOCAL_NODE);
        let rows = self.call(&REGISTER, args).await?;
        registered(card, rows.first())
    }

    async fn renew(&self, me: &Member, ttl: Duration) -> Result<(), MembershipError> {
        let rows = self.renewals.fetch(&RENEW, of(me).int(millis(ttl))).await?;
        rows.first().map(drop).ok_or(MembershipError::Lost)
    }

    async fn view(&self) -> Result<ClusterView, MembershipError> {
        let rows = self.call(&view::VIEW, Args::new(Dialect::Postgres)).await?;
        Ok(view::read(&rows)?)
    }

    async fn claim(&self, me: &Member, slots: &[Slot]) -> Result<Vec<(Slot, Epoch)>, MembershipError> {
        let args = of(me).rows(slot_rows(&CLAIM, Dialect::Postgres, slots));
        let rows = self.call(&CLAIM, args).await?;
        // The first row says that the lease holds.
        let (_, taken) = rows.split_first().ok_or(MembershipError::Lost)?;
        let read = |row: &Row| Ok((view::slot(row.int(0)?)?, Epoch(row.int(1)?)));
        Ok(taken.iter().map(read).collect::<Result<_, StoreError>>()?)
    }

    async fn release(&self, me: &Member, slots: &[Slot]) -> Result<(), MembershipError> {
        let args = of(me).rows(slot_rows(&RELEASE, Dialect::Postgres, slots));
        self.call(&RELEASE, args).await.map(drop)
    }

    async fn set_draining(&self, node: &NodeName, draining: bool) -> Result<bool, MembershipError> {
        let args = Args::new(Dialect::Postgres).text(node).int(i64::from(draining));
        Ok(!self.call(&SET_DRAINING, args).await?.is_empty())
    }

    async fn leave(&self, me: &Member) -> Result<(), MembershipError> {
        self.call(&LEAVE, of(me)).await.map(drop)
    }

    async fn changed(&self) -> Result<(), MembershipError> {
        Ok(self.ears.wait().await?)
    }
}
