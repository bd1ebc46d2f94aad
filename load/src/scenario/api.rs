//! Reads through the API, as fast as answers come, and what each costs the gateway.
//!
//! A call that is refused for a parameter, after its key was checked and before the database is asked,
//! against one for a route that is not there: both write a problem, and what lies between them is
//! authentication, limits and audit.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::bench::{Bench, Setup};
use crate::cli::{ApiArgs, Database};
use crate::error::{LoadError, Result};
use crate::http::Call;
use crate::latency::per_second;
use crate::pace::{Ticket, Tickets};
use crate::population::{Member, make_peers, pair};
use crate::report::{Mark, Section};
use crate::scenario::cpu_ms;
use crate::scenario::hammer::{self, hammer};
use crate::scenario::traffic::{Operation, Readings, drive};

/// What the first calls of a connection and of a page cache cost is not measured.
const WARM_UP: Duration = Duration::from_secs(1);
const FILL_CONNECTIONS: u16 = 8;
/// Messages read per second at a concurrency of 64, with SQLite, on 4 cores.
const MESSAGES_PER_SECOND: f64 = 15_000.0;
/// CPU of authentication, limits and audit together, in microseconds.
const ADMISSION_MICROS: f64 = 60.0;

/// One kind of read.
struct Target {
    name: &'static str,
    /// Read in turns.
    paths: Vec<String>,
    status: u16,
    has_key: bool,
}

/// What reading one of them gave.
struct Reads {
    per_second: f64,
    cpu_micros: f64,
}

struct Fill {
    member: Member,
}

impl Operation for Fill {
    type Kept = String;

    fn call(&self, ticket: Ticket) -> Call {
        let text = format!("message {} of those that are read again and again", ticket.index);
        let body = json!({"to": format!("+{}", self.member.peer), "type": "text", "text": {"body": text}});
        Call::post(format!("/v1/instances/{}/messages", self.member.instance), &body)
    }

    fn keep(&self, _: Ticket, answer: &crate::http::Answer) -> Result<String, serde_json::Error> {
        #[derive(Deserialize)]
        struct Body {
            id: String,
        }
        serde_json::from_slice::<Body>(&answer.body).map(|body| body.id)
    }
}

/// Measures every kind of read on one database.
pub async fn measure(setup: &Setup, args: &ApiArgs, database: Database) -> Result<Section> {
    let mut bench = Bench::start_on(setup, database).await?;
    let members = pair(&bench, 1).await?;
    make_peers(&bench, &members).await?;
    // One was asked for, and it is an error when it could not be paired.
    let member = members.into_iter().next().ok_or(LoadError::Interrupted)?;
    let ids = fill(&bench, &member, args.messages).await?;
    let mut section = Section::new(
        "api",
        json!({
            "database": format!("{database:?}").to_lowercase(),
            "connections": args.connections,
            "duration_s": args.duration.as_secs_f64(),
            "messages": args.messages,
        }),
    );
    let mut admission = Vec::new();
    for target in targets(&member.instance, &ids) {
        let reads = read(&mut bench, args, &target, &mut section).await?;
        if target.name == "GET /v1/messages/{id}" && database == Database::Sqlite {
            let mark = Mark::at_least(MESSAGES_PER_SECOND, None);
            section.marked(format!("{}, answers", target.name), reads.per_second, "1/s", mark);
        } else {
            section.row(format!("{}, answers", target.name), reads.per_second, "1/s");
        }
        section.row(format!("{}, gateway CPU", target.name), reads.cpu_micros, "µs");
        if target.status >= 400 {
            admission.push(reads.cpu_micros);
        }
    }
    if let [with, without] = admission[..] {
        let mark = Mark::at_most(ADMISSION_MICROS, None);
        section.marked(
            "authentication, limits and audit, CPU",
            with - without,
            "µs",
            mark,
        );
    }
    Ok(section)
}

async fn fill(bench: &Bench<'_>, member: &Member, messages: u32) -> Result<Vec<String>> {
    let fill = Fill {
        member: member.clone(),
    };
    let phase = "writing the messages to be read";
    let outcome = drive(
        phase,
        bench.setup.options.wait_timeout,
        &bench.gateway.endpoint,
        FILL_CONNECTIONS,
        &Tickets::burst(u64::from(messages)),
        Arc::new(fill),
    )
    .await?;
    outcome.check_all_accepted(phase)?;
    Ok(outcome.accepted)
}

fn targets(instance: &str, messages: &[String]) -> Vec<Target> {
    let one = |name, path: String, status, has_key| Target {
        name,
        paths: vec![path],
        status,
        has_key,
    };
    vec![
        one("GET /healthz", "/healthz".into(), 200, false),
        Target {
            name: "GET /v1/messages/{id}",
            paths: messages.iter().map(|id| format!("/v1/messages/{id}")).collect(),
            status: 200,
            has_key: true,
        },
        one(
            "GET /v1/instances/{id}",
            format!("/v1/instances/{instance}"),
            200,
            true,
        ),
        one(
            "GET /v1/instances/{id}/messages, 50",
            format!("/v1/instances/{instance}/messages?limit=50"),
            200,
            true,
        ),
        one(
            "GET /v1/events, 100",
            "/v1/events?after=0&limit=100".into(),
            200,
            true,
        ),
        one(
            "refused for a parameter",
            "/v1/instances?limit=0".into(),
            422,
            true,
        ),
        one("no such route", "/nowhere".into(), 404, false),
    ]
}

async fn read(
    bench: &mut Bench<'_>,
    args: &ApiArgs,
    target: &Target,
    section: &mut Section,
) -> Result<Reads> {
    let endpoint = if target.has_key {
        bench.gateway.endpoint.clone()
    } else {
        bench.gateway.endpoint.without_key()
    };
    let calls = target
        .paths
        .iter()
        .map(|path| Call {
            accept: Some("application/json"),
            ..Call::get(path)
        })
        .collect();
    let targets = [hammer::Target { endpoint, calls }];
    let reading = |duration| {
        let (name, status) = (target.name, target.status);
        hammer(name, status, &targets, args.connections, duration)
    };
    reading(WARM_UP).await?;
    let before = Readings::take(bench)?;
    let (count, latencies) = reading(args.duration).await?;
    let after = Readings::take(bench)?;
    let answers = count.max(1) as f64;
    let reads = Reads {
        per_second: per_second(count, after.at - before.at),
        cpu_micros: cpu_ms(&before.gateway, &after.gateway) * 1_000.0 / answers,
    };
    let summary = latencies.summary();
    section.notes.push(format!(
        "{}: p50 {:.2} ms, p99 {:.2} ms; generator CPU {:.0} µs per call; gateway memory after {:.0} MiB",
        target.name,
        summary.p50_ms,
        summary.p99_ms,
        cpu_ms(&before.generator, &after.generator) * 1_000.0 / answers,
        after.gateway.rss_bytes as f64 / crate::scenario::MIB,
    ));
    Ok(reads)
}
