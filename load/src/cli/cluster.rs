//! What to measure of a cluster.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::duration;

/// What to measure of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClusterPart {
    /// What a call costs more when another node owns the instance.
    Call,
    /// A node ends, and comes back, under traffic.
    Drain,
    /// kill -9 of a node under traffic.
    Failover,
    /// Many live actors on one node.
    Actors,
}

#[derive(Debug, Clone, Args)]
pub struct ClusterArgs {
    /// What to measure. All parts but `actors`, which has a node of its own, share one cluster of three.
    #[arg(long, value_delimiter = ',', default_values = ["call", "drain", "failover", "actors"])]
    pub part: Vec<ClusterPart>,
    /// Connected instances of the cluster of three.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(12..=20_000))]
    pub instances: u32,
    /// How long a node's lease lasts.
    #[arg(long, default_value = "4s", value_parser = lease)]
    pub lease: Duration,
    /// Speak mutual TLS between the nodes.
    #[arg(long)]
    pub tls: bool,
    /// Calls of `call`, half of them to the owner and half to another node, one after the other.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(200..=2_000_000))]
    pub calls: u32,
    /// Connections of `call`, each with one call under way, for the number of calls per second.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub connections: u16,
    /// How long calls per second are measured.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Messages per second in each direction while nodes come and go.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rate: u32,
    /// Instances that send and receive these.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub talkers: u32,
    /// Live actors of `actors`.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub actors: u32,
}

/// Nodes take nothing else.
fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    let bounds = Duration::from_secs(3)..=Duration::from_secs(300);
    if !bounds.contains(&lease) {
        return Err("expected 3s to 5m".to_owned());
    }
    Ok(lease)
}
