//! Texts from phones through the wire and the event log to one event stream, and proof that each
//! arrived there once.
//!
//! A text carries the time at which it was meant to be sent, so a latency covers the call of the
//! control API, the phone's encryption, the sandbox's server, the gateway and the stream.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Method;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::bench::Bench;
use crate::cli::ReceiveArgs;
use crate::error::Result;
use crate::http::{Answer, Call};
use crate::latency::{Latencies, per_second};
use crate::pace::{Pace, Ticket, Tickets};
use crate::population::Member;
use crate::report::{Mark, Section};
use crate::scenario::cpu_ms;
use crate::scenario::traffic::{Operation, Outcome, Readings, Watch, drive};
use crate::stream::{Arrival, Tail};

/// Messages of the warm-up per instance: the first from a peer builds its session.
const WARM_UP_EACH: u64 = 3;
const WARM_UP_CONNECTIONS: u16 = 8;
/// When the sandbox uses more of a core than this, it may be what bounds the result.
const SANDBOX_CORES_NOTED: f64 = 0.9;

/// The texts of one run that have come in.
#[derive(Debug)]
struct Inbox {
    run: u32,
    /// What the times in the texts count from.
    epoch: Instant,
    seen: HashSet<u64>,
    repeated: usize,
    latencies: Latencies,
    last: Option<Instant>,
    disordered: usize,
    reconnects: u32,
    /// Gets a permit for every arrival.
    window: Option<Arc<Semaphore>>,
}

struct PhoneText {
    members: Arc<[Member]>,
    text_bytes: usize,
    run: u32,
    epoch: Instant,
}

impl Operation for PhoneText {
    type Kept = u64;

    fn call(&self, ticket: Ticket) -> Call {
        let member = &self.members[(ticket.index % self.members.len() as u64) as usize];
        let due = ticket.intended.saturating_duration_since(self.epoch);
        // Written by hand: every part is a number, and this is done thousands of times a second.
        let text = text(self.run, ticket.index, due, self.text_bytes);
        Call {
            method: Method::POST,
            path: format!("/sandbox/v1/accounts/{}/messages", member.peer),
            body: Bytes::from(format!("{{\"to\":\"+{}\",\"text\":\"{text}\"}}", member.phone)),
            ..Call::default()
        }
    }

    fn keep(&self, ticket: Ticket, _: &Answer) -> Result<u64, serde_json::Error> {
        Ok(ticket.index)
    }
}

fn text(run: u32, index: u64, due: Duration, bytes: usize) -> String {
    format!("{:x<bytes$}", format!("load {run} {index} {} ", due.as_micros()))
}

/// The number and the intended time of a text of this run.
fn parse_text(text: &str, run: u32) -> Option<(u64, Duration)> {
    let mut parts = text.strip_prefix("load ")?.split(' ');
    let of_this_run = parts.next()?.parse::<u32>().ok()? == run;
    let index = parts.next()?.parse().ok()?;
    let due = Duration::from_micros(parts.next()?.parse().ok()?);
    of_this_run.then_some((index, due))
}

impl Inbox {
    fn new(run: u32, epoch: Instant, window: Option<Arc<Semaphore>>) -> Self {
        Self {
            run,
            epoch,
            seen: HashSet::new(),
            repeated: 0,
            latencies: Latencies::default(),
            last: None,
            disordered: 0,
            reconnects: 0,
            window,
        }
    }

    fn take(&mut self, arrival: Arrival) {
        self.reconnects = arrival.reconnects;
        self.disordered += usize::from(!arrival.in_order);
        let text = arrival.event.data.message.and_then(|message| message.text);
        let Some((index, due)) = text.and_then(|text| parse_text(&text.body, self.run)) else {
            return;
        };
        if !self.seen.insert(index) {
            self.repeated += 1;
            return;
        }
        let sent = self.epoch + due;
        self.latencies.record(arrival.at.saturating_duration_since(sent));
        self.last = self.last.max(Some(arrival.at));
        if let Some(window) = &self.window {
            window.add_permits(1);
        }
    }
}

/// Receives at one rate, or as fast as texts arrive when `rate` is 0.
pub async fn measure(
    bench: &mut Bench<'_>,
    members: &[Member],
    arguments: &ReceiveArgs,
    rate: u32,
) -> Result<Section> {
    let members: Arc<[Member]> = members.into();
    warm_up(bench, &members, arguments).await?;

    let run = bench.next_run();
    let epoch = Instant::now();
    let pace = Pace::from_rate(rate);
    let window = (pace == Pace::Max).then(|| Arc::new(Semaphore::new(arguments.window as usize)));
    let mut watch = watch(bench, Inbox::new(run, epoch, window.clone())).await?;
    let wait = bench.setup.options.wait_timeout;
    let before = Readings::take(bench)?;
    let tickets = Tickets::start(pace, arguments.duration, window);
    let operation = Arc::new(PhoneText {
        members: Arc::clone(&members),
        text_bytes: usize::from(arguments.text_bytes),
        run,
        epoch,
    });
    let endpoint = bench.sandbox.endpoint.clone();
    let limit = arguments.duration + wait;
    let outcome = drive(
        "receiving",
        limit,
        &endpoint,
        arguments.connections,
        &tickets,
        operation,
    )
    .await?;
    let count = outcome.accepted.len();
    watch.until(wait, |inbox| inbox.seen.len() >= count).await?;
    let after = Readings::take(bench)?;

    let parameters = json!({
        "instances": members.len(),
        "rate": rate,
        "duration_s": arguments.duration.as_secs_f64(),
        "connections": arguments.connections,
        "window": if rate == 0 { Some(arguments.window) } else { None },
        "text_bytes": arguments.text_bytes,
    });
    let mut section = Section::new("receive", parameters);
    describe(&mut section, pace, &outcome, &watch.state(), &before, &after);
    verify(&mut section, &outcome, &watch.state());
    Ok(section)
}

async fn watch(bench: &Bench<'_>, inbox: Inbox) -> Result<Watch<Inbox>> {
    let tail = Tail::open(bench.gateway.endpoint.clone(), &["message.received"], None).await?;
    Ok(Watch::start(tail, inbox, Inbox::take))
}

async fn warm_up(bench: &Bench<'_>, members: &Arc<[Member]>, arguments: &ReceiveArgs) -> Result<()> {
    let phase = "warming up by receiving";
    let (run, epoch) = (bench.next_run(), Instant::now());
    let mut watch = watch(bench, Inbox::new(run, epoch, None)).await?;
    let operation = Arc::new(PhoneText {
        members: Arc::clone(members),
        text_bytes: usize::from(arguments.text_bytes),
        run,
        epoch,
    });
    let count = WARM_UP_EACH * members.len() as u64;
    let wait = bench.setup.options.wait_timeout;
    let endpoint = &bench.sandbox.endpoint;
    let tickets = Tickets::burst(count);
    let outcome = drive(phase, wait, endpoint, WARM_UP_CONNECTIONS, &tickets, operation).await?;
    outcome.check_all_accepted(phase)?;
    watch
        .until_count(phase, wait, outcome.accepted.len(), |inbox| inbox.seen.len())
        .await
}

fn describe(
    section: &mut Section,
    pace: Pace,
    outcome: &Outcome<u64>,
    inbox: &Inbox,
    before: &Readings,
    after: &Readings,
) {
    let (throughput, p99) = match pace {
        Pace::Max => (Some(Mark::at_least(3_000.0, Some(5_000.0))), None),
        Pace::PerSecond(_) => (None, Some(Mark::at_most(30.0, None))),
    };
    let time = inbox
        .last
        .map_or(Duration::ZERO, |last| last.saturating_duration_since(before.at));
    let rate = per_second(inbox.seen.len(), time);
    match throughput {
        Some(mark) => section.marked("on the stream, until the last was", rate, "1/s", mark),
        None => section.row("on the stream, until the last was", rate, "1/s"),
    }
    section.row("messages sent by phones", outcome.accepted.len() as f64, "");
    section.latency(
        "on the stream after the intended time",
        &inbox.latencies.summary(),
        p99,
    );
    let control = outcome.latencies.summary();
    section.row(
        "answer of the control API after the intended time, p50",
        control.p50_ms,
        "ms",
    );
    section.row(
        "answer of the control API after the intended time, p99",
        control.p99_ms,
        "ms",
    );
    section.row(
        "gateway CPU per message received",
        cpu_ms(&before.gateway, &after.gateway) / inbox.seen.len().max(1) as f64,
        "ms",
    );
    outcome.describe_refusals(section);
    after.describe_since(before, section);
    let elapsed_ms = (after.at - before.at).as_secs_f64() * 1_000.0;
    let sandbox_cores = cpu_ms(&before.sandbox, &after.sandbox) / elapsed_ms.max(1.0);
    if pace == Pace::Max && sandbox_cores > SANDBOX_CORES_NOTED {
        section.notes.push(format!(
            "the sandbox used {sandbox_cores:.1} cores: phones and WhatsApp's server share the machine and may bound the rate"
        ));
    }
    if inbox.reconnects > 0 {
        section.notes.push(format!(
            "the event stream was lost and resumed {} times",
            inbox.reconnects
        ));
    }
}

/// Every text that a phone sent must be on the stream, once.
fn verify(section: &mut Section, outcome: &Outcome<u64>, inbox: &Inbox) {
    let missing = outcome
        .accepted
        .iter()
        .filter(|index| !inbox.seen.contains(index))
        .count();
    section.must_be_zero(missing, "messages of phones never came on the event stream");
    section.must_be_zero(inbox.disordered, "events came out of the order of the log");
    section.must_be_zero(inbox.repeated, "messages came on the event stream more than once");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_gives_its_number_and_time_back_and_keeps_its_length() {
        let due = Duration::from_micros(1_234_567);
        let written = text(4, 99, due, 60);
        assert_eq!(written.len(), 60);
        assert_eq!(parse_text(&written, 4), Some((99, due)));
        let longest = text(u32::MAX, 4_999_999, Duration::from_secs(9_999), 40);
        assert_eq!(
            parse_text(&longest, u32::MAX),
            Some((4_999_999, Duration::from_secs(9_999)))
        );
    }

    #[test]
    fn texts_of_other_runs_and_other_people_are_not_counted() {
        let written = text(4, 99, Duration::ZERO, 40);
        assert_eq!(parse_text(&written, 5), None);
        for other in ["", "hello", "load", "load 4", "load 4 x 1 ", "load 4 1"] {
            assert_eq!(parse_text(other, 4), None, "{other}");
        }
    }

    #[test]
    fn an_arrival_is_counted_once_and_opens_the_window() {
        let window = Arc::new(Semaphore::new(0));
        let mut inbox = Inbox::new(1, Instant::now(), Some(Arc::clone(&window)));
        for index in [0, 1, 1] {
            let event = json!({
                "seq": 1,
                "type": "message.received",
                "timestamp": "2026-01-31T12:00:00.250Z",
                "data": {"message": {"id": "msg_1", "text": {"body": text(1, index, Duration::ZERO, 40)}}},
            });
            inbox.take(Arrival {
                at: Instant::now(),
                event: serde_json::from_value(event).unwrap(),
                in_order: true,
                reconnects: 0,
            });
        }
        assert_eq!((inbox.seen.len(), inbox.repeated), (2, 1));
        assert_eq!(window.available_permits(), 2);
    }
}
