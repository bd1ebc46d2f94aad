//! `roost-sandbox`: the sandbox as a process of its own.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use roost_sandbox::server::{Sandbox, SandboxConfig, SandboxError, SandboxHandle};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A simulated WhatsApp with virtual phones, for trying and testing clients.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// Where the WebSocket and the control API listen.
    #[arg(long, default_value = "127.0.0.1:7900", value_name = "ADDR")]
    listen: SocketAddr,
    /// Keep accounts, phones and companions in this folder; without it they end with the process.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What the chance of faults starts from: with the same seed, the same chances strike.
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    fault_seed: u64,
    /// Frames kept for each device as evidence; 0 keeps logins only.
    #[arg(long, default_value_t = 200, value_name = "COUNT")]
    ledger_frames: usize,
    /// Where media is uploaded and fetched, over TLS; also an HTTP proxy for WhatsApp's media hosts.
    #[arg(long, default_value = "127.0.0.1:7901", value_name = "ADDR")]
    media_listen: SocketAddr,
    /// A host name or address the media certificate is valid for, besides this machine's own; clients
    /// are told the first one.
    #[arg(long = "media-name", value_name = "NAME")]
    media_names: Vec<String>,
    /// Histories for new companions that are longer than this, deflated, are uploaded as media instead
    /// of being sent inside a message; 0 uploads all.
    #[arg(long, default_value_t = SandboxConfig::default().history_inline_bytes_max, value_name = "BYTES")]
    history_inline_max: usize,
    /// Write the certificate that clients have to trust for media to this file.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // For a person: all causes in one line, and no backtrace.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .init();
    allow_files();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;

    let config = SandboxConfig {
        listen: options.listen,
        data_dir: options.data_dir.clone(),
        fault_seed: options.fault_seed,
        ledger_frames_max: options.ledger_frames,
        media_listen: options.media_listen,
        media_names: options.media_names,
        ca_file: options.ca_file,
        history_inline_bytes_max: options.history_inline_max,
        ..SandboxConfig::default()
    };
    let media_listen = config.media_listen;
    let started = Sandbox::start(config).await;
    let sandbox = started.map_err(|error| explain(error, media_listen))?;
    warn_if_open(sandbox.addr());
    // A reader that has gone away is no reason to stop.
    let _ = std::io::stdout().write_all(greeting(&sandbox, options.data_dir.as_deref()).as_bytes());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    sandbox.shutdown().await;
    Ok(())
}

/// Every connection is a file: as many may be open as the system allows.
fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// Adds what to do about it.
fn explain(error: SandboxError, media_listen: SocketAddr) -> anyhow::Error {
    let advice = match &error {
        SandboxError::Listen { address, .. } if *address == media_listen => {
            "the sandbox cannot serve media; choose another address with --media-listen, or stop the process \
             that has it"
        }
        SandboxError::Listen { .. } => {
            "the sandbox cannot start; choose another address with --listen, or stop the process that has it"
        }
        SandboxError::Media(_) => {
            "the sandbox cannot start; look at --media-name, --ca-file and the folder of --data-dir"
        }
        SandboxError::State(_) => "the sandbox cannot start; choose another folder with --data-dir",
    };
    anyhow::Error::new(error).context(advice)
}

fn warn_if_open(address: SocketAddr) {
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "the sandbox has no passwords: whoever reaches this address controls it");
    }
}

/// Says where to go from here. This is the program's output, not a log.
fn greeting(sandbox: &SandboxHandle, data_dir: Option<&Path>) -> String {
    let (url, websocket, media) = (sandbox.url(), sandbox.websocket_url(), sandbox.media_url());
    let state = match data_dir {
        Some(folder) => format!("state is kept in     {}", folder.display()),
        None => "all state ends with this process; --data-dir DIR keeps it".to_owned(),
    };
    format!(
        "roost-sandbox listens on {url}
  clients connect to   {websocket}
  media is at          {media}, to be trusted with {url}/sandbox/v1/ca.pem
  {state}

Create two phones, and have one write to the other:
  curl -s {url}/sandbox/v1/accounts -d '{{\"phone_number\":\"15550000001\",\"name\":\"Ada\"}}'
  curl -s {url}/sandbox/v1/accounts -d '{{\"phone_number\":\"15550000002\",\"name\":\"Bob\",\"echo\":true}}'
  curl -s {url}/sandbox/v1/accounts/15550000002/messages -d '{{\"to\":\"15550000001\",\"text\":\"Hello\"}}'
  curl -s {url}/sandbox/v1/accounts/15550000001/messages

Link your client to the first one, by the QR text it shows or the code it asks for:
  curl -s {url}/sandbox/v1/accounts/15550000001/scan -d '{{\"code\":\"<QR text>\"}}'
  curl -s {url}/sandbox/v1/accounts/15550000001/link-code -d '{{\"code\":\"<code>\"}}'
  curl -s {url}/sandbox/v1/accounts/15550000001/devices

All other calls: docs/sandbox.md
"
    )
}
