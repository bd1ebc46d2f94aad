//! What a call costs more when the node that is asked does not own the instance.
//!
//! The call is `GET /v1/instances/{id}/qr` on a connected instance: its session's actor is asked, and answers
//! at once that there is no code (409). No database is asked, so that what is compared is the way. Of each
//! pair one goes to the owner and one to another node, in turns who is first, on connections that are open.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ground::Cluster;
use super::sample::Samples;
use crate::error::{LoadError, Result};
use crate::http::{CALL_TIMEOUT, Call, Connection};
use crate::latency::per_second;
use crate::phase::within;
use crate::report::{Mark, Section};
use crate::scenario::cpu_ms;
use crate::scenario::hammer::{Target, hammer};

/// What the actor answers.
const STATUS: u16 = 409;
const CODE: &str = "\"wrong_state\"";
/// Pairs that open connections and fill caches before anything is measured.
const WARM_UP: u32 = 500;
const WARM_UP_TIME: Duration = Duration::from_secs(1);
/// What another node may add, in milliseconds.
const ADDED_P50_MS: f64 = 0.5;
const ADDED_P99_MS: f64 = 3.0;

/// A call, the node that owns its instance, and those that do not.
struct Sought {
    call: Call,
    owner: usize,
    others: Vec<usize>,
}

/// Times in milliseconds, one pair after the other.
#[derive(Default)]
struct Pairs {
    owner: Vec<f64>,
    other: Vec<f64>,
}

/// Measures latencies one by one, then calls per second.
pub async fn measure(cluster: &mut Cluster<'_>) -> Result<Section> {
    let owners = cluster.owners().await?;
    let sought = sought(cluster, &owners);
    let mut parameters = cluster.parameters();
    parameters["calls"] = cluster.arguments.calls.into();
    parameters["connections"] = cluster.arguments.connections.into();
    parameters["duration_s"] = cluster.arguments.duration.as_secs_f64().into();
    let mut section = Section::new("cluster, calls", parameters);
    let pairs = cluster.arguments.calls / 2;
    let limit = cluster.patience() + CALL_TIMEOUT;
    let work = compare(cluster, &sought, pairs);
    describe(
        &within("calling one after the other", limit, work).await?,
        &mut section,
    );
    for remote in [false, true] {
        rate(cluster, &sought, remote, &mut section).await?;
    }
    let moved = cluster.owners().await?;
    let moved = owners
        .iter()
        .filter(|(instance, node)| moved.get(*instance) != Some(node));
    let moved = moved.count();
    if moved > 0 {
        section.notes.push(format!("{moved} instances moved meanwhile"));
    }
    section.notes.push(
        "the call is GET /v1/instances/{id}/qr on a connected instance: the session's actor refuses it with 409"
            .to_owned(),
    );
    Ok(section)
}

fn sought(cluster: &Cluster<'_>, owners: &std::collections::BTreeMap<String, &'static str>) -> Vec<Sought> {
    let place = |name: &str| cluster.nodes.iter().position(|node| node.name == name);
    let of_member = |member: &crate::population::Member| {
        let owner = place(owners.get(&member.instance)?)?;
        let mut call = Call::get(format!("/v1/instances/{}/qr", member.instance));
        call.accept = Some("application/json");
        Some(Sought {
            call,
            owner,
            others: (0..cluster.nodes.len()).filter(|&node| node != owner).collect(),
        })
    };
    cluster.members.iter().filter_map(of_member).collect()
}

/// Calls the owner and another node in turns, one call at a time.
async fn compare(cluster: &Cluster<'_>, sought: &[Sought], count: u32) -> Result<Pairs> {
    let nodes = cluster.nodes.iter();
    let mut connections: Vec<Connection> = nodes
        .map(|node| Connection::new(node.gateway.endpoint.clone()))
        .collect();
    let mut pairs = Pairs::default();
    for round in 0..WARM_UP + count {
        let number = round as usize;
        let target = &sought[number % sought.len()];
        // Each instance is sought at the one and then at the other.
        let other = target.others[(number / sought.len() + number) % target.others.len()];
        let order = [target.owner, other];
        let first = number % 2;
        let mut times = [0.0; 2];
        for which in [first, 1 - first] {
            let begun = Instant::now();
            call(&mut connections[order[which]], &target.call).await?;
            times[which] = begun.elapsed().as_secs_f64() * 1_000.0;
        }
        if round >= WARM_UP {
            pairs.owner.push(times[0]);
            pairs.other.push(times[1]);
        }
    }
    Ok(pairs)
}

async fn call(connection: &mut Connection, call: &Call) -> Result<()> {
    let answer = connection.call(call).await.map_err(|source| LoadError::Call {
        call: call.path.clone(),
        source,
    })?;
    let body = String::from_utf8_lossy(&answer.body);
    if answer.status == STATUS && body.contains(CODE) {
        return Ok(());
    }
    Err(LoadError::Refused {
        call: call.path.clone(),
        status: answer.status,
        body: body.into_owned(),
    })
}

fn describe(pairs: &Pairs, section: &mut Section) {
    let (owner, other) = (Samples::of(pairs.owner.clone()), Samples::of(pairs.other.clone()));
    for (name, samples) in [("at the owner", &owner), ("through another node", &other)] {
        for percent in [50.0, 99.0] {
            let value = samples.percentile(percent);
            section.row(format!("one call at a time, {name}, p{percent}"), value, "ms");
        }
    }
    for (percent, most) in [(50.0, ADDED_P50_MS), (99.0, ADDED_P99_MS)] {
        let added = other.percentile(percent) - owner.percentile(percent);
        let mark = Mark::at_most(most, None);
        section.marked(format!("added by another node, p{percent}"), added, "ms", mark);
    }
    let each = pairs.other.iter().zip(&pairs.owner);
    let differences = Samples::of(each.map(|(other, owner)| other - owner));
    section.row("difference within a pair, median", differences.median(), "ms");
    section.row(
        "difference within a pair, p99",
        differences.percentile(99.0),
        "ms",
    );
    section.row("pairs", differences.count() as f64, "");
}

/// As many calls as are answered, to owners or to nodes that are not.
async fn rate(
    cluster: &mut Cluster<'_>,
    sought: &[Sought],
    remote: bool,
    section: &mut Section,
) -> Result<()> {
    let name = if remote {
        "through another node"
    } else {
        "at the owner"
    };
    let targets: Vec<Target> = cluster
        .nodes
        .iter()
        .enumerate()
        .map(|(place, node)| {
            let own = sought.iter().filter(|target| (target.owner != place) == remote);
            let calls: Arc<[Call]> = own.map(|target| target.call.clone()).collect();
            let endpoint = node.gateway.endpoint.clone();
            Target { endpoint, calls }
        })
        .filter(|target| !target.calls.is_empty())
        .collect();
    let phase = format!("calling {name}");
    let arguments = cluster.arguments;
    let hammering = |duration| hammer(&phase, STATUS, &targets, arguments.connections, duration);
    hammering(WARM_UP_TIME).await?;
    let before = usage(cluster)?;
    let begun = Instant::now();
    let (count, latencies) = hammering(arguments.duration).await?;
    let elapsed = begun.elapsed();
    let after = usage(cluster)?;
    let cpu: f64 = before
        .iter()
        .zip(&after)
        .map(|(before, after)| cpu_ms(before, after))
        .sum();
    let (calls, summary) = (count.max(1) as f64, latencies.summary());
    let connections = arguments.connections;
    section.row(
        format!("calls on {connections} connections, {name}"),
        per_second(count, elapsed),
        "1/s",
    );
    section.row(
        format!("CPU of all nodes per call, {name}"),
        cpu * 1_000.0 / calls,
        "µs",
    );
    section.notes.push(format!(
        "on {connections} connections, {name}: p50 {:.2} ms, p99 {:.2} ms",
        summary.p50_ms, summary.p99_ms
    ));
    Ok(())
}

fn usage(cluster: &mut Cluster<'_>) -> Result<Vec<crate::process::Usage>> {
    cluster.nodes.iter_mut().map(|node| node.usage()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_the_difference_of_the_percentiles() {
        let pairs = Pairs {
            owner: vec![0.1; 100],
            other: (1..=100).map(|tenth| 0.2 + f64::from(tenth) / 1_000.0).collect(),
        };
        let mut section = Section::new("test", serde_json::Value::Null);
        describe(&pairs, &mut section);
        assert!((section.value("added by another node, p50") - 0.15).abs() < 1e-9);
        assert!((section.value("added by another node, p99") - 0.199).abs() < 1e-9);
        assert!((section.value("difference within a pair, median") - 0.15).abs() < 1e-9);
        assert_eq!(section.value("pairs"), 100.0);
    }
}
