//! From the start of the process to the first answer, with an empty database.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::json;

use crate::bench::{Setup, free_port, until_ok};
use crate::cli::StartArgs;
use crate::error::Result;
use crate::latency::median;
use crate::phase::within;
use crate::report::{Mark, Section};
use crate::scenario::MIB;

/// Measures `roost serve`, which is what an operator starts.
pub async fn measure(setup: &Setup, arguments: &StartArgs) -> Result<Section> {
    let mut runs = Vec::new();
    for _ in 0..arguments.runs {
        runs.push(run(setup, arguments.rest).await?);
    }
    let middle = |value: fn(&Run) -> f64| median(&runs.iter().map(value).collect::<Vec<_>>());
    let mut section = Section::new("start", json!({"runs": arguments.runs}));
    section.marked(
        "first answer of /healthz after the start",
        middle(|run| run.first_answer_ms),
        "ms",
        Mark::at_most(200.0, None),
    );
    section.row(
        "first success of /readyz after the start",
        middle(|run| run.ready_ms),
        "ms",
    );
    section.row("CPU until ready", middle(|run| run.cpu_ms), "ms");
    section.marked(
        "memory at rest (RSS)",
        middle(|run| run.rss_mib),
        "MiB",
        Mark::at_most(40.0, None),
    );
    section.row("memory at rest (PSS)", middle(|run| run.pss_mib), "MiB");
    section.row("threads", middle(|run| run.threads), "");
    section.row("end after SIGTERM", middle(|run| run.end_ms), "ms");
    section.must_be_zero(
        runs.iter().filter(|run| !run.ended).count(),
        "gateways did not end cleanly after SIGTERM",
    );
    Ok(section)
}

struct Run {
    first_answer_ms: f64,
    ready_ms: f64,
    cpu_ms: f64,
    rss_mib: f64,
    pss_mib: f64,
    threads: f64,
    end_ms: f64,
    ended: bool,
}

async fn run(setup: &Setup, rest: Duration) -> Result<Run> {
    let phase = "starting the gateway with an empty database";
    let limit = setup.options.wait_timeout;
    let folder = setup.subfolder()?;
    let addr = free_port()?;
    let arguments = [
        "serve".to_owned(),
        "--listen".to_owned(),
        addr.to_string(),
        "--data-dir".to_owned(),
        folder.join("data").display().to_string(),
        "--config".to_owned(),
        setup.config.display().to_string(),
    ];
    let mut process = setup.spawn("gateway", &setup.roost, &arguments, &folder)?;
    within(phase, limit, until_ok(&mut process, addr, "/healthz", phase)).await?;
    let first_answer = process.started.elapsed();
    within(
        "waiting for /readyz",
        limit,
        until_ok(&mut process, addr, "/readyz", phase),
    )
    .await?;
    let ready = process.started.elapsed();
    let cpu = process.usage()?.cpu;
    tokio::time::sleep(rest).await;
    process.check_alive(phase)?;
    let usage = process.usage()?;
    let ended = process.end(Signal::TERM, limit).await?;
    Ok(Run {
        first_answer_ms: first_answer.as_secs_f64() * 1_000.0,
        ready_ms: ready.as_secs_f64() * 1_000.0,
        cpu_ms: cpu.as_secs_f64() * 1_000.0,
        rss_mib: usage.rss_bytes as f64 / MIB,
        pss_mib: usage.pss_bytes as f64 / MIB,
        threads: usage.threads as f64,
        end_ms: ended.took.as_secs_f64() * 1_000.0,
        ended: ended.is_clean(),
    })
}
