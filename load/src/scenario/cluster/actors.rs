//! Many live actors on one node: what they need while they rest.
//!
//! The actors are buckets of rate limits, one for each client address; addresses are made up in the header of
//! a proxy that the node trusts, which is on its own for this. A bucket is a supervised actor with a mailbox, as sessions and webhooks
//! are, and holds next to nothing beside that.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::ground::Cluster;
use crate::bench::Setup;
use crate::cli::ClusterArgs;
use crate::error::{LoadError, Result};
use crate::http::{Answer, Call};
use crate::latency::per_second;
use crate::pace::{Ticket, Tickets};
use crate::phase::within_showing;
use crate::report::{Mark, Section};
use crate::scenario::traffic::{Operation, drive};
use crate::scenario::{KIB, MIB, cpu_ms, growth_each};

const METRIC: &str = "roost_buckets";
const CONNECTIONS: u16 = 64;
/// Calls from addresses of their own that open connections and fill caches before memory is read.
const WARM_UP: u64 = 500;
/// Beside those that are asked for.
const SPARE: u32 = 10_000;
const REST: Duration = Duration::from_secs(5);
/// How long CPU is measured: several sweeps.
const WINDOW: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);
/// What 100,000 may take, in MiB: 1.5 GiB.
const MEMORY_MIB: f64 = 1_536.0;

/// A cheap call from an address that nobody else has.
struct FromAddress {
    first: u32,
}

impl Operation for FromAddress {
    type Kept = ();

    fn call(&self, ticket: Ticket) -> Call {
        let mut call = Call::get("/v1/instances?limit=1");
        call.headers
            .push(("x-forwarded-for", address(self.first, ticket.index).to_string()));
        call
    }

    fn keep(&self, _: Ticket, _: &Answer) -> Result<(), serde_json::Error> {
        Ok(())
    }
}

/// Addresses of a private network, one after the other.
fn address(first: u32, index: u64) -> Ipv4Addr {
    // There are 16 million, and at most a million actors.
    let host = (u64::from(first) + index) & 0x00ff_ffff;
    Ipv4Addr::from_bits(0x0a00_0000 | u32::try_from(host).unwrap_or_default())
}

/// Makes the actors on a node of its own.
pub async fn measure(setup: &Setup, arguments: &ClusterArgs) -> Result<Section> {
    let (count, limit) = (arguments.actors, setup.options.setup_timeout);
    let environment = vec![
        // A node of a cluster counts addresses without actors.
        ("ROOST__CLUSTER__NODE", String::new()),
        ("ROOST__LIMITS__ADDRESS_COUNTS", "all".to_owned()),
        ("ROOST__HTTP__TRUSTED_PROXIES", "127.0.0.0/8".to_owned()),
        ("ROOST__BUCKETS__MAX", (count + SPARE).to_string()),
        // None goes while it is measured.
        ("ROOST__BUCKETS__PASSIVATE_AFTER", "12h".to_owned()),
    ];
    let mut cluster = Cluster::start(setup, arguments, 1, environment).await?;
    let endpoint = cluster.gateway()?.endpoint.clone();
    let calls = |phase: &'static str, first: u32, number: u64| {
        let operation = Arc::new(FromAddress { first });
        let endpoint = endpoint.clone();
        async move {
            let tickets = Tickets::burst(number);
            let made = drive(phase, limit, &endpoint, CONNECTIONS, &tickets, operation).await?;
            made.check_all_accepted(phase)
        }
    };
    calls("warming up", count + 1, WARM_UP).await?;
    tokio::time::sleep(REST).await;
    let others = live(&cluster).await?;
    let at_rest = cluster.nodes[0].usage()?;
    let begun = Instant::now();
    calls("making actors", 1, u64::from(count)).await?;
    let made = begun.elapsed();
    until_live(&cluster, others + f64::from(count)).await?;
    tokio::time::sleep(REST).await;
    let before = cluster.nodes[0].usage()?;
    tokio::time::sleep(WINDOW).await;
    let after = cluster.nodes[0].usage()?;
    let alive = live(&cluster).await? - others;
    let ended = cluster.nodes[0].end(setup, Signal::TERM).await?;

    let mut section = Section::new("cluster, live actors", json!({"actors": count, "kind": "bucket"}));
    section.row("live actors", alive, "");
    let most = MEMORY_MIB * f64::from(count) / 100_000.0;
    let all = growth_each(at_rest.rss_bytes, after.rss_bytes, 1) / MIB;
    section.marked(
        "memory of all of them (RSS)",
        all,
        "MiB",
        Mark::at_most(most, None),
    );
    let each = growth_each(at_rest.rss_bytes, after.rss_bytes, count as usize) / KIB;
    section.row("memory per actor (RSS)", each, "KiB");
    section.row("node memory at rest (RSS)", at_rest.rss_bytes as f64 / MIB, "MiB");
    section.row("node memory (RSS)", after.rss_bytes as f64 / MIB, "MiB");
    section.row("actors made per second", per_second(count as usize, made), "1/s");
    let cpu = cpu_ms(&at_rest, &before) * 1_000.0 / f64::from(count);
    section.row("node CPU per call that makes one", cpu, "µs");
    let idle = cpu_ms(&before, &after) / WINDOW.as_secs_f64() / 10.0;
    section.row("node CPU while they rest", idle, "% of a core");
    section.row("end after SIGTERM", ended.took.as_secs_f64(), "s");
    let missing = (f64::from(count) - alive).max(0.0);
    // A count of actors.
    section.must_be_zero(missing as usize, "actors have gone");
    let killed = usize::from(!ended.is_clean());
    section.must_be_zero(killed, "node did not end cleanly after SIGTERM");
    Ok(section)
}

async fn until_live(cluster: &Cluster<'_>, count: f64) -> Result<()> {
    let alive = std::cell::Cell::new(0.0);
    let work = async {
        loop {
            alive.set(live(cluster).await?);
            if alive.get() >= count {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let progress = || format!("{} of {count}", alive.get());
    within_showing("counting the actors", cluster.patience(), progress, work).await
}

/// Buckets in the node's memory.
async fn live(cluster: &Cluster<'_>) -> Result<f64> {
    let metrics = cluster.gateway()?.metrics().await?;
    gauge(&metrics, METRIC).ok_or_else(|| LoadError::Refused {
        call: "GET /metrics".to_owned(),
        status: 200,
        body: format!("there is no {METRIC}"),
    })
}

/// The value of a metric without labels.
fn gauge(metrics: &str, name: &str) -> Option<f64> {
    let mut lines = metrics.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(metric, _)| *metric == name)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_actor_has_an_address_of_its_own() {
        assert_eq!(address(1, 0), Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(address(1, 65_535), Ipv4Addr::new(10, 1, 0, 0));
        assert_eq!(address(1_000_001, 499), Ipv4Addr::new(10, 15, 68, 52));
    }

    #[test]
    fn a_gauge_is_found_by_its_whole_name() {
        let metrics = "# TYPE roost_buckets gauge\nroost_buckets_max 7\nroost_buckets 100012\n\n";
        assert_eq!(gauge(metrics, METRIC), Some(100_012.0));
        assert_eq!(gauge(metrics, "roost"), None);
    }
}
