//! `roost-sandbox`: the sandbox as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use roost_sandbox::server::{Sandbox, SandboxConfig};
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
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")))
        .with_writer(std::io::stderr)
        .init();
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;

    let config = SandboxConfig {
        listen: options.listen,
        data_dir: options.data_dir,
        ..SandboxConfig::default()
    };
    let sandbox = Sandbox::start(config)
        .await
        .context("the sandbox cannot start; choose another address with --listen if it is in use")?;
    greet(&sandbox.url(), &sandbox.websocket_url(), sandbox.addr());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    sandbox.shutdown().await;
    Ok(())
}

/// Says where to go from here. This is the program's output, not a log.
#[expect(clippy::print_stdout, reason = "a human reads this")]
fn greet(url: &str, websocket: &str, address: SocketAddr) {
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "the sandbox has no passwords: whoever reaches this address controls it");
    }
    println!("roost-sandbox listens on {url}");
    println!("  clients connect to   {websocket}");
    println!();
    println!("Create a phone, let it scan a client's QR text, and have it send:");
    println!(
        "  curl -s {url}/sandbox/v1/accounts -d '{{\"phone_number\":\"15550000001\",\"name\":\"Ada\"}}'"
    );
    println!(
        "  curl -s {url}/sandbox/v1/accounts -d '{{\"phone_number\":\"15550000002\",\"name\":\"Bob\",\"echo\":true}}'"
    );
    println!("  curl -s {url}/sandbox/v1/accounts/15550000001/scan -d '{{\"code\":\"<QR text>\"}}'");
    println!(
        "  curl -s {url}/sandbox/v1/accounts/15550000002/messages -d '{{\"to\":\"15550000001\",\"text\":\"Hello\"}}'"
    );
    println!("  curl -s {url}/sandbox/v1/accounts/15550000002/messages");
    println!("  curl -s {url}/sandbox/v1/stats");
}
