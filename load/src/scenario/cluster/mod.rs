//! Several nodes on one PostgreSQL: what a call over nodes costs, how long numbers are away when a node is
//! killed, ends or comes back, and how many live actors a node holds.
//!
//! Every node is a `roost serve` of its own. The judge of who was connected when is the sandbox, which
//! writes down every login and its end; PostgreSQL is asked for leases and slots, the nodes for what they
//! run. Everything accepted while nodes come and go must arrive, once.

mod actors;
mod call;
mod drain;
mod failover;
mod front;
mod gap;
mod ground;
mod ledger;
mod node;
mod owner;
mod sample;
mod traffic;

use crate::bench::Setup;
use crate::cli::{ClusterArgs, ClusterPart};
use crate::error::Result;
use crate::report::Section;
use ground::Cluster;

/// Measures the chosen parts; `each` gets every section as soon as it is complete.
pub async fn measure(setup: &Setup, arguments: &ClusterArgs, each: &mut impl FnMut(Section)) -> Result<()> {
    // Pairing is the long part: one cluster serves every part that needs instances.
    let mut kept = None;
    for part in &arguments.part {
        if *part == ClusterPart::Actors {
            kept = None;
            each(actors::measure(setup, arguments).await?);
            continue;
        }
        let cluster = match &mut kept {
            Some(cluster) => cluster,
            None => kept.insert(Cluster::of_three(setup, arguments).await?),
        };
        match part {
            ClusterPart::Call => each(call::measure(cluster).await?),
            ClusterPart::Drain => drain::measure(cluster, each).await?,
            ClusterPart::Failover | ClusterPart::Actors => each(failover::measure(cluster).await?),
        }
    }
    Ok(())
}
