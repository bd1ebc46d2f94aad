//! kill -9 of a node under traffic: until others own all it had, dial, and have it connected.
//!
//! When slots were taken says the commit of each claim, when numbers dialled and logged in the sandbox, and
//! when they were connected the event log. All have the clock of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::process::Signal;

use super::gap::{comebacks, overlaps};
use super::ground::{Cluster, now_us};
use super::sample::Samples;
use super::traffic::Traffic;
use crate::error::{LoadError, Result};
use crate::phase::within_showing;
use crate::population::Member;
use crate::report::{Mark, Section};
use crate::stream::Event;

const STATE_CHANGED: &str = "instance.state_changed";
const POLL: Duration = Duration::from_millis(50);
/// What others may take beyond the lease until they own and dial all, in seconds.
const BEYOND_LEASE_S: f64 = 1.0;

/// Kills a node, and starts it again in the end.
pub async fn measure(cluster: &mut Cluster<'_>) -> Result<Section> {
    let setup = cluster.setup;
    let place = cluster.nodes.len() - 1;
    let name = cluster.nodes[place].name;
    let lost = cluster.members_of(name).await?;
    let run = setup.next_number();
    // The traffic is that of the other nodes' clients.
    let others = cluster.nodes.iter().filter(|node| node.name != name);
    cluster
        .front
        .face(others.map(|node| node.gateway.endpoint.clone()));
    let mut traffic = Traffic::start(cluster, run).await?;
    let after = cluster.gateway()?.last_seq(STATE_CHANGED).await?;

    let killed_us = now_us();
    cluster.nodes[place].end(setup, Signal::KILL).await?;
    let events = connected_events(cluster, &lost, after).await?;
    let histories = cluster.connected(&lost, killed_us).await?;
    let lease_us = lease_end(cluster, name).await?;
    let claims_us = claims(cluster, killed_us).await?;
    traffic.flow(cluster.patience()).await?;

    let mut section = Section::new("cluster, a node is killed", cluster.parameters());
    section.row("instances on the node", lost.len() as f64, "");
    let since = |at_us: u64| Duration::from_micros(at_us.saturating_sub(killed_us));
    section.row(
        "from the kill until its lease ran out",
        since(lease_us).as_secs_f64(),
        "s",
    );
    let claims = Samples::seconds(claims_us.iter().map(|&at_us| since(at_us)));
    let each = cluster.members.iter().zip(&histories);
    let of_lost = each.filter(|(member, _)| lost.iter().any(|other| other.phone == member.phone));
    let backs = comebacks(of_lost.map(|(_, history)| history), killed_us);
    let dials = Samples::seconds(backs.iter().map(|(dialled, _)| *dialled));
    section.row(
        "from the kill until its last slot has an owner",
        claims.max(),
        "s",
    );
    section.marked(
        "from the kill until the last instance is owned and dialled",
        claims.max().max(dials.max()),
        "s",
        Mark::at_most(cluster.arguments.lease.as_secs_f64() + BEYOND_LEASE_S, None),
    );
    section.row("until an instance is dialled, median", dials.median(), "s");
    let connects = events.values().map(|&at_us| since(at_us));
    for (what, times) in [
        (
            "logged in, by the sandbox",
            Samples::seconds(backs.iter().map(|(_, login)| *login)),
        ),
        ("connected, by the event log", Samples::seconds(connects)),
    ] {
        section.row(
            format!("until an instance is {what}, median"),
            times.median(),
            "s",
        );
        section.row(format!("until an instance is {what}, max"), times.max(), "s");
    }
    section.must_be_zero(
        overlaps(&histories),
        "numbers were connected twice at the same time",
    );
    traffic.finish(cluster, &mut section).await?;

    let node = cluster.nodes.get_mut(place).ok_or(LoadError::NotRunning)?;
    node.restart(setup, &cluster.common).await?;
    cluster.face();
    cluster.settle().await?;
    cluster.connected(&[], 0).await?;
    Ok(section)
}

/// Waits until the event log says of each that it is connected, and when; by instance.
async fn connected_events(
    cluster: &Cluster<'_>,
    lost: &[Member],
    after: i64,
) -> Result<BTreeMap<String, u64>> {
    let wanted: BTreeSet<&str> = lost.iter().map(|member| member.instance.as_str()).collect();
    let gateway = &cluster.nodes[0].gateway;
    let found = std::cell::RefCell::new(BTreeMap::new());
    let work = async {
        let mut after = after;
        loop {
            let page = gateway.events(STATE_CHANGED, after).await?;
            let at_end = page.next_after <= after;
            after = page.next_after.max(after);
            note(&wanted, &mut found.borrow_mut(), page.data);
            if found.borrow().len() == wanted.len() {
                return Ok(found.take());
            }
            if at_end {
                tokio::time::sleep(POLL).await;
            }
        }
    };
    let progress = || format!("{} of {} are connected", found.borrow().len(), wanted.len());
    within_showing(
        "waiting for the killed node's instances",
        cluster.patience(),
        progress,
        work,
    )
    .await
}

/// Keeps the first time at which each of the wanted was connected.
fn note(wanted: &BTreeSet<&str>, found: &mut BTreeMap<String, u64>, events: Vec<Event>) {
    for event in events {
        let state = event.data.instance.map(|instance| instance.state);
        let (Some("connected"), Some(instance)) = (state.as_deref(), event.instance_id) else {
            continue;
        };
        if wanted.contains(instance.as_str()) {
            // Not before 1970.
            let at_us = event.timestamp.as_microsecond().max(0).cast_unsigned();
            found.entry(instance).or_insert(at_us);
        }
    }
}

/// When the lease of a node ran out.
async fn lease_end(cluster: &Cluster<'_>, node: &str) -> Result<u64> {
    let query = format!(
        "SELECT CAST(extract(epoch FROM expires_at) * 1000000 AS bigint) FROM node_lease WHERE node = '{node}'"
    );
    let times = times(&cluster.postgres.ask(&query).await?)?;
    times.first().copied().ok_or(LoadError::NotRunning)
}

/// When each slot was claimed that was claimed since a moment.
async fn claims(cluster: &Cluster<'_>, since_us: u64) -> Result<Vec<u64>> {
    let query =
        "SELECT CAST(extract(epoch FROM pg_xact_commit_timestamp(xmin)) * 1000000 AS bigint) FROM slot";
    let mut times = times(&cluster.postgres.ask(query).await?)?;
    times.retain(|&at_us| at_us >= since_us);
    Ok(times)
}

fn times(rows: &[Vec<String>]) -> Result<Vec<u64>> {
    let time = |row: &Vec<String>| row.first().and_then(|field| field.parse().ok());
    let times: Option<_> = rows.iter().map(time).collect();
    times.ok_or_else(|| LoadError::Postgres(format!("unexpected rows: {rows:?}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(instance: &str, state: &str, second: u32) -> Event {
        let event = json!({
            "seq": second,
            "type": STATE_CHANGED,
            "timestamp": format!("1970-01-01T00:00:{second:02}Z"),
            "instance_id": instance,
            "data": {"instance": {"state": state}},
        });
        serde_json::from_value(event).unwrap()
    }

    #[test]
    fn the_first_connection_of_each_wanted_instance_counts() {
        let wanted = BTreeSet::from(["ins_1", "ins_2"]);
        let mut found = BTreeMap::new();
        let events = vec![
            event("ins_1", "connecting", 1),
            event("ins_3", "connected", 2),
            event("ins_1", "connected", 3),
            event("ins_1", "connected", 4),
        ];
        note(&wanted, &mut found, events);
        assert_eq!(found, BTreeMap::from([("ins_1".to_owned(), 3_000_000)]));
    }

    #[test]
    fn times_are_numbers_or_an_error() {
        let row = |field: &str| vec![field.to_owned()];
        assert_eq!(times(&[row("1"), row("20")]).unwrap(), [1, 20]);
        assert!(times(&[row("")]).is_err() && times(&[vec![]]).is_err());
    }
}
