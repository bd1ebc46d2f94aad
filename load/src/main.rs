//! `roost-load`: measures a running Roost as whole processes.
//!
//! It starts a sandbox and a gateway, both the real programs, and speaks to them over loopback as
//! users and phones would. It reads what they use from `/proc`, so it runs on Linux only. Everything
//! it starts it ends, on errors and on Ctrl-C too.
//!
//! Reading order: [`scenario`], one scenario, [`bench`], [`population`], [`scenario::traffic`].

mod api;
mod bench;
mod cli;
mod companion;
mod error;
mod http;
mod latency;
mod machine;
mod pace;
mod phase;
mod population;
mod postgres;
mod process;
mod report;
mod scenario;
mod sink;
mod stream;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::bench::Setup;
use crate::cli::{Cli, Scenario};
use crate::error::LoadError;
use crate::machine::Machine;
use crate::report::{Build, Report};

/// How long tasks may take to end after the measurement.
const END_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            // Nobody is left to tell when standard error is closed as well.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(3)
        }
    }
}

/// Measures and reports; whether no promise of Roost was found broken.
fn run(cli: Cli) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(cli.options.threads))
        .enable_all()
        .build()?;
    let needs_gateway = !matches!(cli.scenario, Scenario::Sandbox(_));
    let setup = Setup::new(cli.options.clone(), needs_gateway)?;
    let mut report = Report {
        format: 1,
        date: date(),
        machine: Machine::inspect(setup.folder())?,
        build: build(&setup)?,
        scenarios: Vec::new(),
    };
    show(&report.render_head())?;
    let measured = runtime.block_on(measure(&setup, cli, &mut report));
    runtime.shutdown_timeout(END_TIMEOUT);
    if !matches!(measured, Ok(()) | Err(LoadError::Interrupted)) {
        let _ = writeln!(std::io::stderr(), "{}", setup.log_tails());
    }
    if let Some(path) = &setup.options.json {
        report.write_json(path)?;
    }
    if setup.options.keep_files {
        show(&format!("databases and logs are in {}", setup.folder().display()))?;
    }
    measured?;
    Ok(report.is_sound())
}

async fn measure(setup: &Setup, cli: Cli, report: &mut Report) -> Result<(), LoadError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut each = |section: report::Section| {
        // A reader that went away does not end the measurement: the JSON may still be wanted.
        let _ = show(&section.render());
        report.scenarios.push(section);
    };
    // Dropping the scenario ends the processes it started.
    tokio::select! {
        done = scenario::run(setup, cli.scenario, &mut each) => done,
        _ = interrupt.recv() => Err(LoadError::Interrupted),
        _ = terminate.recv() => Err(LoadError::Interrupted),
    }
}

#[allow(clippy::disallowed_methods, reason = "a report says when it was made")]
fn date() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn build(setup: &Setup) -> anyhow::Result<Build> {
    let roost = setup.roost.display().to_string();
    let output = std::process::Command::new(&setup.roost).arg("--version").output();
    let output = output.with_context(|| format!("cannot run {roost} --version"))?;
    Ok(Build {
        commit: setup.options.commit.clone(),
        roost,
        roost_version: String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .unwrap_or("no version")
            .to_owned(),
        roost_load_version: env!("CARGO_PKG_VERSION"),
        generator_is_debug: cfg!(debug_assertions),
    })
}

fn show(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{text}")
}
