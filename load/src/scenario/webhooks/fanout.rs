//! Each event goes to every webhook.

use std::sync::Arc;

use serde_json::json;

use super::flow::{Cost, indexes, last_arrival, latencies, taken, verify};
use super::stage::{Mode, Stage};
use crate::error::Result;
use crate::latency::per_second;
use crate::pace::Tickets;
use crate::report::{Mark, Section};
use crate::scenario::traffic::{Readings, drive};

/// Publishes a burst and waits until all webhooks have all of it.
pub async fn measure(stage: &mut Stage<'_>) -> Result<Section> {
    let (webhooks, events) = (stage.arguments.webhooks, stage.arguments.fanout_events);
    let targets = stage.subscribe(webhooks, 0, 1, Mode::Unordered).await?;
    let run = stage.warm_up(&targets, 1).await?;
    let publish = Arc::new(stage.publish(run, 1, 0));
    let before = Readings::take(&mut stage.bench)?;
    let outcome = drive(
        "publishing events for many webhooks",
        stage.patience(),
        &stage.bench.gateway.endpoint,
        stage.arguments.clients,
        &Tickets::burst(u64::from(events)),
        publish,
    )
    .await?;
    stage.until_delivered(&targets, &indexes(&outcome.accepted)).await;
    let after = Readings::take(&mut stage.bench)?;

    let parameters = json!({
        "database": stage.database(), "webhooks": webhooks, "events": events,
        "data_bytes": stage.arguments.data_bytes,
    });
    let mut section = Section::new("webhooks, fan-out", parameters);
    let deliveries = taken(&targets);
    let time = last_arrival(&targets, stage.sink.epoch())
        .map(|last| last.saturating_duration_since(before.at))
        .unwrap_or_default();
    section.marked(
        "deliveries, until the last was",
        per_second(deliveries, time),
        "1/s",
        Mark::at_least(25_000.0, None),
    );
    let cost = Cost::between(&before, &after, deliveries);
    section.row("CPU per delivery, database included", cost.sum(), "µs");
    cost.describe(&mut section, "delivery");
    let delivered = latencies(&targets, &outcome.accepted, stage.sink.epoch());
    section.latency("delivery after the answer", &delivered.summary(), None);
    outcome.describe_refusals(&mut section);
    after.describe_since(&before, &mut section);
    verify(&mut section, &targets, &outcome.accepted, Mode::Unordered);
    Ok(section)
}
