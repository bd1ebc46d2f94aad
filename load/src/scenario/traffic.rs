//! What sending and receiving have in common: workers that carry out tickets on connections of
//! their own, and a watch on the event stream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, JoinSet};

use crate::bench::Bench;
use crate::error::{LoadError, Result, chain};
use crate::http::{Answer, CALL_TIMEOUT, Call, Connection, Endpoint};
use crate::latency::Latencies;
use crate::pace::{Ticket, Tickets};
use crate::phase::within_showing;
use crate::process::{Usage, own_usage};
use crate::report::Section;
use crate::scenario::{MIB, cpu_ms};
use crate::stream::{Arrival, Tail};

/// How long a worker waits after an answer that was no success.
const REFUSED_DELAY: Duration = Duration::from_millis(20);
const WATCH_POLL: Duration = Duration::from_millis(5);
/// Kinds of refusals that are told apart.
const REFUSALS_MAX: usize = 20;
const REFUSAL_CHARS_MAX: usize = 300;

/// What came of all tickets.
#[derive(Debug)]
pub struct Outcome<T> {
    /// Of each success what the scenario keeps.
    pub accepted: Vec<T>,
    /// From the intended time to the answer, of successes.
    pub latencies: Latencies,
    /// When the last success was answered.
    pub last: Option<Instant>,
    /// How often each other answer or error came.
    pub refusals: BTreeMap<String, usize>,
}

impl<T> Outcome<T> {
    /// All refusals.
    pub fn refused(&self) -> usize {
        self.refusals.values().sum()
    }

    /// Fails when anything was refused.
    pub fn check_all_accepted(&self, phase: &str) -> Result<()> {
        if self.refusals.is_empty() {
            return Ok(());
        }
        Err(LoadError::WarmUp {
            phase: phase.to_owned(),
            refused: self.refused(),
            refusals: self.refusals.clone(),
        })
    }

    /// Writes the refusals into the report.
    pub fn describe_refusals(&self, section: &mut Section) {
        section.row("calls refused or unanswered", self.refused() as f64, "");
        for (refusal, count) in &self.refusals {
            section.notes.push(format!("{count} × {refusal}"));
        }
    }
}

/// What all processes had used at one moment.
#[derive(Debug)]
pub struct Readings {
    pub at: Instant,
    pub gateway: Usage,
    pub sandbox: Usage,
    pub generator: Usage,
    /// CPU of the database server, when there is one.
    pub database: Option<Duration>,
}

impl Readings {
    /// Reads all of them.
    pub fn take(bench: &mut Bench<'_>) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            gateway: bench.gateway_usage()?,
            sandbox: bench.sandbox_usage()?,
            generator: own_usage()?,
            database: bench.database_cpu()?,
        })
    }

    /// Writes what the processes used since `before` into the report.
    pub fn describe_since(&self, before: &Self, section: &mut Section) {
        let elapsed_ms = (self.at - before.at).as_secs_f64() * 1_000.0;
        for (name, before, after) in [
            ("gateway", &before.gateway, &self.gateway),
            ("sandbox", &before.sandbox, &self.sandbox),
            ("generator", &before.generator, &self.generator),
        ] {
            let cores = cpu_ms(before, after) / elapsed_ms.max(1.0);
            section.row(format!("{name} CPU, cores in use"), cores, "");
        }
        if let Some((before, after)) = before.database.zip(self.database) {
            let cores = after.saturating_sub(before).as_secs_f64() * 1_000.0 / elapsed_ms.max(1.0);
            section.row("database CPU, cores in use", cores, "");
        }
        section.row(
            "gateway memory after (RSS)",
            self.gateway.rss_bytes as f64 / MIB,
            "MiB",
        );
    }
}

/// One kind of operation.
pub trait Operation: Send + Sync + 'static {
    /// What is kept of a success.
    type Kept: Send + 'static;

    /// The call that carries out the ticket.
    fn call(&self, ticket: Ticket) -> Call;

    /// What to keep of a success; an error when the answer makes no sense.
    fn keep(&self, ticket: Ticket, answer: &Answer) -> Result<Self::Kept, serde_json::Error>;
}

/// Carries out all tickets on `connections` connections; `limit` bounds the whole.
pub async fn drive<O: Operation>(
    phase: &str,
    limit: Duration,
    endpoint: &Endpoint,
    connections: u16,
    tickets: &Tickets,
    operation: Arc<O>,
) -> Result<Outcome<O::Kept>> {
    let outcome = Arc::new(Mutex::new(Outcome {
        accepted: Vec::new(),
        latencies: Latencies::default(),
        last: None,
        refusals: BTreeMap::new(),
    }));
    // Dropping the set, on error or Ctrl-C, aborts the workers.
    let mut workers = JoinSet::new();
    for _ in 0..connections {
        let connection = Connection::new(endpoint.clone());
        workers.spawn(work(
            connection,
            tickets.clone(),
            Arc::clone(&operation),
            Arc::clone(&outcome),
        ));
    }
    let progress = || {
        let outcome = lock(&outcome);
        format!(
            "{} accepted, {} refused",
            outcome.accepted.len(),
            outcome.refused()
        )
    };
    let all = async {
        while let Some(worker) = workers.join_next().await {
            worker?;
        }
        Ok(())
    };
    within_showing(phase, limit + CALL_TIMEOUT, progress, all).await?;
    let empty = Outcome {
        accepted: Vec::new(),
        latencies: Latencies::default(),
        last: None,
        refusals: BTreeMap::new(),
    };
    Ok(std::mem::replace(&mut *lock(&outcome), empty))
}

async fn work<O: Operation>(
    mut connection: Connection,
    tickets: Tickets,
    operation: Arc<O>,
    outcome: Arc<Mutex<Outcome<O::Kept>>>,
) {
    while let Some(ticket) = tickets.next().await {
        let answer = connection.call(&operation.call(ticket)).await;
        let now = Instant::now();
        let refusal = match &answer {
            Ok(answer) if (200..300).contains(&answer.status) => match operation.keep(ticket, answer) {
                Ok(kept) => {
                    let mut outcome = lock(&outcome);
                    outcome.accepted.push(kept);
                    outcome
                        .latencies
                        .record(now.saturating_duration_since(ticket.intended));
                    outcome.last = outcome.last.max(Some(now));
                    continue;
                }
                Err(error) => format!("unexpected answer: {error}"),
            },
            Ok(answer) => refusal(answer),
            Err(error) => chain(error),
        };
        tickets.give_back();
        count_refusal(&mut lock(&outcome).refusals, refusal);
        tokio::time::sleep(REFUSED_DELAY).await;
    }
}

/// The status and the code of a problem, without what differs from one answer to the next.
fn refusal(answer: &Answer) -> String {
    #[derive(serde::Deserialize)]
    struct Problem {
        code: String,
    }
    match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(problem) => format!("{} {}", answer.status, problem.code),
        Err(_) => {
            let text = String::from_utf8_lossy(&answer.body);
            let shown: String = text.chars().take(REFUSAL_CHARS_MAX).collect();
            format!("{} {shown}", answer.status)
        }
    }
}

fn count_refusal(refusals: &mut BTreeMap<String, usize>, refusal: String) {
    let known = refusals.contains_key(&refusal) || refusals.len() < REFUSALS_MAX;
    let kind = if known { refusal } else { "others".to_owned() };
    *refusals.entry(kind).or_default() += 1;
}

/// Feeds the events of a stream into a state that others can look at meanwhile.
#[derive(Debug)]
pub struct Watch<S> {
    state: Arc<Mutex<S>>,
    task: JoinHandle<LoadError>,
}

impl<S: Send + 'static> Watch<S> {
    /// Starts reading.
    pub fn start(mut tail: Tail, state: S, mut apply: impl FnMut(&mut S, Arrival) + Send + 'static) -> Self {
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                match tail.next().await {
                    Ok(arrival) => apply(&mut lock(&shared), arrival),
                    Err(error) => return error,
                }
            }
        });
        Self { state, task }
    }

    /// The state as it is now.
    pub fn state(&self) -> MutexGuard<'_, S> {
        lock(&self.state)
    }

    /// Waits until `count` events of interest have come; it is an error when they do not in time.
    pub async fn until_count(
        &mut self,
        phase: &str,
        limit: Duration,
        count: usize,
        come: impl Fn(&S) -> usize,
    ) -> Result<()> {
        if self.until(limit, |state| come(state) >= count).await? {
            return Ok(());
        }
        Err(LoadError::Stuck {
            phase: phase.to_owned(),
            progress: format!("of {count} events {} have come", come(&self.state())),
            limit,
        })
    }

    /// Waits until the state satisfies `done`; whether it did in time.
    pub async fn until(&mut self, limit: Duration, done: impl Fn(&S) -> bool) -> Result<bool> {
        let deadline = Instant::now() + limit;
        while !done(&self.state()) {
            if self.task.is_finished() {
                return Err((&mut self.task).await?);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            tokio::time::sleep(WATCH_POLL).await;
        }
        Ok(true)
    }
}

impl<S> Drop for Watch<S> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters and lists: a panic of their holder cannot leave them half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            body: bytes::Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    #[test]
    fn refusals_of_one_kind_are_counted_together() {
        let mut refusals = BTreeMap::new();
        for request in 0..3 {
            let body = format!("{{\"code\":\"overloaded\",\"request_id\":\"{request}\"}}");
            count_refusal(&mut refusals, refusal(&answer(503, &body)));
        }
        count_refusal(&mut refusals, refusal(&answer(502, "bad gateway")));
        assert_eq!(refusals["503 overloaded"], 3);
        assert_eq!(refusals["502 bad gateway"], 1);
    }

    #[test]
    fn kinds_of_refusals_are_bounded() {
        let mut refusals = BTreeMap::new();
        for number in 0..1_000 {
            count_refusal(&mut refusals, number.to_string());
        }
        assert_eq!(refusals.len(), REFUSALS_MAX + 1);
        assert_eq!(refusals.values().sum::<usize>(), 1_000);
    }
}
