//! `[cluster]`: this gateway as one of several nodes over one database.

use std::time::Duration;

use roost_domain::cluster::{LOCAL_NODE, NodeName};
use serde::{Deserialize, Serialize};

use super::Config;
use super::value::{duration, optional};

/// `[cluster]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Name of this node; none is no cluster.
    #[serde(with = "optional")]
    pub node: Option<NodeName>,
    /// How long a lease lasts.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// How long before its end a node stops to act.
    #[serde(with = "duration")]
    pub lease_margin: Duration,
    /// How often the rows of nodes and slots are read.
    #[serde(with = "duration")]
    pub tick: Duration,
    /// How long a node has to be live before it is given slots.
    #[serde(with = "duration")]
    pub stable_for: Duration,
    /// When anybody takes a free slot.
    #[serde(with = "duration")]
    pub take_after: Duration,
    /// Slots given away at once to even out the cluster.
    pub moves_max: usize,
    /// Slots given away at once by a node that stops.
    pub drain_wave: usize,
}

/// What has to hold between keys.
pub(super) fn relations(config: &Config, need: &mut impl FnMut(bool, &str, &str)) {
    let (cluster, second) = (&config.cluster, Duration::from_secs(1));
    let Some(node) = &cluster.node else { return };
    need(
        node.as_str() != LOCAL_NODE,
        "cluster.node",
        "must not be \"local\": that is a gateway without a cluster",
    );
    need(
        config
            .store
            .url
            .as_ref()
            .is_some_and(|url| url.scheme() != "sqlite"),
        "cluster.node",
        "needs PostgreSQL (store.url)",
    );
    need(
        (3 * second..=300 * second).contains(&cluster.lease),
        "cluster.lease",
        "must be 3s to 5m",
    );
    need(
        (Duration::from_millis(500)..=cluster.lease / 4).contains(&cluster.lease_margin),
        "cluster.lease_margin",
        "must be 500ms to a quarter of cluster.lease",
    );
    need(
        config.store.idle_transaction_timeout <= cluster.lease,
        "store.idle_transaction_timeout",
        "must not be longer than cluster.lease",
    );
    need(
        !cluster.tick.is_zero() && cluster.tick <= cluster.lease / 2,
        "cluster.tick",
        "must be longer than zero and at most half of cluster.lease",
    );
    need(
        cluster.take_after >= 2 * cluster.tick,
        "cluster.take_after",
        "must be at least twice cluster.tick",
    );
    need(
        (1..=1024).contains(&cluster.moves_max) && (1..=1024).contains(&cluster.drain_wave),
        "cluster.moves_max",
        "this and cluster.drain_wave must be 1 to 1024",
    );
}
