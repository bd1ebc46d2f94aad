//! The gateway ends and is started again: how long until every paired instance is connected.
//!
//! The event log is the witness: an instance counts when its `instance.state_changed` to `connected`
//! was written after the restart. Its row alone would not do, because after a crash it still shows
//! the state from before.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::bench::Bench;
use crate::cli::End;
use crate::error::Result;
use crate::latency::Latencies;
use crate::phase::within_showing;
use crate::population::{Member, check_connected};
use crate::report::{Mark, Section};
use crate::scenario::{KIB, MIB, cpu_ms, growth_each};
use crate::stream::Tail;

const STATE_CHANGED: &str = "instance.state_changed";
/// How long the new process rests before its memory is read.
const REST: Duration = Duration::from_secs(5);

/// Restarts the gateway once.
pub async fn measure(bench: &mut Bench<'_>, members: &[Member], end: End) -> Result<Section> {
    let count = members.len();
    let before = bench.gateway.last_seq(STATE_CHANGED).await?;
    let sandbox_before = bench.sandbox_usage()?;
    let signalled = Instant::now();
    let signal = match end {
        End::Term => Signal::TERM,
        End::Kill => Signal::KILL,
    };
    let ended = bench.end_gateway(signal).await?;
    #[allow(
        clippy::disallowed_methods,
        reason = "compared with times that another process wrote"
    )]
    let started_wall = jiff::Timestamp::now();
    let started = bench.start_gateway().await?;
    let ready = started.elapsed();
    let connected = wait_for_all(bench, members, before, started_wall).await?;
    let until_all = started.elapsed();
    let down = signalled.elapsed();
    let (gateway, sandbox) = (bench.gateway_usage()?, bench.sandbox_usage()?);
    check_connected(bench, u32::try_from(count).unwrap_or(u32::MAX)).await?;
    tokio::time::sleep(REST).await;
    let rested = bench.gateway_usage()?;

    let summary = connected.summary();
    let signal = if end == End::Term { "SIGTERM" } else { "SIGKILL" };
    let mut section = Section::new("restart", json!({"instances": count, "signal": signal}));
    section.marked(
        "from the start until all are connected",
        until_all.as_secs_f64(),
        "s",
        Mark::at_most(10.0, Some(5.0)),
    );
    section.row(
        "from the start until an instance is connected, p50",
        summary.p50_ms,
        "ms",
    );
    section.row(
        "from the start until an instance is connected, p99",
        summary.p99_ms,
        "ms",
    );
    section.row(
        "from the start until the API is ready",
        ready.as_secs_f64() * 1_000.0,
        "ms",
    );
    section.row(
        "from the signal until the process was gone",
        ended.took.as_secs_f64() * 1_000.0,
        "ms",
    );
    section.row(
        "from the signal until all are connected again",
        down.as_secs_f64(),
        "s",
    );
    section.row(
        "gateway CPU per login, its start included",
        gateway.cpu.as_secs_f64() * 1_000.0 / count as f64,
        "ms",
    );
    section.row(
        "sandbox CPU per login",
        cpu_ms(&sandbox_before, &sandbox) / count as f64,
        "ms",
    );
    section.row(
        "gateway memory per instance after the restart (RSS)",
        growth_each(bench.gateway_at_rest.rss_bytes, rested.rss_bytes, count) / KIB,
        "KiB",
    );
    section.row(
        "gateway memory after the restart (RSS)",
        rested.rss_bytes as f64 / MIB,
        "MiB",
    );
    let killed = usize::from(end == End::Term && !ended.is_clean());
    section.must_be_zero(killed, "gateway did not end cleanly after SIGTERM");
    Ok(section)
}

/// Reads the log after `before` until every member was connected; how long each took by its event's time.
async fn wait_for_all(
    bench: &Bench<'_>,
    members: &[Member],
    before: i64,
    started: jiff::Timestamp,
) -> Result<Latencies> {
    let limit = bench.setup.options.wait_timeout;
    let waiting: HashSet<&str> = members.iter().map(|member| member.instance.as_str()).collect();
    let waiting = std::cell::RefCell::new(waiting);
    let work = async {
        let mut latencies = Latencies::default();
        let mut tail = Tail::open(bench.gateway.endpoint.clone(), &[STATE_CHANGED], Some(before)).await?;
        while !waiting.borrow().is_empty() {
            let event = tail.next().await?.event;
            let state = event.data.instance.map(|instance| instance.state);
            let instance = event.instance_id.unwrap_or_default();
            if state.as_deref() == Some("connected") && waiting.borrow_mut().remove(instance.as_str()) {
                let took = event.timestamp.duration_since(started);
                latencies.record(Duration::try_from(took).unwrap_or_default());
            }
        }
        Ok(latencies)
    };
    let progress = || format!("{} of {} still to come", waiting.borrow().len(), members.len());
    within_showing("reconnecting after the restart", limit, progress, work).await
}
