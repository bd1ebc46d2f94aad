//! The gateway is killed in the middle of traffic and started again, several times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::flow::{indexes, verify};
use super::publish::Accepted;
use super::stage::{Mode, Stage};
use crate::error::Result;
use crate::pace::{Pace, Tickets};
use crate::report::Section;
use crate::scenario::traffic::drive;

const CHATS: u32 = 100;
/// How long events come in each round; the kill is somewhere in its second half.
const ROUND: Duration = Duration::from_secs(4);

/// Counts what is missing and what came twice.
pub async fn measure(stage: &mut Stage<'_>) -> Result<Section> {
    let targets = stage.subscribe(1, 0, 1, Mode::Ordered).await?;
    let run = stage.warm_up(&targets, 1).await?;
    let (rate, kills) = (stage.arguments.rate, stage.arguments.kills);
    let mut publish = stage.publish(run, 1, CHATS);
    let mut accepted: Vec<Accepted> = Vec::new();
    let (mut unanswered, mut restarts) = (0, Vec::new());
    for round in 0..=kills {
        let endpoint = stage.bench.gateway.endpoint.clone();
        let limit = ROUND + stage.patience();
        let tickets = Tickets::start(Pace::from_rate(rate), ROUND, None);
        let phase = format!("publishing, round {}", round + 1);
        let clients = stage.arguments.clients;
        let events = drive(&phase, limit, &endpoint, clients, &tickets, Arc::new(publish));
        let bench = &mut stage.bench;
        let fault = async {
            if round < kills {
                // A little later in each round than in the one before.
                let share = 0.5 + 0.45 * f64::from(round) / f64::from(kills);
                tokio::time::sleep(ROUND.mul_f64(share)).await;
                bench.end_gateway(Signal::KILL).await?;
            }
            Ok(())
        };
        let (outcome, ()) = tokio::try_join!(events, fault)?;
        unanswered += outcome.refused();
        accepted.extend(outcome.accepted);
        publish.first += (f64::from(rate) * ROUND.as_secs_f64()).ceil() as u64 + 1;
        if round < kills {
            let started = stage.bench.start_gateway().await?;
            restarts.push((started, started.elapsed()));
        }
    }
    stage.until_delivered(&targets, &indexes(&accepted)).await;

    let parameters = json!({
        "database": stage.database(), "rate": rate, "kills": kills, "chats": CHATS,
        "data_bytes": stage.arguments.data_bytes,
    });
    let mut section = Section::new("webhooks, killed gateway", parameters);
    section.row("events accepted", accepted.len() as f64, "");
    section.row("calls refused or unanswered", unanswered as f64, "");
    let ready = restarts.iter().map(|restart| restart.1).max().unwrap_or_default();
    section.row(
        "ready after the start, longest",
        ready.as_secs_f64() * 1_000.0,
        "ms",
    );
    let starts: Vec<Instant> = restarts.iter().map(|restart| restart.0).collect();
    section.row(
        "all from before delivered, after the start, longest",
        settled(stage, &targets[0], &accepted, &starts).as_secs_f64(),
        "s",
    );
    let known = indexes(&accepted).len();
    let taken = targets[0].hook.ledger().taken;
    section.row(
        "events delivered whose call got no answer",
        taken.saturating_sub(known) as f64,
        "",
    );
    verify(&mut section, &targets, &accepted, Mode::Ordered);
    Ok(section)
}

/// The longest time from a start until everything accepted before it had arrived.
fn settled(
    stage: &Stage<'_>,
    target: &super::stage::Target,
    accepted: &[Accepted],
    starts: &[Instant],
) -> Duration {
    let ledger = target.hook.ledger();
    let after = |start: &Instant| {
        let earlier = accepted.iter().filter(|event| event.answered <= *start);
        let last = earlier.filter_map(|event| ledger.arrival(event.index)).max();
        last.map_or(Duration::ZERO, |last| {
            (stage.sink.epoch() + last).saturating_duration_since(*start)
        })
    };
    starts.iter().map(after).max().unwrap_or_default()
}
