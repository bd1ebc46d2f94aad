//! Logs: one line for people or one JSON object for machines, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Log, LogFormat};

/// Libraries that would say too much at `info`, or what must not be logged at all. They come first,
/// so that the operator's own filter wins.
const QUIET: &str = "Client=error,whatsapp_rust=error,wacore=error,ractor=warn,sqlx=warn,hyper=warn,h2=warn,rustls=warn,tungstenite=warn";

/// Starts logging. A second call in one process does nothing.
pub fn start(log: &Log) -> Result<(), ParseError> {
    let filter = check(log)?;
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // Fails only when a subscriber is there already, as in tests.
    let _ = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// Reads the filter without starting anything.
pub fn check(log: &Log) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(format!("{QUIET},{}", log.filter))
}
