//! A node ends in good order and comes back, both under traffic: how long its numbers are away.

use std::time::Instant;

use rustix::process::Signal;

use super::gap::{gaps, overlaps};
use super::ground::{Cluster, now_us};
use super::sample::Samples;
use super::traffic::Traffic;
use crate::error::{LoadError, Result};
use crate::report::{Mark, Section};

/// How long a number may be away, at the median, in seconds.
const GAP_S: f64 = 1.0;

/// Measures both ways.
pub async fn measure(cluster: &mut Cluster<'_>, each: &mut impl FnMut(Section)) -> Result<()> {
    let place = cluster.nodes.len() - 1;
    each(drain(cluster, place).await?);
    each(join(cluster, place).await?);
    Ok(())
}

async fn drain(cluster: &mut Cluster<'_>, place: usize) -> Result<Section> {
    let setup = cluster.setup;
    let mut section = Section::new("cluster, a node ends", cluster.parameters());
    let moved = cluster.members_of(cluster.nodes[place].name).await?;
    let mut traffic = Traffic::start(cluster, setup.next_number()).await?;
    let (from_us, begun) = (now_us(), Instant::now());
    let ended = cluster.nodes[place].end(setup, Signal::TERM).await?;
    cluster.face();
    let histories = cluster.connected(&moved, from_us).await?;
    let all_back = begun.elapsed();
    let to_us = now_us();
    traffic.flow(cluster.patience()).await?;
    section.row("instances on the node", moved.len() as f64, "");
    section.row(
        "from SIGTERM until the process ended",
        ended.took.as_secs_f64(),
        "s",
    );
    section.row(
        "from SIGTERM until all are connected elsewhere",
        all_back.as_secs_f64(),
        "s",
    );
    describe(&gaps(&histories, from_us, to_us), &mut section);
    section.must_be_zero(
        overlaps(&histories),
        "numbers were connected twice at the same time",
    );
    let killed = usize::from(!ended.is_clean());
    section.must_be_zero(killed, "node did not end cleanly after SIGTERM");
    traffic.finish(cluster, &mut section).await?;
    Ok(section)
}

async fn join(cluster: &mut Cluster<'_>, place: usize) -> Result<Section> {
    let setup = cluster.setup;
    let mut section = Section::new("cluster, a node comes back", cluster.parameters());
    let mut traffic = Traffic::start(cluster, setup.next_number()).await?;
    let from_us = now_us();
    let node = cluster.nodes.get_mut(place).ok_or(LoadError::NotRunning)?;
    let started = node.restart(setup, &cluster.common).await?;
    let ready = started.elapsed();
    cluster.face();
    let even = cluster.settle().await?;
    let moved = cluster.members_of(cluster.nodes[place].name).await?;
    let histories = cluster.connected(&moved, from_us).await?;
    let to_us = now_us();
    traffic.flow(cluster.patience()).await?;
    section.row("instances that it was given", moved.len() as f64, "");
    section.row("from its start until it is ready", ready.as_secs_f64(), "s");
    let until_even = even.saturating_duration_since(started);
    section.row(
        "from its start until the last slot has moved",
        until_even.as_secs_f64(),
        "s",
    );
    describe(&gaps(&histories, from_us, to_us), &mut section);
    section.must_be_zero(
        overlaps(&histories),
        "numbers were connected twice at the same time",
    );
    traffic.finish(cluster, &mut section).await?;
    Ok(section)
}

fn describe(gaps: &[std::time::Duration], section: &mut Section) {
    let gaps = Samples::seconds(gaps.iter().copied());
    section.row("instances that were away", gaps.count() as f64, "");
    let mark = Mark::at_most(GAP_S, None);
    section.marked("how long an instance was away, median", gaps.median(), "s", mark);
    section.row("how long an instance was away, p99", gaps.percentile(99.0), "s");
    section.row("how long an instance was away, max", gaps.max(), "s");
}
