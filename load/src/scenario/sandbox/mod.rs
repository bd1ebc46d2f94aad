//! The simulated WhatsApp alone: whether it would be what limits a measurement of Roost.
//!
//! Companions of this tool's own, far lighter than a real client, are linked, rest, and then write
//! to each other. A message is what a client sends to an account with one companion: three copies,
//! for the peer's companion, the peer's phone and the own phone; both phones decrypt theirs.

mod fleet;
mod member;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::api::Stats;
use crate::bench::{SandboxBench, Setup};
use crate::cli::{SandboxArgs, State};
use crate::error::{LoadError, Result};
use crate::latency::per_second;
use crate::phase::{within, within_showing};
use crate::process::{Usage, own_usage};
use crate::report::{Mark, Section};
use crate::scenario::{KIB, MIB, cpu_ms, growth_each};
use fleet::Fleet;
use member::Phase;

/// Files of a process besides its connections to companions.
const OTHER_FILES: u64 = 300;
/// Messages under way when no window is given.
const UNDER_WAY: u32 = 20_000;
const WINDOW_MAX: u32 = 16;
/// How long messages flow before they are counted.
const WARM_UP: Duration = Duration::from_secs(2);
/// Copies of one message.
const COPIES: u64 = 3;

/// Measures with one kind of state; `each` gets a section for rest and one for every conversation.
pub async fn measure(
    setup: &Setup,
    arguments: &SandboxArgs,
    state: State,
    each: &mut impl FnMut(Section),
) -> Result<()> {
    let devices = arguments.devices & !1;
    allow_files(u64::from(devices) + OTHER_FILES)?;
    let mut bench = SandboxBench::start(setup, state).await?;
    let begun = Instant::now();
    let mut fleet = Fleet::gather(&setup.options, &bench.sandbox, devices).await?;
    let linking = begun.elapsed();
    each(rest(&mut bench, &mut fleet, arguments, state, linking).await?);
    let mut talkers: Vec<u32> = arguments
        .talkers
        .iter()
        .map(|number| (number & !1).min(devices))
        .collect();
    talkers.dedup();
    // Phones write to their companions first: as many as ever talk.
    if let Some(most) = talkers.iter().max() {
        fleet.introduce(&setup.options, &bench.sandbox, *most).await?;
    }
    for number in talkers {
        each(talk(&mut bench, &mut fleet, arguments, state, number).await?);
    }
    fleet.disband().await
}

/// Every connection is a file on both sides; the sandbox inherits the limit of this tool.
fn allow_files(needed: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    if let Some(allowed) = limit.maximum.filter(|maximum| *maximum < needed) {
        return Err(LoadError::Files { needed, allowed });
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).map_err(std::io::Error::from)?;
    Ok(())
}

async fn rest(
    bench: &mut SandboxBench<'_>,
    fleet: &mut Fleet,
    arguments: &SandboxArgs,
    state: State,
    linking: Duration,
) -> Result<Section> {
    let count = fleet.numbers.len();
    let linked = bench.usage()?;
    tokio::time::sleep(arguments.settle).await;
    let before = bench.usage()?;
    tokio::time::sleep(arguments.settle).await;
    let after = bench.usage()?;
    fleet.check()?;
    let stats = bench.sandbox.stats().await?;
    let mut section = Section::new(
        "sandbox at rest",
        json!({"devices": count, "state": name(state), "window_s": arguments.settle.as_secs_f64()}),
    );
    section.marked(
        "memory per connected device (RSS)",
        growth_each(bench.at_rest.rss_bytes, after.rss_bytes, count) / KIB,
        "KiB",
        Mark::at_most(60.0, None),
    );
    section.row("memory (RSS)", after.rss_bytes as f64 / MIB, "MiB");
    section.row(
        "CPU while idle",
        cpu_ms(&before, &after) / arguments.settle.as_secs_f64() / 10.0,
        "% of a core",
    );
    section.row("linked per second", per_second(count, linking), "1/s");
    section.row(
        "CPU per linked device",
        cpu_ms(&bench.at_rest, &linked) / count as f64,
        "ms",
    );
    section.marked(
        "connected devices",
        stats.connected as f64,
        "",
        Mark::at_least(10_000.0, None),
    );
    section.must_be_zero(
        count.saturating_sub(stats.connected as usize),
        "companions are not connected",
    );
    section.notes.push(
        "a device is an account with a phone and a linked companion: 812 one-time keys uploaded, the phone's \
         greetings read, logged in"
            .to_owned(),
    );
    Ok(section)
}

/// One reading of everything that grows.
struct Reading {
    at: Instant,
    sandbox: Usage,
    own: Usage,
    stats: Stats,
    complete: u64,
    delivered: u64,
    receipts: u64,
}

async fn read(bench: &mut SandboxBench<'_>, fleet: &Fleet) -> Result<Reading> {
    let stats = bench.sandbox.stats().await?;
    Ok(Reading {
        at: Instant::now(),
        sandbox: bench.usage()?,
        own: own_usage()?,
        stats,
        complete: fleet.progress.complete.load(Ordering::Relaxed),
        delivered: fleet.progress.delivered.load(Ordering::Relaxed),
        receipts: fleet.progress.receipts.load(Ordering::Relaxed),
    })
}

async fn talk(
    bench: &mut SandboxBench<'_>,
    fleet: &mut Fleet,
    arguments: &SandboxArgs,
    state: State,
    talkers: u32,
) -> Result<Section> {
    let window = (UNDER_WAY / talkers.max(1)).clamp(1, WINDOW_MAX) as u16;
    let window = arguments.window.unwrap_or(window);
    let start = read(bench, fleet).await?;
    let sent_before = fleet.progress.sent.load(Ordering::Relaxed);
    fleet.enter(Phase::Talk {
        talkers,
        window,
        text_bytes: arguments.text_bytes,
    });
    let limit = bench.setup.options.wait_timeout + WARM_UP + arguments.duration;
    let measured = async {
        tokio::time::sleep(WARM_UP).await;
        fleet.progress.take_latencies();
        let before = read(bench, fleet).await?;
        tokio::time::sleep(arguments.duration).await;
        Ok((before, read(bench, fleet).await?))
    };
    let (before, after) = within(&format!("{talkers} companions talk"), limit, measured).await?;
    let latencies = fleet.progress.take_latencies();
    fleet.enter(Phase::Rest);
    let settled = settle(bench, fleet).await?;
    fleet.check()?;
    let parameters = json!({
        "devices": fleet.numbers.len(), "talkers": talkers, "window": window, "state": name(state),
        "duration_s": arguments.duration.as_secs_f64(), "text_bytes": arguments.text_bytes,
    });
    let mut section = Section::new("sandbox messages", parameters);
    rates(&mut section, &before, &after);
    let [to_ack, to_complete] = latencies;
    section.latency("until acknowledged", &to_ack.summary(), None);
    section.latency("until both receipts", &to_complete.summary(), None);
    section.row(
        "memory after it (RSS)",
        settled.sandbox.rss_bytes as f64 / MIB,
        "MiB",
    );
    let sent = fleet.progress.sent.load(Ordering::Relaxed) - sent_before;
    faults(&mut section, sent, &start, &settled);
    section.must_be_zero(
        fleet.progress.wrong.load(Ordering::Relaxed) as usize,
        "messages were refused, or acknowledged or confirmed once too often",
    );
    Ok(section)
}

fn rates(section: &mut Section, before: &Reading, after: &Reading) {
    let time = after.at - before.at;
    let rate = |before: u64, after: u64| per_second((after - before) as usize, time);
    let messages = (after.complete - before.complete).max(1) as f64;
    section.marked(
        "messages",
        rate(before.complete, after.complete),
        "1/s",
        Mark::at_least(20_000.0, None),
    );
    section.row(
        "copies routed",
        rate(before.stats.messages_routed, after.stats.messages_routed),
        "1/s",
    );
    section.row(
        "copies at companions",
        rate(before.delivered, after.delivered),
        "1/s",
    );
    section.row(
        "receipts at authors",
        rate(before.receipts, after.receipts),
        "1/s",
    );
    let frames = |stats: &Stats| stats.frames_in + stats.frames_out;
    section.row(
        "frames, both ways",
        rate(frames(&before.stats), frames(&after.stats)),
        "1/s",
    );
    let sandbox_ms = cpu_ms(&before.sandbox, &after.sandbox);
    let own_ms = cpu_ms(&before.own, &after.own);
    let cores = |ms: f64| ms / 1_000.0 / time.as_secs_f64();
    section.row("sandbox CPU", cores(sandbox_ms), "cores");
    section.row("generator CPU", cores(own_ms), "cores");
    section.row("sandbox CPU per message", sandbox_ms * 1_000.0 / messages, "µs");
    section.row("generator CPU per message", own_ms * 1_000.0 / messages, "µs");
}

/// Waits until everything that was sent is confirmed and nothing waits in the sandbox.
async fn settle(bench: &mut SandboxBench<'_>, fleet: &Fleet) -> Result<Reading> {
    let progress = &fleet.progress;
    let limit = bench.setup.options.wait_timeout;
    let shown = || {
        format!(
            "{} of {} messages complete",
            progress.complete.load(Ordering::Relaxed),
            progress.sent.load(Ordering::Relaxed)
        )
    };
    let sandbox = &bench.sandbox;
    let all = async {
        while progress.complete.load(Ordering::Relaxed) < progress.sent.load(Ordering::Relaxed)
            || sandbox.stats().await?.queued > 0
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    within_showing("waiting for the last receipts", limit, shown, all).await?;
    read(bench, fleet).await
}

/// Nothing may be lost, doubled or unreadable.
fn faults(section: &mut Section, sent: u64, start: &Reading, end: &Reading) {
    let differs = |was: u64, is: u64, expected: u64| (is - was).abs_diff(expected) as usize;
    let (before, after) = (&start.stats, &end.stats);
    let wrong = [
        (
            differs(before.messages_accepted, after.messages_accepted, sent),
            "messages were accepted too few or too many",
        ),
        (
            differs(before.messages_routed, after.messages_routed, sent * COPIES),
            "copies were routed too few or too many",
        ),
        (
            differs(start.delivered, end.delivered, sent),
            "copies reached companions too few or too many",
        ),
        (
            differs(start.receipts, end.receipts, sent * 2),
            "receipts reached authors too few or too many",
        ),
        (
            differs(before.messages_refused, after.messages_refused, 0),
            "messages were refused",
        ),
        (differs(before.dropped, after.dropped, 0), "stanzas were dropped"),
        (
            differs(before.messages_repeated, after.messages_repeated, 0),
            "messages were repeated",
        ),
        (
            differs(before.phone_decrypt_failures, after.phone_decrypt_failures, 0),
            "copies could not be read by a phone",
        ),
    ];
    for (count, what) in wrong {
        section.must_be_zero(count, what);
    }
}

fn name(state: State) -> &'static str {
    match state {
        State::Memory => "memory",
        State::Disk => "disk",
    }
}
