//! A paused webhook gathers events, then is resumed: memory stays as it is, and so does the order.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::flow::{Cost, indexes, last_arrival, verify};
use super::stage::{Mode, Stage, until_delivered, watch_memory};
use crate::error::Result;
use crate::latency::per_second;
use crate::pace::Tickets;
use crate::report::{Mark, Section};
use crate::scenario::MIB;
use crate::scenario::traffic::{Readings, drive};

const CHATS: u32 = 1_000;

/// Measures the way through a backlog.
pub async fn measure(stage: &mut Stage<'_>) -> Result<Section> {
    let events = stage.arguments.backlog;
    let targets = stage.subscribe(1, 0, 1, Mode::Ordered).await?;
    let run = stage.warm_up(&targets, 1).await?;
    stage.bench.gateway.pause_webhook(&targets[0].id).await?;
    let rested = stage.bench.gateway_usage()?.rss_bytes;
    let publish = Arc::new(stage.publish(run, 1, CHATS));
    let endpoint = stage.bench.gateway.endpoint.clone();
    // As many seconds as a tenth of the promised rate would need.
    let limit = stage.patience() + std::time::Duration::from_millis(u64::from(events));
    let begun = Instant::now();
    let tickets = Tickets::burst(u64::from(events));
    let clients = stage.arguments.clients;
    let work = drive(
        "gathering a backlog",
        limit,
        &endpoint,
        clients,
        &tickets,
        publish,
    );
    let (outcome, gathering) = watch_memory(&mut stage.bench, work).await?;
    let gathered = outcome.last.map_or(begun.elapsed(), |last| last - begun);
    let early = targets[0].hook.ledger().taken;

    let before = Readings::take(&mut stage.bench)?;
    stage.bench.gateway.resume_webhook(&targets[0].id).await?;
    let resumed = Instant::now();
    let indexes = indexes(&outcome.accepted);
    let patience = stage.patience();
    let work = async { Ok(until_delivered(patience, &targets, &indexes).await) };
    let (_, most) = watch_memory(&mut stage.bench, work).await?;
    let after = Readings::take(&mut stage.bench)?;

    let parameters = json!({
        "database": stage.database(), "events": events, "chats": CHATS,
        "data_bytes": stage.arguments.data_bytes,
    });
    let mut section = Section::new("webhooks, backlog", parameters);
    let count = outcome.accepted.len();
    section.row("accepted while paused", per_second(count, gathered), "1/s");
    let time = last_arrival(&targets, stage.sink.epoch())
        .map(|last| last.saturating_duration_since(resumed))
        .unwrap_or_default();
    section.row(
        "delivered in order, until the last was",
        per_second(count, time),
        "1/s",
    );
    section.row("all delivered, after the resume", time.as_secs_f64(), "s");
    let memory = Memory {
        rested,
        gathering,
        before: before.gateway.rss_bytes,
        most,
    };
    memory.describe(&mut section);
    let cost = Cost::between(&before, &after, count);
    section.row("CPU per delivery, database included", cost.sum(), "µs");
    cost.describe(&mut section, "delivery");
    section.must_be_zero(early, "events were delivered while the webhook was paused");
    outcome.describe_refusals(&mut section);
    after.describe_since(&before, &mut section);
    verify(&mut section, &targets, &outcome.accepted, Mode::Ordered);
    Ok(section)
}

/// The gateway's resident memory in bytes: at rest, at most while it gathers, before it delivers, and at
/// most while it does.
struct Memory {
    rested: u64,
    gathering: u64,
    before: u64,
    most: u64,
}

impl Memory {
    fn describe(&self, section: &mut Section) {
        let mib = |bytes: u64| bytes as f64 / MIB;
        section.marked(
            "growth of the gateway's memory while it delivers (RSS)",
            mib(self.most) - mib(self.before),
            "MiB",
            Mark::at_most(32.0, None),
        );
        for (name, bytes) in [
            ("gateway memory at rest (RSS)", self.rested),
            ("gateway memory while it gathers, most (RSS)", self.gathering),
            ("gateway memory while it delivers, most (RSS)", self.most),
        ] {
            section.row(name, mib(bytes), "MiB");
        }
    }
}
