//! The node's place in a cluster, as the configuration describes it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use roost_actors::cluster::{BootTime, ClusterParts, ClusterPlacement, ClusterSettings, HeldLease};
use roost_domain::cluster::{NodeCard, NodeName};
use roost_domain::time::Entropy;
use roost_link::{Cookie, Limits, LinkConfig, Listening, TlsFiles};
use roost_store::{Guard, MembershipLimits, PgMembership};

use super::part::{open_error, store_config};
use crate::config::value::Secret;
use crate::config::{self, Config};

/// What is made before the database is opened: its writer asks the lease, too.
pub struct Seat {
    config: config::Cluster,
    card: NodeCard,
    lease: Arc<HeldLease>,
    port: Listening,
}

impl Seat {
    /// Takes the port for other nodes. None, if no cluster is configured.
    pub async fn take(config: &Config, http: SocketAddr) -> anyhow::Result<Option<Self>> {
        let cluster = &config.cluster;
        let Some(node) = cluster.node.clone() else {
            return Ok(None);
        };
        let port = Listening::bind(link(cluster, node.clone())?).await;
        let port = port.context("section [cluster]")?;
        let card = NodeCard {
            node,
            address: cluster
                .address
                .clone()
                .unwrap_or_else(|| port.address().to_string()),
            http_address: http.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Ok(Some(Self {
            config: cluster.clone(),
            card,
            lease: Arc::new(HeldLease::new(Arc::new(BootTime))),
            port,
        }))
    }

    /// Owners write only while the lease holds.
    pub fn guard(&self) -> Guard {
        Guard::by(Arc::clone(&self.lease) as _)
    }

    /// What the actors need to take part. Asks nothing of the database yet.
    pub fn parts(self, config: &Config, entropy: &Arc<dyn Entropy>) -> anyhow::Result<ClusterParts> {
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
            port: self.port.into_port(Arc::clone(entropy)),
            settings,
        })
    }
}

fn link(cluster: &config::Cluster, node: NodeName) -> anyhow::Result<LinkConfig> {
    let cookie = cluster.cookie.as_ref().map_or("", Secret::reveal);
    let tls = match (
        &cluster.authority_file,
        &cluster.certificate_file,
        &cluster.key_file,
    ) {
        (Some(authority), Some(certificate), Some(key)) => Some(TlsFiles {
            authority: authority.clone(),
            certificate: certificate.clone(),
            key: key.clone(),
        }),
        _ => None,
    };
    let defaults = Limits::default();
    Ok(LinkConfig {
        node,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        listen: cluster.listen,
        cookie: Cookie::new(cookie).context("cluster.cookie")?,
        tls,
        limits: Limits {
            calls_in_flight_max: cluster.calls_max,
            body_bytes_max: cluster.call_bytes_max,
            bytes_in_flight_max: defaults.bytes_in_flight_max.max(cluster.call_bytes_max),
            strangers_max: cluster.strangers_max,
            greeting_timeout: cluster.greeting_timeout,
            ping_interval: cluster.ping_interval,
            pings_missed_max: cluster.pings_missed_max,
            ..defaults
        },
    })
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
        hold: cluster.hold,
        operator_timeout: cluster.operator_timeout,
        answer_bytes_max: cluster.call_bytes_max,
        ..ClusterSettings::default()
    }
}
