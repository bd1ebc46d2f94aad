//! Texts from the API to WhatsApp's server, and proof that none was lost or doubled on the way.
//!
//! An accepted message counts as sent when its `message.sent` comes on the tenant's event stream, or
//! its `message.delivered`: a receipt that overtakes the server's acknowledgement takes its place.
//! In the end the peers' phones are asked what they decrypted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use crate::api::PhoneMessage;
use crate::bench::Bench;
use crate::cli::SendArgs;
use crate::error::Result;
use crate::http::{Answer, Call};
use crate::latency::{Latencies, per_second};
use crate::pace::{Pace, Ticket, Tickets};
use crate::population::Member;
use crate::report::{Mark, Section};
use crate::scenario::cpu_ms;
use crate::scenario::traffic::{Operation, Outcome, Readings, Watch, drive};
use crate::stream::{Arrival, Tail};

/// Messages of the warm-up per instance: the first to a peer builds its session.
const WARM_UP_EACH: u64 = 3;
const WARM_UP_CONNECTIONS: u16 = 8;
/// How long the phones may lag behind the server.
const PHONE_LAG: Duration = Duration::from_secs(30);
const PHONE_POLL: Duration = Duration::from_millis(200);
/// A phone remembers so many messages; one that has reached it proves nothing.
const PHONE_MESSAGES_MAX: usize = 10_000;
/// Missing messages that are looked up one by one.
const LOOKED_UP_MAX: usize = 50;

/// What an accepted message is known by.
#[derive(Debug)]
struct Accepted {
    id: String,
    whatsapp_id: String,
    member: usize,
    intended: Instant,
}

/// What the event stream said.
#[derive(Debug, Default)]
struct Log {
    /// By message, the first event that proves it.
    sent: HashMap<String, Instant>,
    /// Messages that had a `message.sent`.
    acknowledged: HashSet<String>,
    repeated: usize,
    failed: HashSet<String>,
    disordered: usize,
    reconnects: u32,
}

struct SendText {
    members: Arc<[Member]>,
    text_bytes: usize,
    run: u32,
    idempotency_keys: bool,
}

impl SendText {
    fn member(&self, ticket: Ticket) -> usize {
        (ticket.index % self.members.len() as u64) as usize
    }
}

impl Operation for SendText {
    type Kept = Accepted;

    fn call(&self, ticket: Ticket) -> Call {
        let member = &self.members[self.member(ticket)];
        // Written by hand: every part is a number or an id, and this is done thousands of times a second.
        let text = text(self.run, ticket.index, self.text_bytes);
        let body = format!(
            "{{\"to\":\"+{}\",\"type\":\"text\",\"text\":{{\"body\":\"{text}\"}}}}",
            member.peer
        );
        let mut call = Call {
            method: Method::POST,
            path: format!("/v1/instances/{}/messages", member.instance),
            body: Bytes::from(body),
            ..Call::default()
        };
        if self.idempotency_keys {
            let key = format!("load-{}-{}", self.run, ticket.index);
            call.headers.push(("idempotency-key", key));
        }
        call
    }

    fn keep(&self, ticket: Ticket, answer: &Answer) -> Result<Accepted, serde_json::Error> {
        #[derive(Deserialize)]
        struct Body {
            id: String,
            whatsapp_id: String,
        }
        let body: Body = serde_json::from_slice(&answer.body)?;
        Ok(Accepted {
            id: body.id,
            whatsapp_id: body.whatsapp_id,
            member: self.member(ticket),
            intended: ticket.intended,
        })
    }
}

fn text(run: u32, index: u64, bytes: usize) -> String {
    format!("{:x<bytes$}", format!("load {run} {index} "))
}

/// Sends at one rate, or as fast as answers come when `rate` is 0.
pub async fn measure(
    bench: &mut Bench<'_>,
    members: &[Member],
    arguments: &SendArgs,
    rate: u32,
) -> Result<Section> {
    let members: Arc<[Member]> = members.into();
    let endpoint = bench.gateway.endpoint.clone();
    let wait = bench.setup.options.wait_timeout;
    let types = ["message.sent", "message.delivered", "message.failed"];
    let tail = Tail::open(endpoint.clone(), &types, None).await?;
    let mut watch = Watch::start(tail, Log::default(), note);
    let run = bench.next_run();
    let operation = |run| {
        Arc::new(SendText {
            members: Arc::clone(&members),
            text_bytes: usize::from(arguments.text_bytes),
            run,
            idempotency_keys: arguments.idempotency_keys,
        })
    };
    let warm_up = Tickets::burst(WARM_UP_EACH * members.len() as u64);
    let phase = "warming up by sending";
    let warm = drive(
        phase,
        wait,
        &endpoint,
        WARM_UP_CONNECTIONS,
        &warm_up,
        operation(run),
    )
    .await?;
    warm.check_all_accepted(phase)?;
    let known = |log: &Log| {
        warm.accepted
            .iter()
            .filter(|message| log.knows(&message.id))
            .count()
    };
    watch.until_count(phase, wait, warm.accepted.len(), known).await?;

    let stats_before = bench.sandbox.stats().await?;
    let before = Readings::take(bench)?;
    let run = bench.next_run();
    let pace = Pace::from_rate(rate);
    let tickets = Tickets::start(pace, arguments.duration, None);
    let phase = "sending";
    let limit = arguments.duration + wait;
    let outcome = drive(
        phase,
        limit,
        &endpoint,
        arguments.connections,
        &tickets,
        operation(run),
    )
    .await?;
    let drained = {
        let known = warm.accepted.len() + outcome.accepted.len();
        watch
            .until(wait, |log: &Log| log.sent.len() + log.failed.len() >= known)
            .await?
    };
    let after = Readings::take(bench)?;

    let parameters = json!({
        "instances": members.len(),
        "rate": rate,
        "duration_s": arguments.duration.as_secs_f64(),
        "connections": arguments.connections,
        "text_bytes": arguments.text_bytes,
        "idempotency_keys": arguments.idempotency_keys,
    });
    let mut section = Section::new("send", parameters);
    describe(&mut section, pace, &outcome, &watch.state(), &before, &after);
    let stats = bench.sandbox.stats().await?;
    let resent = stats.messages_repeated - stats_before.messages_repeated;
    section.row("messages resent under the same WhatsApp id", resent as f64, "");
    let undecrypted = stats.phone_decrypt_failures - stats_before.phone_decrypt_failures;
    section.row(
        "messages a phone could not decrypt at first",
        undecrypted as f64,
        "",
    );
    if !drained {
        section.faults.push(format!(
            "not every accepted message was sent or failed within {wait:?}"
        ));
    }
    verify_log(bench, &mut section, &outcome, &watch).await?;
    verify_phones(bench, &mut section, &members, &outcome).await?;
    Ok(section)
}

impl Log {
    fn knows(&self, id: &str) -> bool {
        self.sent.contains_key(id) || self.failed.contains(id)
    }
}

fn note(log: &mut Log, arrival: Arrival) {
    log.reconnects = arrival.reconnects;
    log.disordered += usize::from(!arrival.in_order);
    let Some(message) = arrival.event.data.message else {
        return;
    };
    if arrival.event.kind == "message.failed" {
        log.failed.insert(message.id);
        return;
    }
    log.sent.entry(message.id.clone()).or_insert(arrival.at);
    if arrival.event.kind == "message.sent" && !log.acknowledged.insert(message.id) {
        log.repeated += 1;
    }
}

fn describe(
    section: &mut Section,
    pace: Pace,
    outcome: &Outcome<Accepted>,
    log: &Log,
    before: &Readings,
    after: &Readings,
) {
    let mut sent_latencies = Latencies::default();
    let mut sent = 0;
    let mut last_sent = None;
    for message in &outcome.accepted {
        if let Some(&at) = log.sent.get(&message.id) {
            sent += 1;
            last_sent = last_sent.max(Some(at));
            sent_latencies.record(at.saturating_duration_since(message.intended));
        }
    }
    let since_start =
        |at: Option<Instant>| at.map_or(Duration::ZERO, |at| at.saturating_duration_since(before.at));
    let (throughput, p99) = match pace {
        Pace::Max => (Some(Mark::at_least(3_000.0, Some(5_000.0))), None),
        Pace::PerSecond(_) => (None, Some(Mark::at_most(5.0, None))),
    };
    let sent_rate = per_second(sent, since_start(last_sent));
    match throughput {
        Some(mark) => section.marked("sent, until the last was", sent_rate, "1/s", mark),
        None => section.row("sent, until the last was", sent_rate, "1/s"),
    }
    let accepted_rate = per_second(outcome.accepted.len(), since_start(outcome.last));
    section.row("accepted", accepted_rate, "1/s");
    section.row("messages accepted", outcome.accepted.len() as f64, "");
    section.latency("202 after the intended time", &outcome.latencies.summary(), p99);
    section.latency(
        "sent event after the intended time",
        &sent_latencies.summary(),
        None,
    );
    section.marked(
        "gateway CPU per message sent",
        cpu_ms(&before.gateway, &after.gateway) / f64::from(sent.max(1) as u32),
        "ms",
        Mark::at_most(0.8, Some(0.4)),
    );
    outcome.describe_refusals(section);
    after.describe_since(before, section);
    section.notes.push(
        "gateway CPU includes receipts of the peers and serving one event stream with message.sent, message.delivered and message.failed"
            .to_owned(),
    );
    let overtaken = outcome
        .accepted
        .iter()
        .filter(|message| log.sent.contains_key(&message.id) && !log.acknowledged.contains(&message.id));
    section.row(
        "messages delivered without a message.sent",
        overtaken.count() as f64,
        "",
    );
    if log.reconnects > 0 {
        section.notes.push(format!(
            "the event stream was lost and resumed {} times",
            log.reconnects
        ));
    }
}

/// Nothing accepted may be missing from the log, failed, or sent twice.
async fn verify_log(
    bench: &Bench<'_>,
    section: &mut Section,
    outcome: &Outcome<Accepted>,
    watch: &Watch<Log>,
) -> Result<()> {
    let mut ids: HashSet<&str> = HashSet::with_capacity(outcome.accepted.len());
    let twice = outcome
        .accepted
        .iter()
        .filter(|message| !ids.insert(&message.id))
        .count();
    section.must_be_zero(twice, "answers named a message that another answer had named");
    let (missing, failed): (Vec<&str>, usize) = {
        let log = watch.state();
        section.must_be_zero(log.disordered, "events came out of the order of the log");
        section.must_be_zero(log.repeated, "messages had more than one message.sent");
        let missing = ids.iter().copied().filter(|id| !log.knows(id)).collect();
        (missing, ids.iter().filter(|id| log.failed.contains(**id)).count())
    };
    section.must_be_zero(failed, "accepted messages failed");
    section.must_be_zero(
        missing.len(),
        "accepted messages had none of message.sent, message.delivered and message.failed",
    );
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    for id in missing.iter().take(LOOKED_UP_MAX) {
        *states.entry(bench.gateway.message(id).await?.status).or_default() += 1;
    }
    if !states.is_empty() {
        section.notes.push(format!(
            "of the missing messages looked up, by status: {states:?}"
        ));
    }
    Ok(())
}

/// Every accepted message must have been decrypted by its peer's phone, once.
async fn verify_phones(
    bench: &Bench<'_>,
    section: &mut Section,
    members: &[Member],
    outcome: &Outcome<Accepted>,
) -> Result<()> {
    let deadline = Instant::now() + PHONE_LAG;
    let (mut unproven, mut missing, mut twice) = (0, 0, 0);
    for (index, member) in members.iter().enumerate() {
        let expected = outcome.accepted.iter().filter(|message| message.member == index);
        let expected: HashSet<&str> = expected.map(|message| message.whatsapp_id.as_str()).collect();
        loop {
            let messages = bench.sandbox.phone_messages(&member.peer).await?;
            if messages.len() >= PHONE_MESSAGES_MAX {
                unproven += 1;
                break;
            }
            let decrypted: HashSet<&str> = messages
                .iter()
                .map(|message| message.whatsapp_id.as_str())
                .collect();
            let absent = expected.difference(&decrypted).count();
            if absent == 0 || Instant::now() >= deadline {
                missing += absent;
                twice += repeated_texts(&messages);
                break;
            }
            tokio::time::sleep(PHONE_POLL).await;
        }
    }
    section.must_be_zero(
        missing,
        "accepted messages were not decrypted by the peer's phone",
    );
    section.must_be_zero(twice, "texts reached a phone under more than one WhatsApp id");
    if unproven > 0 {
        section.notes.push(format!(
            "{unproven} phones had too many messages to check them one by one"
        ));
    }
    Ok(())
}

/// Every text is sent once. A phone drops what comes again under the same id, so a text that is there
/// twice was sent under two ids.
pub fn repeated_texts(messages: &[PhoneMessage]) -> usize {
    let mut seen = HashSet::new();
    let texts = messages.iter().filter_map(|message| message.text.as_deref());
    texts.filter(|text| !seen.insert(*text)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation() -> SendText {
        let member = |number: u32| Member {
            instance: format!("ins_{number}"),
            phone: format!("9991{number}"),
            peer: format!("9992{number}"),
        };
        SendText {
            members: [member(0), member(1)].into(),
            text_bytes: 40,
            run: 3,
            idempotency_keys: true,
        }
    }

    fn ticket(index: u64) -> Ticket {
        let intended = Instant::now();
        Ticket { index, intended }
    }

    #[test]
    fn a_call_is_valid_json_of_the_wanted_length() {
        let call = operation().call(ticket(7));
        assert_eq!(call.path, "/v1/instances/ins_1/messages");
        assert_eq!(call.headers, [("idempotency-key", "load-3-7".to_owned())]);
        let body: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
        assert_eq!(body["to"], "+99921");
        let text = body["text"]["body"].as_str().unwrap();
        assert_eq!(text.len(), 40);
        assert!(text.starts_with("load 3 7 xxx"));
    }

    #[test]
    fn a_text_under_two_ids_is_noticed() {
        let message = |id: &str, text: &str| PhoneMessage {
            whatsapp_id: id.to_owned(),
            text: Some(text.to_owned()),
        };
        let messages = [
            message("A", "load 1 1"),
            message("B", "load 1 2"),
            message("C", "load 1 1"),
        ];
        assert_eq!(repeated_texts(&messages), 1);
        assert_eq!(repeated_texts(&messages[..2]), 0);
    }

    #[test]
    fn members_take_turns() {
        let operation = operation();
        assert_eq!(
            [0, 1, 2, 3].map(|index| operation.member(ticket(index))),
            [0, 1, 0, 1]
        );
    }

    #[test]
    fn the_log_tells_sent_repeated_and_failed_apart() {
        let mut log = Log::default();
        for (kind, id) in [
            ("message.sent", "msg_1"),
            ("message.sent", "msg_1"),
            ("message.failed", "msg_2"),
            ("message.delivered", "msg_1"),
            ("message.delivered", "msg_4"),
        ] {
            let event = json!({
                "seq": 1,
                "type": kind,
                "timestamp": "2026-01-31T12:00:00.250Z",
                "data": {"message": {"id": id}},
            });
            let arrival = Arrival {
                at: Instant::now(),
                event: serde_json::from_value(event).unwrap(),
                in_order: true,
                reconnects: 0,
            };
            note(&mut log, arrival);
        }
        assert_eq!((log.sent.len(), log.acknowledged.len(), log.repeated), (2, 1, 1));
        assert!(log.knows("msg_1") && log.knows("msg_2") && log.failed.contains("msg_2"));
        assert!(!log.knows("msg_3"));
    }
}
