//! What a part works with: a gateway and a database of its own, a sink, and webhooks between them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::publish::{Publish, kind};
use crate::bench::{Bench, Setup};
use crate::cli::{Database, WebhooksArgs};
use crate::error::{LoadError, Result};
use crate::pace::Tickets;
use crate::scenario::traffic::drive;
use crate::sink::{Hook, Manner, Sink, key};

/// Ports of receivers that answer, and one more for those that do not.
const PORTS: usize = 4;
/// Events that open connections and fill caches before anything is measured.
const WARM_UP: u64 = 500;
const WARM_UP_CLIENTS: u16 = 8;
const POLL: Duration = Duration::from_millis(2);
/// How often memory is read.
const SAMPLE_EACH: Duration = Duration::from_millis(200);

/// Order of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Ordered,
    Unordered,
}

/// A webhook and the endpoint it leads to.
#[derive(Debug, Clone)]
pub struct Target {
    /// Its id in the API.
    pub id: String,
    pub hook: Arc<Hook>,
    /// It gets events whose number leaves this rest.
    pub rest: u64,
    /// Among so many kinds.
    pub kinds: u32,
}

impl Target {
    /// Whether it should get the event with this number.
    pub fn wants(&self, index: u64) -> bool {
        self.kinds <= 1 || index % u64::from(self.kinds) == self.rest
    }
}

/// Everything a part needs.
pub struct Stage<'a> {
    pub bench: Bench<'a>,
    pub sink: Sink,
    pub arguments: &'a WebhooksArgs,
    pub database: Database,
}

impl<'a> Stage<'a> {
    pub async fn start(setup: &'a Setup, arguments: &'a WebhooksArgs, database: Database) -> Result<Self> {
        let bench = Bench::start_on(setup, database).await?;
        let sink = Sink::start(PORTS + 1).await?;
        Ok(Self {
            bench,
            sink,
            arguments,
            database,
        })
    }

    /// How long to wait for what makes no progress.
    pub fn patience(&self) -> Duration {
        self.bench.setup.options.wait_timeout
    }

    /// Name of the database, for the parameters of a section.
    pub fn database(&self) -> &'static str {
        match self.database {
            Database::Sqlite => "sqlite",
            Database::Postgres => "postgres",
        }
    }

    /// Makes `count` webhooks, the first `hanging` of which do not answer. With `kinds` above 1 each gets
    /// the events of one kind, otherwise all get all.
    pub async fn subscribe(&self, count: u32, hanging: u32, kinds: u32, mode: Mode) -> Result<Vec<Target>> {
        let mut targets = Vec::with_capacity(count as usize);
        for number in 0..count {
            let (port, manner) = if number < hanging {
                (PORTS, Manner::Hold)
            } else {
                (number as usize % PORTS, Manner::Answer)
            };
            let hook = self.sink.hook(port, manner);
            let rest = u64::from(number);
            let mut body = json!({
                "url": hook.url,
                "events": [kind(kinds, rest)],
                "mode": if mode == Mode::Ordered { "ordered" } else { "unordered" },
            });
            if let Some(most) = self.arguments.max_concurrency {
                body["max_concurrency"] = most.into();
            }
            let webhook = self.bench.gateway.create_webhook(&body).await?;
            // The hook is new, so it has no key yet.
            let _ = hook.key.set(key(&webhook.secret).unwrap_or_default());
            let id = webhook.id;
            targets.push(Target {
                id,
                hook,
                rest,
                kinds,
            });
        }
        Ok(targets)
    }

    /// Publishes some events and waits until they have arrived: connections are open then, and caches
    /// are filled. Then begins a run whose number it returns.
    pub async fn warm_up(&self, targets: &[Target], kinds: u32) -> Result<u32> {
        let phase = "warming up webhooks";
        let run = self.begin(targets);
        let publish = self.publish(run, kinds, 0);
        let healthy: Vec<Target> = targets
            .iter()
            .filter(|target| !target.hook.holds())
            .cloned()
            .collect();
        let outcome = drive(
            phase,
            self.patience(),
            &self.bench.gateway.endpoint,
            WARM_UP_CLIENTS,
            &Tickets::burst(WARM_UP),
            Arc::new(publish),
        )
        .await?;
        outcome.check_all_accepted(phase)?;
        let indexes: Vec<u64> = outcome.accepted.iter().map(|event| event.index).collect();
        let missing = self.until_delivered(&healthy, &indexes).await;
        if missing > 0 {
            let stats = self.bench.gateway.webhook_stats(&healthy[0].id).await;
            return Err(LoadError::Stuck {
                phase: phase.to_owned(),
                progress: format!("{missing} deliveries have not come; the first webhook: {stats:?}"),
                limit: self.patience(),
            });
        }
        Ok(self.begin(targets))
    }

    /// Begins a new run in the ledgers of all targets.
    fn begin(&self, targets: &[Target]) -> u32 {
        let run = self.bench.next_run();
        for target in targets {
            target.hook.ledger().begin(run);
        }
        run
    }

    /// Events of a run, as the arguments want them.
    pub fn publish(&self, run: u32, kinds: u32, chats: u32) -> Publish {
        Publish {
            run,
            first: 0,
            kinds,
            chats,
            data_bytes: usize::from(self.arguments.data_bytes),
        }
    }

    /// Waits until each target has every one of these events that it wants, or nothing has come for as
    /// long as patience lasts; how many deliveries are missing then.
    pub async fn until_delivered(&self, targets: &[Target], indexes: &[u64]) -> usize {
        until_delivered(self.patience(), targets, indexes).await
    }
}

/// See [`Stage::until_delivered`]; borrows no stage, so that its memory can be watched meanwhile.
pub async fn until_delivered(patience: Duration, targets: &[Target], indexes: &[u64]) -> usize {
    let wanted = |target: &Target| indexes.iter().filter(|&&index| target.wants(index)).count();
    let mut waiting: Vec<(&Target, usize)> = targets.iter().map(|target| (target, wanted(target))).collect();
    let (mut seen, mut progressed) = (0, Instant::now());
    loop {
        // Only who has enough is looked at event by event.
        waiting.retain(|(target, wanted)| {
            target.hook.ledger().taken < *wanted || missing_of(target, indexes) > 0
        });
        if waiting.is_empty() {
            return 0;
        }
        let taken = targets.iter().map(|target| target.hook.ledger().taken).sum();
        if taken > seen {
            (seen, progressed) = (taken, Instant::now());
        }
        if progressed.elapsed() > patience {
            return waiting
                .iter()
                .map(|(target, _)| missing_of(target, indexes))
                .sum();
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Events that the target wants and has not got.
pub fn missing_of(target: &Target, indexes: &[u64]) -> usize {
    let ledger = target.hook.ledger();
    indexes
        .iter()
        .filter(|&&index| target.wants(index) && ledger.arrival(index).is_none())
        .count()
}

/// Reads the gateway's memory until `work` is done; the most that was seen, in bytes.
pub async fn watch_memory<T>(
    bench: &mut Bench<'_>,
    work: impl Future<Output = Result<T>>,
) -> Result<(T, u64)> {
    let mut most = bench.gateway_usage()?.rss_bytes;
    let mut ticks = tokio::time::interval(SAMPLE_EACH);
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => {
                let done = done?;
                return Ok((done, most.max(bench.gateway_usage()?.rss_bytes)));
            }
            _ = ticks.tick() => most = most.max(bench.gateway_usage()?.rss_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::Mark;

    #[tokio::test]
    async fn waiting_ends_with_the_last_delivery_or_with_patience() {
        let sink = Sink::start(1).await.unwrap();
        let target = Target {
            id: "whk_1".to_owned(),
            hook: sink.hook(0, Manner::Answer),
            rest: 0,
            kinds: 1,
        };
        let targets = [target];
        assert_eq!(until_delivered(Duration::ZERO, &targets, &[0, 1, 2]).await, 3);
        let patient = until_delivered(Duration::from_secs(60), &targets, &[0, 1]);
        let deliveries = async {
            // The third was never acknowledged, so it stands for nobody else's.
            for index in [2, 0, 1] {
                let mark = Mark {
                    run: 0,
                    index,
                    chat: 0,
                    seq: 1,
                };
                targets[0].hook.ledger().take(mark, Duration::from_secs(1));
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(tokio::join!(patient, deliveries).0, 0);
    }
}
