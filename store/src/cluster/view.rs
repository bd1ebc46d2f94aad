//! Everything about the cluster in one statement.

use std::time::Duration;

use roost_domain::cluster::{ClusterView, Member, NodeCard, NodeLease, NodeName, SlotOwner};
use roost_domain::store::StoreError;
use roost_domain::{Epoch, Slot};

use crate::database::{Row, Statement};

/// Nodes have no slot; slots have nothing between `incarnation` and `slot`. Times are in microseconds.
pub(super) static VIEW: Statement = Statement::new(
    "SELECT n.node, n.incarnation, n.address, n.http_address, n.version, \
     CASE WHEN n.ended_at IS NULL THEN CAST(extract(epoch FROM n.expires_at - clock_timestamp()) * 1000000 AS bigint) \
     END AS left, \
     CAST(extract(epoch FROM clock_timestamp() - n.registered_at) * 1000000 AS bigint) AS age, \
     CAST(CAST(n.draining AS int) AS bigint) AS draining, \
     CAST(NULL AS bigint) AS slot, CAST(NULL AS bigint) AS epoch FROM node_lease AS n \
     UNION ALL \
     SELECT s.node, s.incarnation, NULL, NULL, NULL, NULL, NULL, NULL, s.slot, s.epoch FROM slot AS s \
     WHERE s.epoch > 0",
);

pub(super) fn read(rows: &[Row]) -> Result<ClusterView, StoreError> {
    let mut view = ClusterView::default();
    for row in rows {
        if let Some(number) = row.opt_int(8)? {
            let member = match row.opt_parse::<NodeName>(0)? {
                None => None,
                Some(node) => Some(Member {
                    node,
                    incarnation: row.int(1)?,
                }),
            };
            let epoch = Epoch(row.int(9)?);
            view.slots.insert(slot(number)?, SlotOwner { member, epoch });
        } else {
            let lease = lease(row)?;
            view.nodes.insert(lease.card.node.clone(), lease);
        }
    }
    Ok(view)
}

fn lease(row: &Row) -> Result<NodeLease, StoreError> {
    let micros = |value: i64| u64::try_from(value).ok().map(Duration::from_micros);
    Ok(NodeLease {
        card: NodeCard {
            node: row.parse(0)?,
            address: row.text(2)?,
            http_address: row.text(3)?,
            version: row.text(4)?,
        },
        incarnation: row.int(1)?,
        expires_in: row.opt_int(5)?.and_then(micros).filter(|left| !left.is_zero()),
        age: micros(row.int(6)?).unwrap_or_default(),
        draining: row.int(7)? != 0,
    })
}

pub(super) fn slot(number: i64) -> Result<Slot, StoreError> {
    u16::try_from(number)
        .ok()
        .and_then(Slot::from_number)
        .ok_or_else(|| StoreError::Corrupt(format!("there is no slot {number}")))
}
