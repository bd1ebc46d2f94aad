//! Logs: one line for people or one JSON object for machines, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{Log, LogFormat};

/// Libraries that would say too much at `info`, or what must not be logged at all. They come first,
/// so that the operator's own filter wins.
const QUIET: &[&str] = &[
    // The WhatsApp library, under the names of its crates and of its parts.
    "whatsapp_rust=error",
    "wacore=error",
    "Client=error",
    "Bot=error",
    "AppState=error",
    "Blocking=error",
    "ChatstateHandler=error",
    "MessageQueue=error",
    "Mex=error",
    "PresenceHandler=error",
    "TcToken=error",
    "UnifiedSession=error",
    "blocklist=error",
    "usync=error",
    // Errors that it hands to us as well, and we say what became of them. This one is the usual end of
    // a request whose connection closes.
    "whatsapp_rust::request=off",
    // These name parties of a conversation and their keys. Such a message is asked for again.
    "wacore_libsignal::protocol::session_cipher=off",
    "wacore_libsignal::protocol::group_cipher=off",
    "ractor=warn",
    // Below this it prints what nodes say to each other. Why a link ended, ours tells.
    "ractor_cluster=error",
    "sqlx=warn",
    "hyper=warn",
    "h2=warn",
    "rustls=warn",
    "tungstenite=warn",
];

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
    EnvFilter::try_new(format!("{},{}", QUIET.join(","), log.filter))
}

#[cfg(test)]
mod tests {
    use tracing::Level;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn with_filter<T>(filter: &str, test: impl FnOnce() -> T) -> T {
        let log = Log {
            filter: filter.to_owned(),
            format: LogFormat::Text,
        };
        let subscriber = tracing_subscriber::registry().with(check(&log).unwrap());
        tracing::subscriber::with_default(subscriber, test)
    }

    #[test]
    fn the_whatsapp_library_is_heard_only_in_trouble_that_nobody_else_tells() {
        with_filter("info", || {
            assert!(tracing::enabled!(target: "roost_actors::instance", Level::INFO));
            assert!(tracing::enabled!(target: "whatsapp_rust::store", Level::ERROR));
            assert!(!tracing::enabled!(target: "whatsapp_rust::store", Level::WARN));
            assert!(!tracing::enabled!(target: "Client/PairCode", Level::WARN));
            assert!(!tracing::enabled!(target: "usync", Level::WARN));
            assert!(!tracing::enabled!(target: "whatsapp_rust::request", Level::ERROR));
            assert!(!tracing::enabled!(
                target: "wacore_libsignal::protocol::session_cipher",
                Level::ERROR
            ));
        });
    }

    #[test]
    fn what_nodes_say_to_each_other_is_not_printed_along_with_the_rest() {
        for filter in ["trace", "debug,ractor=trace"] {
            with_filter(filter, || {
                assert!(!tracing::enabled!(target: "ractor_cluster::net::session", Level::DEBUG));
            });
        }
    }

    #[test]
    fn an_operator_may_hear_it_by_name() {
        with_filter("info,whatsapp_rust::request=debug", || {
            assert!(tracing::enabled!(target: "whatsapp_rust::request", Level::DEBUG));
        });
    }
}
