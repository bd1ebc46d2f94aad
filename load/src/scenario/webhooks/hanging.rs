//! Many webhooks with events of their own, some of whose receivers take calls and never answer.

use std::sync::Arc;

use serde_json::json;

use super::flow::{Cost, indexes, latencies, verify};
use super::stage::{Mode, Stage, watch_memory};
use crate::error::Result;
use crate::pace::{Pace, Tickets};
use crate::report::{Mark, Section};
use crate::scenario::MIB;
use crate::scenario::traffic::{Readings, drive};

/// How much slower the healthy ones may become.
const SLOWER_MAX: f64 = 2.0;

/// Measures the healthy ones; returns their p99 as well. `calm_ms` is what it was with fewer that hang.
pub async fn measure(stage: &mut Stage<'_>, hanging: u32, calm_ms: Option<f64>) -> Result<(Section, f64)> {
    let webhooks = stage.arguments.webhooks;
    let hanging = hanging.min(webhooks.saturating_sub(1));
    let targets = stage
        .subscribe(webhooks, hanging, webhooks, Mode::Unordered)
        .await?;
    let run = stage.warm_up(&targets, webhooks).await?;
    let (stuck, healthy) = targets.split_at(hanging as usize);
    let publish = Arc::new(stage.publish(run, webhooks, 0));
    let before = Readings::take(&mut stage.bench)?;
    let duration = stage.arguments.duration;
    let (limit, clients) = (duration + stage.patience(), stage.arguments.clients);
    let endpoint = stage.bench.gateway.endpoint.clone();
    let tickets = Tickets::start(Pace::from_rate(stage.arguments.rate), duration, None);
    let phase = format!("publishing with {hanging} of {webhooks} receivers hanging");
    let work = drive(&phase, limit, &endpoint, clients, &tickets, publish);
    let (outcome, most) = watch_memory(&mut stage.bench, work).await?;
    stage.until_delivered(healthy, &indexes(&outcome.accepted)).await;
    let after = Readings::take(&mut stage.bench)?;

    let parameters = json!({
        "database": stage.database(), "webhooks": webhooks, "hanging": hanging, "rate": stage.arguments.rate,
        "duration_s": duration.as_secs_f64(), "data_bytes": stage.arguments.data_bytes,
    });
    let mut section = Section::new("webhooks, hanging receivers", parameters);
    let delivered = latencies(healthy, &outcome.accepted, stage.sink.epoch()).summary();
    let mark = calm_ms.map(|calm| Mark::at_most(calm * SLOWER_MAX, None));
    section.latency("delivery to the healthy after the answer", &delivered, mark);
    section.latency(
        "answer after the intended time",
        &outcome.latencies.summary(),
        None,
    );
    let held: usize = stuck.iter().map(|target| target.hook.holding()).sum();
    section.row("calls that hang now", held as f64, "");
    let cost = Cost::between(&before, &after, outcome.accepted.len());
    section.row("CPU per event, database included", cost.sum(), "µs");
    section.row("gateway memory, most (RSS)", most as f64 / MIB, "MiB");
    outcome.describe_refusals(&mut section);
    after.describe_since(&before, &mut section);
    verify(&mut section, healthy, &outcome.accepted, Mode::Unordered);
    section.notes.push(
        "each event is for one webhook; receivers that hang have a port of their own, as they have hosts of \
         their own elsewhere"
            .to_owned(),
    );
    Ok((section, delivered.p99_ms))
}
