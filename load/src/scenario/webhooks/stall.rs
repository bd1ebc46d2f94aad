//! A receiver takes calls without answering for a while, then answers again; events go on coming.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::flow::{indexes, verify};
use super::publish::Accepted;
use super::stage::{Mode, Stage, Target, watch_memory};
use crate::error::Result;
use crate::pace::{Pace, Tickets};
use crate::report::{Mark, Section};
use crate::scenario::MIB;
use crate::scenario::traffic::drive;
use crate::sink::Manner;

/// How long all is well before, and how long events still come after.
const BEFORE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(5);

/// Measures how long it takes until nothing is late, and what the wait costs in memory.
pub async fn measure(stage: &mut Stage<'_>) -> Result<Section> {
    let targets = stage.subscribe(1, 0, 1, Mode::Unordered).await?;
    let run = stage.warm_up(&targets, 1).await?;
    let publish = Arc::new(stage.publish(run, 1, 0));
    let (rate, stall) = (stage.arguments.rate, stage.arguments.stall);
    let duration = BEFORE + stall + AFTER;
    let endpoint = stage.bench.gateway.endpoint.clone();
    let (limit, clients) = (duration + stage.patience(), stage.arguments.clients);
    let tickets = Tickets::start(Pace::from_rate(rate), duration, None);
    let hook = Arc::clone(&targets[0].hook);
    let events = drive(
        "publishing to a receiver that stalls",
        limit,
        &endpoint,
        clients,
        &tickets,
        publish,
    );
    let fault = async {
        tokio::time::sleep(BEFORE).await;
        hook.set_manner(Manner::Hold);
        tokio::time::sleep(stall).await;
        let held = hook.holding();
        hook.set_manner(Manner::Answer);
        Ok((Instant::now(), held))
    };
    let rested = stage.bench.gateway_usage()?.rss_bytes;
    let work = async { tokio::try_join!(events, fault) };
    let ((outcome, (released, held)), most) = watch_memory(&mut stage.bench, work).await?;
    stage.until_delivered(&targets, &indexes(&outcome.accepted)).await;

    let parameters = json!({
        "database": stage.database(), "rate": rate, "stall_s": stall.as_secs_f64(),
        "data_bytes": stage.arguments.data_bytes,
    });
    let mut section = Section::new("webhooks, stalled receiver", parameters);
    let late = caught_up(&targets[0], &outcome.accepted, stage.sink.epoch(), released);
    section.marked(
        "all delivered, after the recovery",
        late.as_secs_f64(),
        "s",
        Mark::at_most(2.0, None),
    );
    section.marked(
        "growth of the gateway's memory (RSS)",
        (most as f64 - rested as f64) / MIB,
        "MiB",
        Mark::at_most(32.0, None),
    );
    section.row("gateway memory, most (RSS)", most as f64 / MIB, "MiB");
    section.row("calls that hung at the recovery", held as f64, "");
    section.row("events accepted", outcome.accepted.len() as f64, "");
    section.latency(
        "answer after the intended time",
        &outcome.latencies.summary(),
        None,
    );
    outcome.describe_refusals(&mut section);
    verify(&mut section, &targets, &outcome.accepted, Mode::Unordered);
    Ok(section)
}

/// How long after `released` the last event arrived that was accepted before.
fn caught_up(target: &Target, accepted: &[Accepted], epoch: Instant, released: Instant) -> Duration {
    let ledger = target.hook.ledger();
    let waiting = accepted.iter().filter(|event| event.answered <= released);
    let arrivals = waiting.filter_map(|event| ledger.arrival(event.index));
    arrivals.max().map_or(Duration::ZERO, |last| {
        (epoch + last).saturating_duration_since(released)
    })
}
