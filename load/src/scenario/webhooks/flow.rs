//! What all parts report of events that went through, and what must hold of them.

use std::time::{Duration, Instant};

use super::publish::Accepted;
use super::stage::{Mode, Target, missing_of};
use crate::latency::Latencies;
use crate::report::Section;
use crate::scenario::cpu_ms;
use crate::scenario::traffic::Readings;

/// Numbers of what was accepted.
pub fn indexes(accepted: &[Accepted]) -> Vec<u64> {
    accepted.iter().map(|event| event.index).collect()
}

/// From the answer to `POST /v1/events` until the event is at its receivers. A delivery may overtake the
/// answer: then it took no time.
pub fn latencies(targets: &[Target], accepted: &[Accepted], epoch: Instant) -> Latencies {
    let mut latencies = Latencies::default();
    for target in targets {
        let ledger = target.hook.ledger();
        for event in accepted.iter().filter(|event| target.wants(event.index)) {
            if let Some(arrival) = ledger.arrival(event.index) {
                latencies.record((epoch + arrival).saturating_duration_since(event.answered));
            }
        }
    }
    latencies
}

/// When the last new event came to any of the targets.
pub fn last_arrival(targets: &[Target], epoch: Instant) -> Option<Instant> {
    let lasts = targets.iter().filter_map(|target| target.hook.ledger().last());
    lasts.max().map(|last| epoch + last)
}

/// All deliveries of different events.
pub fn taken(targets: &[Target]) -> usize {
    targets.iter().map(|target| target.hook.ledger().taken).sum()
}

/// CPU in microseconds that gateway and database server used for each of `count` things.
pub struct Cost {
    pub gateway: f64,
    pub database: Option<f64>,
}

impl Cost {
    /// Between two readings.
    pub fn between(before: &Readings, after: &Readings, count: usize) -> Self {
        let each = |ms: f64| ms * 1_000.0 / count.max(1) as f64;
        let database = before.database.zip(after.database);
        Self {
            gateway: each(cpu_ms(&before.gateway, &after.gateway)),
            database: database.map(|(before, after)| {
                let used: Duration = after.saturating_sub(before);
                each(used.as_secs_f64() * 1_000.0)
            }),
        }
    }

    /// Both together.
    pub fn sum(&self) -> f64 {
        self.gateway + self.database.unwrap_or_default()
    }

    /// Writes the parts into the report, where there are two.
    pub fn describe(&self, section: &mut Section, what: &str) {
        if let Some(database) = self.database {
            section.row(format!("gateway CPU per {what}"), self.gateway, "µs");
            section.row(format!("database CPU per {what}"), database, "µs");
        }
    }
}

/// Nothing accepted may be missing, unreadable, wrongly signed, or out of an order that was promised.
pub fn verify(section: &mut Section, targets: &[Target], accepted: &[Accepted], mode: Mode) {
    section.must_be_zero(usize::from(accepted.is_empty()), "runs accepted no event at all");
    let indexes = indexes(accepted);
    let missing = targets.iter().map(|target| missing_of(target, &indexes)).sum();
    section.must_be_zero(missing, "deliveries of accepted events are missing");
    let sum = |value: fn(&crate::sink::Ledger) -> usize| -> usize {
        targets.iter().map(|target| value(&target.hook.ledger())).sum()
    };
    section.row("deliveries", sum(|ledger| ledger.taken) as f64, "");
    section.row("deliveries repeated", sum(|ledger| ledger.repeated) as f64, "");
    section.must_be_zero(sum(|ledger| ledger.malformed), "deliveries could not be read");
    let (verified, unsigned) = (sum(|ledger| ledger.verified), sum(|ledger| ledger.unsigned));
    section.row("signatures checked", verified as f64, "");
    section.must_be_zero(unsigned, "signatures were wrong");
    if mode == Mode::Ordered {
        section.must_be_zero(
            sum(|ledger| ledger.disordered),
            "events came after a later one of their chat",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::{Manner, Mark, Sink};

    async fn targets(sink: &Sink, kinds: u32) -> Vec<Target> {
        let target = |rest| Target {
            id: format!("whk_{rest}"),
            hook: sink.hook(0, Manner::Answer),
            rest,
            kinds,
        };
        (0..u64::from(kinds)).map(target).collect()
    }

    fn accepted(count: u64) -> Vec<Accepted> {
        let answered = Instant::now();
        (0..count).map(|index| Accepted { index, answered }).collect()
    }

    fn deliver(target: &Target, index: u32, seq: i64) {
        let mark = Mark {
            run: 0,
            index,
            chat: 0,
            seq,
        };
        target.hook.ledger().take(mark, Duration::from_millis(1));
    }

    #[tokio::test]
    async fn what_is_missing_is_counted_for_whom_it_was_meant() {
        let sink = Sink::start(1).await.unwrap();
        let targets = targets(&sink, 2).await;
        let accepted = accepted(6);
        for index in [0, 2, 4] {
            deliver(&targets[0], index, i64::from(index));
        }
        deliver(&targets[1], 1, 1);
        let mut section = Section::new("test", serde_json::Value::Null);
        verify(&mut section, &targets, &accepted, Mode::Unordered);
        assert_eq!(section.faults, ["2 deliveries of accepted events are missing"]);
        assert_eq!(taken(&targets), 4);
        assert_eq!(latencies(&targets, &accepted, sink.epoch()).summary().count, 4);
    }

    #[tokio::test]
    async fn disorder_is_a_fault_only_where_order_was_promised() {
        let sink = Sink::start(1).await.unwrap();
        let targets = targets(&sink, 1).await;
        for (index, seq) in [(1, 2), (0, 1)] {
            deliver(&targets[0], index, seq);
        }
        for (mode, faults) in [(Mode::Unordered, 0), (Mode::Ordered, 1)] {
            let mut section = Section::new("test", serde_json::Value::Null);
            verify(&mut section, &targets, &accepted(2), mode);
            assert_eq!(section.faults.len(), faults, "{mode:?}");
        }
    }
}
