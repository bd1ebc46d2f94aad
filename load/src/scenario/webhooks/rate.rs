//! One webhook: as fast as answers come, at a fixed rate, and with a receiver that fails now and then.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::flow::{Cost, indexes, last_arrival, latencies, verify};
use super::publish::Accepted;
use super::stage::{Mode, Stage, Target};
use crate::error::Result;
use crate::latency::per_second;
use crate::pace::{Pace, Tickets};
use crate::report::{Mark, Section};
use crate::scenario::traffic::{Outcome, Readings, drive};
use crate::sink::Manner;

/// Chats where order matters.
const CHATS: u32 = 100;
/// Calls of a thousand that the receiver fails.
const FAILS: u16 = 10;

struct Run {
    outcome: Outcome<Accepted>,
    before: Readings,
    after: Readings,
    targets: Vec<Target>,
}

async fn run(stage: &mut Stage<'_>, pace: Pace, mode: Mode, manner: Manner) -> Result<Run> {
    let targets = stage.subscribe(1, 0, 1, mode).await?;
    let run = stage.warm_up(&targets, 1).await?;
    targets[0].hook.set_manner(manner);
    let chats = if mode == Mode::Ordered { CHATS } else { 0 };
    let publish = stage.publish(run, 1, chats);
    let before = Readings::take(&mut stage.bench)?;
    let duration = stage.arguments.duration;
    let outcome = drive(
        "publishing events",
        duration + stage.patience(),
        &stage.bench.gateway.endpoint,
        stage.arguments.clients,
        &Tickets::start(pace, duration, None),
        Arc::new(publish),
    )
    .await?;
    stage.until_delivered(&targets, &indexes(&outcome.accepted)).await;
    let after = Readings::take(&mut stage.bench)?;
    Ok(Run {
        outcome,
        before,
        after,
        targets,
    })
}

impl Run {
    /// Events per second, accepted and delivered.
    fn rates(&self, stage: &Stage<'_>) -> (f64, f64) {
        let since = |at: Option<std::time::Instant>| {
            at.map_or(Duration::ZERO, |at| at.saturating_duration_since(self.before.at))
        };
        let count = self.outcome.accepted.len();
        let delivered = last_arrival(&self.targets, stage.sink.epoch());
        (
            per_second(count, since(self.outcome.last)),
            per_second(count, since(delivered)),
        )
    }

    /// `reach` is the mark of the CPU, where it has one.
    fn describe(&self, stage: &Stage<'_>, section: &mut Section, mode: Mode, reach: Option<Mark>) {
        let cost = Cost::between(&self.before, &self.after, self.outcome.accepted.len());
        let name = "CPU per event, database included";
        match reach {
            Some(mark) => section.marked(name, cost.sum(), "µs", mark),
            None => section.row(name, cost.sum(), "µs"),
        }
        cost.describe(section, "event");
        self.outcome.describe_refusals(section);
        self.after.describe_since(&self.before, section);
        section.row("events accepted", self.outcome.accepted.len() as f64, "");
        verify(section, &self.targets, &self.outcome.accepted, mode);
        if stage.arguments.max_concurrency.is_none() {
            section
                .notes
                .push("max_concurrency is the gateway's default".to_owned());
        }
    }

    fn latencies(&self, stage: &Stage<'_>) -> crate::latency::LatencySummary {
        latencies(&self.targets, &self.outcome.accepted, stage.sink.epoch()).summary()
    }
}

/// As fast as `clients` get answers.
pub async fn closed(stage: &mut Stage<'_>) -> Result<Section> {
    let run = run(stage, Pace::Max, Mode::Unordered, Manner::Answer).await?;
    let parameters = json!({
        "database": stage.database(), "clients": stage.arguments.clients,
        "duration_s": stage.arguments.duration.as_secs_f64(), "data_bytes": stage.arguments.data_bytes,
    });
    let mut section = Section::new("webhooks, closed loop", parameters);
    let (accepted, delivered) = run.rates(stage);
    let mark = Mark::at_least(10_000.0, None);
    section.marked("accepted", accepted, "1/s", mark);
    section.marked("delivered, until the last was", delivered, "1/s", mark);
    section.latency("answer after the call", &run.outcome.latencies.summary(), None);
    section.latency("delivery after the answer", &run.latencies(stage), None);
    let reach = Mark::at_most(200.0, Some(90.0));
    run.describe(stage, &mut section, Mode::Unordered, Some(reach));
    Ok(section)
}

/// At a fixed rate.
pub async fn open(stage: &mut Stage<'_>) -> Result<Section> {
    let rate = stage.arguments.rate;
    let run = run(stage, Pace::from_rate(rate), Mode::Unordered, Manner::Answer).await?;
    let parameters = json!({
        "database": stage.database(), "rate": rate,
        "duration_s": stage.arguments.duration.as_secs_f64(), "data_bytes": stage.arguments.data_bytes,
    });
    let mut section = Section::new("webhooks, open loop", parameters);
    let accepted = run.outcome.latencies.summary();
    section.latency(
        "answer after the intended time",
        &accepted,
        Some(Mark::at_most(4.0, None)),
    );
    let delivered = run.latencies(stage);
    section.marked(
        "delivery after the answer, p50",
        delivered.p50_ms,
        "ms",
        Mark::at_most(0.5, None),
    );
    section.marked(
        "delivery after the answer, p99",
        delivered.p99_ms,
        "ms",
        Mark::at_most(1.2, None),
    );
    section.row("delivery after the answer, p99.9", delivered.p999_ms, "ms");
    section.row("delivery after the answer, max", delivered.max_ms, "ms");
    run.describe(stage, &mut section, Mode::Unordered, None);
    Ok(section)
}

/// At a fixed rate, in order, to a receiver that fails at random: retries must not break the order.
pub async fn flaky(stage: &mut Stage<'_>) -> Result<Section> {
    let rate = stage.arguments.rate;
    let run = run(stage, Pace::from_rate(rate), Mode::Ordered, Manner::Fail(FAILS)).await?;
    let parameters = json!({
        "database": stage.database(), "rate": rate, "chats": CHATS, "fails_of_1000": FAILS,
        "duration_s": stage.arguments.duration.as_secs_f64(), "data_bytes": stage.arguments.data_bytes,
    });
    let mut section = Section::new("webhooks, failing receiver", parameters);
    let refused = run.targets[0].hook.ledger().refused;
    section.row("deliveries failed by the receiver", refused as f64, "");
    section.latency("delivery after the answer", &run.latencies(stage), None);
    run.describe(stage, &mut section, Mode::Ordered, None);
    Ok(section)
}
