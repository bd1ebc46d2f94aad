//! `[cluster]`: this gateway as one of several nodes over one database.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use roost_domain::cluster::{LOCAL_NODE, NodeName};
use serde::{Deserialize, Serialize};

use super::Config;
use super::value::{Secret, duration, optional, size};

/// Shortest cookie.
const COOKIE_BYTES_MIN: usize = 16;

/// `[cluster]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Name of this node; none is no cluster.
    #[serde(with = "optional")]
    pub node: Option<NodeName>,
    /// Where other nodes of the cluster are listened for.
    pub listen: SocketAddr,
    /// Host and port at which they reach it; none is where it listens.
    #[serde(with = "optional")]
    pub address: Option<String>,
    /// Secret that all nodes share.
    #[serde(with = "optional")]
    pub cookie: Option<Secret>,
    /// PEM file with the authority that vouches for all nodes.
    #[serde(with = "optional")]
    pub authority_file: Option<PathBuf>,
    /// PEM file with this node's certificate.
    #[serde(with = "optional")]
    pub certificate_file: Option<PathBuf>,
    /// PEM file with its key.
    #[serde(with = "optional")]
    pub key_file: Option<PathBuf>,
    /// Calls to one node that may be under way.
    pub calls_max: usize,
    /// Largest call, and largest answer.
    #[serde(with = "size")]
    pub call_bytes_max: usize,
    /// Connections to the listener that have not said yet who they are.
    pub strangers_max: usize,
    /// Time for a connection to say so.
    #[serde(with = "duration")]
    pub greeting_timeout: Duration,
    /// How often nodes ask each other for a sign of life.
    #[serde(with = "duration")]
    pub ping_interval: Duration,
    /// How many such questions may stay without an answer.
    pub pings_missed_max: u32,
    /// How long a lease lasts.
    #[serde(with = "duration")]
    pub lease: Duration,
    /// How long before its end a node stops to act.
    #[serde(with = "duration")]
    pub lease_margin: Duration,
    /// How often the rows of nodes and slots are read.
    #[serde(with = "duration")]
    pub tick: Duration,
    /// How often a node looks what others have changed without having been told.
    #[serde(with = "duration")]
    pub poll: Duration,
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
    /// How long a call is held that meets no owner.
    #[serde(with = "duration")]
    pub hold: Duration,
    /// How long another node has to answer an operator's question.
    #[serde(with = "duration")]
    pub operator_timeout: Duration,
}

/// What has to hold between keys.
pub(super) fn relations(config: &Config, need: &mut impl FnMut(bool, &str, &str)) {
    let (cluster, second) = (&config.cluster, Duration::from_secs(1));
    need(
        (3 * second..=300 * second).contains(&cluster.lease),
        "cluster.lease",
        "must be 3s to 5m",
    );
    let Some(node) = &cluster.node else { return };
    link_relations(cluster, need);
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
        (second / 10..=60 * second).contains(&cluster.poll),
        "cluster.poll",
        "must be 100ms to 60s",
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
    need(
        cluster.hold <= 5 * second,
        "cluster.hold",
        "must not be longer than 5s",
    );
    need(
        (Duration::from_millis(50)..=5 * second).contains(&cluster.operator_timeout),
        "cluster.operator_timeout",
        "must be 50ms to 5s",
    );
}

/// What has to hold for the link to other nodes.
fn link_relations(cluster: &Cluster, need: &mut impl FnMut(bool, &str, &str)) {
    let cookie = cluster.cookie.as_ref().map_or("", Secret::reveal);
    need(
        cookie.len() >= COOKIE_BYTES_MIN,
        "cluster.cookie",
        "is needed, the same on every node, with at least 16 characters: for example of `openssl rand -hex 32`",
    );
    need(
        cluster.address.is_some() || !cluster.listen.ip().is_unspecified(),
        "cluster.address",
        "is needed when cluster.listen is every address of this host: other nodes have to be told one",
    );
    need(
        cluster.address.as_ref().is_none_or(|address| has_port(address)),
        "cluster.address",
        "must be a host and a port, as \"node-1.example.org:9400\"",
    );
    let files = [
        &cluster.authority_file,
        &cluster.certificate_file,
        &cluster.key_file,
    ];
    let given = files.iter().filter(|file| file.is_some()).count();
    need(
        given == 0 || given == files.len(),
        "cluster.certificate_file",
        "this, cluster.authority_file and cluster.key_file belong together",
    );
    need(
        given > 0 || cluster.listen.ip().is_loopback(),
        "cluster.certificate_file",
        "is needed when cluster.listen is not a loopback address: `roost cluster certs` makes certificates",
    );
    need(
        (1..=65_536).contains(&cluster.calls_max),
        "cluster.calls_max",
        "must be 1 to 65536",
    );
    need(
        (64 << 10..=16 << 20).contains(&cluster.call_bytes_max),
        "cluster.call_bytes_max",
        "must be 64KiB to 16MiB",
    );
    need(
        cluster.strangers_max > 0,
        "cluster.strangers_max",
        "must be more than 0",
    );
    need(
        !cluster.greeting_timeout.is_zero() && !cluster.ping_interval.is_zero(),
        "cluster.ping_interval",
        "this and cluster.greeting_timeout must be longer than zero",
    );
    need(
        cluster.pings_missed_max > 0,
        "cluster.pings_missed_max",
        "must be more than 0",
    );
}

fn has_port(address: &str) -> bool {
    let parts = address.rsplit_once(':');
    parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}
