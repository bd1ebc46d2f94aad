//! What a connected instance costs while nothing happens.

use std::time::Instant;

use serde_json::json;

use crate::bench::Bench;
use crate::cli::IdleArgs;
use crate::error::Result;
use crate::population::{Member, check_connected, pair};
use crate::report::{Mark, Section};
use crate::scenario::{KIB, MIB, cpu_ms, growth_each};

/// Pairs the instances, rests and measures; the population is left for further scenarios.
pub async fn measure(bench: &mut Bench<'_>, arguments: &IdleArgs) -> Result<(Section, Vec<Member>)> {
    let count = arguments.instances as usize;
    let begun = Instant::now();
    let members = pair(bench, arguments.instances).await?;
    let pairing = begun.elapsed();
    let paired = bench.gateway_usage()?;
    tokio::time::sleep(arguments.settle).await;
    let (gateway, sandbox) = (bench.gateway_usage()?, bench.sandbox_usage()?);
    tokio::time::sleep(arguments.window).await;
    let (gateway_after, sandbox_after) = (bench.gateway_usage()?, bench.sandbox_usage()?);
    check_connected(bench, arguments.instances).await?;

    let parameters = json!({"instances": count, "window_s": arguments.window.as_secs_f64()});
    let mut section = Section::new("idle", parameters);
    section.marked(
        "gateway memory per instance (RSS)",
        growth_each(bench.gateway_at_rest.rss_bytes, gateway_after.rss_bytes, count) / KIB,
        "KiB",
        Mark::at_most(200.0, Some(120.0)),
    );
    section.row(
        "gateway memory per instance (PSS)",
        growth_each(bench.gateway_at_rest.pss_bytes, gateway_after.pss_bytes, count) / KIB,
        "KiB",
    );
    section.row(
        "gateway memory at rest (RSS)",
        bench.gateway_at_rest.rss_bytes as f64 / MIB,
        "MiB",
    );
    section.row(
        "gateway memory (RSS)",
        gateway_after.rss_bytes as f64 / MIB,
        "MiB",
    );
    section.row("gateway threads", gateway_after.threads as f64, "");
    let window_s = arguments.window.as_secs_f64();
    let idle_ms = cpu_ms(&gateway, &gateway_after);
    section.row("gateway CPU while idle", idle_ms / window_s / 10.0, "% of a core");
    section.row(
        "gateway CPU while idle, per instance",
        idle_ms * 1_000.0 / window_s / count as f64,
        "µs/s",
    );
    section.row("pairings per second", count as f64 / pairing.as_secs_f64(), "1/s");
    section.row(
        "gateway CPU per pairing",
        cpu_ms(&bench.gateway_at_rest, &paired) / count as f64,
        "ms",
    );
    section.row(
        "sandbox memory per device (RSS)",
        growth_each(bench.sandbox_at_rest.rss_bytes, sandbox_after.rss_bytes, count) / KIB,
        "KiB",
    );
    section.row(
        "sandbox CPU while idle",
        cpu_ms(&sandbox, &sandbox_after) / window_s / 10.0,
        "% of a core",
    );
    section.notes.push(format!(
        "each instance was paired in this process; memory is read {:.0} s after the last pairing",
        (arguments.settle + arguments.window).as_secs_f64()
    ));
    Ok((section, members))
}
