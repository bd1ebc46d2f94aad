//! The node's place in a cluster, as the configuration describes it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use roost_actors::cluster::{BootTime, ClusterParts, ClusterPlacement, ClusterSettings, HeldLease};
use roost_domain::cluster::NodeCard;
use roost_store::{Guard, MembershipLimits, PgMembership};

use super::part::{open_error, store_config};
use crate::config::{self, Config};

/// What is made before the database is opened: its writer asks the lease, too.
pub struct Seat {
    config: config::Cluster,
    card: NodeCard,
    lease: Arc<HeldLease>,
}

impl Seat {
    /// None, if no cluster is configured.
    pub fn of(config: &Config, http: SocketAddr) -> Option<Self> {
        let node = config.cluster.node.clone()?;
        // The same after a restart here, and another one on another host.
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let card = NodeCard {
            node,
            address: format!("{host}/{http}"),
            http_address: http.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Some(Self {
            config: config.cluster.clone(),
            card,
            lease: Arc::new(HeldLease::new(Arc::new(BootTime))),
        })
    }

    /// Owners write only while the lease holds.
    pub fn guard(&self) -> Guard {
        Guard::by(Arc::clone(&self.lease) as _)
    }

    /// What the actors need to take part. Asks nothing of the database yet.
    pub fn parts(self, config: &Config) -> anyhow::Result<ClusterParts> {
        let settings = settings(&self.config);
        let (store, call) = (store_config(config)?, settings.call());
        let rows = || {
            let limits = MembershipLimits { renew: call, call };
            PgMembership::new(&store, limits).map_err(open_error)
        };
        Ok(ClusterParts {
            membership: Arc::new(rows().context("section [cluster]")?),
            lease_rows: Arc::new(rows().context("section [cluster]")?),
            placement: Arc::new(ClusterPlacement::new(
                self.card.node.clone(),
                Arc::clone(&self.lease) as _,
            )),
            card: self.card,
            lease: self.lease,
            settings,
        })
    }
}

fn settings(cluster: &config::Cluster) -> ClusterSettings {
    ClusterSettings {
        ttl: cluster.lease,
        margin: cluster.lease_margin,
        tick: cluster.tick,
        stable_for: cluster.stable_for,
        take_after: cluster.take_after,
        moves_max: cluster.moves_max,
        drain_wave: cluster.drain_wave,
        ..ClusterSettings::default()
    }
}
